"""Gathers the facts of one presentation: look-ups, signature, blocks, schedule, age of the list. Decides nothing."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from zoneinfo import ZoneInfo

from lintel.edge.errors import StoreError
from lintel.edge.model import Credential, Door, Instant, Method, PersonKind, Reading, Reason, Status
from lintel.edge.passes import BadPass, PassKey, RotatingCode, StaticPass, check_step, parse, verify
from lintel.edge.policy import Facts
from lintel.edge.store import Allowlist, CountedUse, PassUse, SiteData, StepUse
from lintel.edge.store.names import pass_name

Use = CountedUse | PassUse | StepUse


@dataclass(frozen=True, slots=True)
class Found:
    """The facts, and the use that must be committed before an order."""

    facts: Facts
    use: Use | None = None


class _Known(NamedTuple):
    """What a look-up gave: the credential, or why a pass is none; and the use that it costs."""

    credential: Credential | None = None
    verdict: Reason | None = None
    use: Use | None = None


_NOBODY = _Known()


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
            known = self._known(reading, now)
        except StoreError:
            return Found(Facts(storage_fault=True))
        return Found(self._facts(known, site, door, now), known.use)

    def spent(self, use: Use) -> Reason:
        """Why a use was not taken: another presentation was faster."""
        try:
            return self.allowlist.spent(use)
        except StoreError:
            return Reason.ALREADY_USED

    def _known(self, reading: Reading, now: Instant) -> _Known:
        if reading.fault is not None:
            return _NOBODY
        if reading.method is Method.PASS:
            return self._pass(reading, now)
        credential = self.allowlist.find(reading.digest)
        if credential is None or credential.use_limit is None:
            return _Known(credential)
        return _Known(credential, use=CountedUse(reading.digest))

    def _facts(self, known: _Known, site: SiteData, door: Door, now: Instant) -> Facts:
        credential = known.credential
        return Facts(
            credential=credential,
            verdict=known.verdict,
            blocked=bool(site.blocks) and credential is not None and _blocked(site, credential, now.wall),
            schedule=site.schedules.get(credential.schedule)
            if credential is not None and credential.schedule
            else None,
            zone=self.zone,
            holidays=site.holidays,
            list_age=None if site.synced_at is None else max(0.0, now.wall - site.synced_at),
            lockdown=bool(site.lockdown) and not site.lockdown.isdisjoint(door.groups),
            # a restored snapshot does not know which uses were taken since: what is counted waits for a whole list
            storage_fault=site.fault or (site.restored and known.use is not None),
            schedule_without_clock=self.schedule_without_clock,
        )

    def _pass(self, reading: Reading, now: Instant) -> _Known:
        try:
            presented = parse(reading.token)
        except BadPass as e:
            return _Known(verdict=e.reason)
        if isinstance(presented, StaticPass):
            return self._static(presented)
        return self._rotating(presented, reading, now)

    def _static(self, presented: StaticPass) -> _Known:
        verdict = verify(presented, self.keys, self.site, self.other_sites)
        if verdict is not None:
            return _Known(verdict=verdict)
        claims = presented.claims
        row = self.allowlist.visitor_pass(claims.pass_id)
        credential = Credential(
            id=(row.id if row else "") or pass_name(claims.pass_id),
            person=row.person if row else "",
            kind=PersonKind.VISITOR,
            method=Method.PASS,
            status=row.status if row else Status.ACTIVE,
            groups=frozenset(g for bit, g in enumerate(self.pass_groups) if bit in claims.groups),
            valid_from=claims.valid_from,
            valid_to=claims.valid_to,
            use_limit=claims.uses or None,
            uses=row.uses if row else 0,
            pass_id=claims.pass_id,
        )
        return _Known(credential, use=PassUse(claims.pass_id, claims.uses) if claims.uses else None)

    def _rotating(self, presented: RotatingCode, reading: Reading, now: Instant) -> _Known:
        row = self.allowlist.visitor_pass(presented.pass_id)
        if row is None or row.secret is None:
            return _NOBODY
        step = check_step(presented, row.secret, now.wall)
        if isinstance(step, Reason):
            return _Known(verdict=step)
        credential = Credential(
            id=row.id or pass_name(row.pass_id),
            person=row.person,
            kind=PersonKind.VISITOR,
            method=Method.PASS,
            status=row.status,
            groups=row.groups,
            valid_from=row.valid_from,
            valid_to=row.valid_to,
            use_limit=row.use_limit,
            uses=row.uses,
            pass_id=row.pass_id,
        )
        use = StepUse(row.pass_id, step, reading.direction, row.use_limit)
        if self.allowlist.spent(use) is Reason.REPLAYED:  # said before the limit is asked
            return _Known(credential, Reason.REPLAYED)
        return _Known(credential, use=use)


def _blocked(site: SiteData, credential: Credential, wall: float) -> bool:
    """Deny wins: a block of the person, the credential or the pass, until it expires."""
    named = () if credential.pass_id is None else (pass_name(credential.pass_id),)
    for subject in (credential.person, credential.id, *named):
        if subject in site.blocks:
            until = site.blocks[subject]
            if until is None or wall < until:
                return True
    return False
