"""Who may pass. `decide` is pure and total: the same facts give the same answer, and empty facts deny.

The rules are a ladder; the first rung that applies gives the one reason word. The order is fixed:

    fire_release,
    bad_format, device_untrusted, rate_limited, stale_reading, bad_signature, untrusted_key, replayed, storage_fault,
    unknown_credential, blocked, revoked, suspended, wrong_scope, no_grant, lockdown, method_disabled,
    clock_untrusted, not_yet_valid, expired, outside_schedule, allowlist_too_old, consent_withdrawn, consent_missing,
    liveness_failed, low_score, already_used, storage_read_only, granted

What changes state (a use) comes last, so that a refused person never burns a use. `blocked` and `lockdown` hold for the
way in only: neither ever closes an exit. Payment is no input here, and never will be: there is no field for it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from lintel.edge.model import (
    ClockState,
    Credential,
    Direction,
    Door,
    Instant,
    Method,
    PersonKind,
    Reading,
    Reason,
    Status,
)
from lintel.edge.persons import Consent
from lintel.edge.schedules import Schedule, allows

HOLDOVER_TOLERANCE = 120.0
"""Seconds by which an unsynchronised clock may widen the start of a validity, never its end."""

UTC = ZoneInfo("UTC")

_OF_STANDING = (None, Reason.WRONG_SCOPE, Reason.METHOD_DISABLED)
"""Verdicts on a genuine pass that is not meant for here: they come after the state of the store."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the gateway knows about one presentation at one door, gathered by the gate before it asks.

    `verdict` is what checking a signed pass gave when it was not good. `schedule` is the credential's weekly
    schedule, None when it names one that is not here. `list_age` is seconds since the allowlist was last confirmed,
    None when it never was. `schedule_without_clock` is the site's choice for an untrusted clock. `fire`: the door is
    released, whoever stands before it.
    """

    credential: Credential | None = None
    verdict: Reason | None = None
    blocked: bool = False
    schedule: Schedule | None = None
    zone: ZoneInfo = UTC
    holidays: Collection[date] = ()
    list_age: float | None = None
    lockdown: bool = False
    rate_limited: bool = False
    storage_fault: bool = False
    storage_read_only: bool = False
    schedule_without_clock: bool = False
    fire: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer. `opens` says whether an order goes to the door."""

    reason: Reason
    opens: bool = False


def decide(reading: Reading, facts: Facts, door: Door, now: Instant) -> Decision:
    """One reason for one presentation; see the module text for the order of evaluation."""
    if facts.fire:
        return Decision(Reason.FIRE_RELEASE, opens=True)
    reason = (
        _presentation(reading, facts, door)
        or _standing(reading, facts, door)
        or _time(facts, door, now)
        or _consent(reading, facts)
        or _likeness(reading, door)
        or _uses(facts)
    )
    if reason is not None:
        return Decision(reason)
    return Decision(Reason.GRANTED, opens=True)


def _presentation(reading: Reading, facts: Facts, door: Door) -> Reason | None:
    """Is this a well-formed, fresh and genuine presentation?"""
    if reading.fault is not None and reading.fault is not Reason.STALE_READING:
        return reading.fault
    if facts.rate_limited:
        return Reason.RATE_LIMITED
    if reading.fault is Reason.STALE_READING or not reading.age <= door.max_age:
        return Reason.STALE_READING
    return facts.verdict if facts.verdict not in _OF_STANDING else None


def _standing(reading: Reading, facts: Facts, door: Door) -> Reason | None:
    """Is this person known, in good standing, and meant for this door? Block and lockdown keep nobody inside."""
    credential = facts.credential
    leaving = reading.direction is Direction.OUT
    if facts.storage_fault:
        return Reason.STORAGE_FAULT
    if credential is None:
        return facts.verdict or Reason.UNKNOWN_CREDENTIAL
    if facts.blocked and not leaving:
        return Reason.BLOCKED
    if credential.status is Status.REVOKED:
        return Reason.REVOKED
    if credential.status is not Status.ACTIVE:
        return Reason.SUSPENDED
    if credential.groups.isdisjoint(door.groups):
        return Reason.WRONG_SCOPE if credential.method is Method.PASS else Reason.NO_GRANT
    if facts.lockdown and not leaving:
        return Reason.LOCKDOWN
    if credential.method not in door.methods:
        return Reason.METHOD_DISABLED
    return None


def _time(facts: Facts, door: Door, now: Instant) -> Reason | None:
    """Is it the right time? Intervals are [from, to); `now.wall` never runs below the floor, so expired stays so."""
    credential = facts.credential
    if credential is None:
        return Reason.UNKNOWN_CREDENTIAL
    starts, ends = credential.valid_from, credential.valid_to
    if now.state is ClockState.UNKNOWN:
        timed = starts is not None or ends is not None
        visiting = credential.method is Method.PASS or (timed and credential.kind is PersonKind.VISITOR)
        early = starts is not None and now.wall < starts
        if visiting or early or (credential.schedule and not facts.schedule_without_clock):
            return Reason.CLOCK_UNTRUSTED
    tolerance = HOLDOVER_TOLERANCE if now.state is ClockState.HOLDOVER else 0.0
    if starts is not None and now.wall + tolerance < starts:
        return Reason.NOT_YET_VALID
    if ends is not None and now.wall >= ends:
        return Reason.EXPIRED
    if credential.schedule and now.state is not ClockState.UNKNOWN:
        schedule = facts.schedule
        if schedule is None or not allows(schedule, now.wall, facts.zone, facts.holidays):
            return Reason.OUTSIDE_SCHEDULE
    if door.max_list_age is not None and (facts.list_age is None or facts.list_age > door.max_list_age):
        return Reason.ALLOWLIST_TOO_OLD
    return None


def _consent(reading: Reading, facts: Facts) -> Reason | None:
    """Has the person consented to the use of their face? What is no face needs none and goes on as before."""
    credential = facts.credential
    if credential is None or Method.FACE not in (credential.method, reading.method):
        return None
    if credential.consent is Consent.GRANTED:
        return None
    return Reason.CONSENT_WITHDRAWN if credential.consent is Consent.WITHDRAWN else Reason.CONSENT_MISSING


def _likeness(reading: Reading, door: Door) -> Reason | None:
    """Does a face proposal meet the gateway's own limits? A terminal's word is a fact, not a decision.

    A score that the terminal does not give counts as 0. Comparisons are written so that NaN refuses.
    """
    if reading.method is not Method.FACE:
        return None
    if door.min_liveness is not None and not (reading.liveness or 0.0) >= door.min_liveness:
        return Reason.LIVENESS_FAILED
    if not (reading.score or 0.0) >= door.min_score:
        return Reason.LOW_SCORE
    return None


def _uses(facts: Facts) -> Reason | None:
    """Is a use left, and can it be recorded?"""
    credential = facts.credential
    if credential is None or credential.use_limit is None:
        return None
    if credential.uses >= credential.use_limit:
        return Reason.ALREADY_USED
    if facts.storage_read_only:
        return Reason.STORAGE_READ_ONLY
    return None
