"""Gathers the facts of one presentation: look-ups, signature, blocks, schedule, age of the list. Decides nothing."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from lintel.edge.errors import StoreError
from lintel.edge.model import Credential, Door, Instant, Method, PersonKind, Reading, Reason, Status
from lintel.edge.passes import BadPass, PassKey, RotatingCode, StaticPass, check_step, parse, verify
from lintel.edge.policy import Facts
from lintel.edge.store import Allowlist, CountedUse, PassUse, SiteData, StepUse

Use = CountedUse | PassUse | StepUse


@dataclass(frozen=True, slots=True)
class Found:
    """The facts, and the use that must be committed before an order; `spent` is the word if it was taken meanwhile."""

    facts: Facts
    use: Use | None = None
    spent: Reason = Reason.ALREADY_USED


@dataclass(frozen=True, slots=True)
class Witness:
    """What the site knows, ready to be asked. `pass_groups` names the door groups of a pass's mask, bit 0 first."""

    allowlist: Allowlist
    keys: Mapping[int, PassKey]
    site: int
    zone: ZoneInfo
    pass_groups: tuple[str, ...] = ()
    other_sites: Collection[int] = ()
    schedule_without_clock: bool = False

    def find(self, reading: Reading, door: Door, now: Instant) -> Found:
        """All facts about one presentation; an unreadable store is itself a fact."""
        try:
            site = self.allowlist.site()
            if reading.fault is not None:
                found = Found(Facts())
            elif reading.method is Method.PASS:
                found = self._pass(reading, now)
            else:
                found = self._listed(reading.digest)
        except StoreError:
            return Found(Facts(storage_fault=True))
        return replace(found, facts=self._around(found.facts, site, door, now))

    def _listed(self, digest: bytes) -> Found:
        credential = self.allowlist.find(digest)
        if credential is None or credential.use_limit is None:
            return Found(Facts(credential))
        return Found(Facts(credential), CountedUse(digest))

    def _pass(self, reading: Reading, now: Instant) -> Found:
        try:
            presented = parse(reading.token)
        except BadPass as e:
            return Found(Facts(verdict=e.reason))
        if isinstance(presented, StaticPass):
            return self._static(presented)
        return self._rotating(presented, reading, now)

    def _static(self, presented: StaticPass) -> Found:
        verdict = verify(presented, self.keys, self.site, self.other_sites)
        if verdict is not None:
            return Found(Facts(verdict=verdict))
        claims = presented.claims
        known = self.allowlist.visitor_pass(claims.pass_id)
        starts = claims.not_before * 60.0
        credential = Credential(
            id=f"vp_{claims.pass_id}",
            person=known.person if known else "",
            kind=PersonKind.VISITOR,
            method=Method.PASS,
            status=known.status if known else Status.ACTIVE,
            groups=frozenset(g for bit, g in enumerate(self.pass_groups) if claims.group_mask >> bit & 1),
            valid_from=starts,
            valid_to=starts + claims.duration_min * 60.0,
            use_limit=claims.uses or None,
            uses=known.uses if known else 0,
            pass_id=claims.pass_id,
        )
        use = PassUse(claims.pass_id, claims.uses) if claims.uses else None
        return Found(Facts(credential), use)

    def _rotating(self, presented: RotatingCode, reading: Reading, now: Instant) -> Found:
        known = self.allowlist.visitor_pass(presented.pass_id)
        if known is None or known.secret is None:
            return Found(Facts())
        step = check_step(presented, known.secret, now.wall)
        if step is None:
            return Found(Facts(verdict=Reason.REPLAYED))
        credential = Credential(
            id=f"vp_{known.pass_id}",
            person=known.person,
            kind=PersonKind.VISITOR,
            method=Method.PASS,
            status=known.status,
            groups=known.groups,
            valid_from=known.valid_from,
            valid_to=known.valid_to,
            use_limit=known.use_limit,
            uses=known.uses,
            pass_id=known.pass_id,
        )
        use = StepUse(known.pass_id, step, reading.direction, known.use_limit)
        return Found(Facts(credential), use, Reason.REPLAYED)

    def _around(self, facts: Facts, site: SiteData, door: Door, now: Instant) -> Facts:
        """Add what does not depend on the credential's look-up: blocks, lockdown, schedule, age of the list."""
        credential = facts.credential
        schedule = site.schedules.get(credential.schedule) if credential is not None and credential.schedule else None
        return replace(
            facts,
            blocked=credential is not None and _blocked(site, credential, now.wall),
            schedule=schedule,
            zone=self.zone,
            holidays=site.holidays,
            list_age=None if site.synced_at is None else max(0.0, now.wall - site.synced_at),
            lockdown=not site.lockdown.isdisjoint(door.groups),
            storage_fault=site.fault,
            schedule_without_clock=self.schedule_without_clock,
        )


def _blocked(site: SiteData, credential: Credential, wall: float) -> bool:
    """Deny wins: a block of the person, the credential or the pass, until it expires."""
    for subject in (credential.person, credential.id):
        if subject in site.blocks:
            until = site.blocks[subject]
            if until is None or wall < until:
                return True
    return False
