"""Row A7: forty-four instants with their word, and no exception for any instant from 1970 to 2099."""

import random
from datetime import UTC, date, datetime

import pytest

from lintel.edge.clock import Clock
from lintel.edge.model import ClockState, Credential, Door, Instant, Method, PersonKind, Reading, Status
from lintel.edge.policy import Facts, decide
from lintel.edge.schedules import parse_schedule, zone
from tests.edge.test_schedules import oracle

BERLIN, SHANGHAI = zone("Europe/Berlin"), zone("Asia/Shanghai")
DOOR = Door("gate", "", frozenset({"public"}), "lock")
WEEK = {"mon-fri": ["08:00-18:00"], "sat": ["22:00-04:00"], "sun": ["20:00-24:00"], "holiday": []}
SCHEDULE = parse_schedule("week", WEEK)
DAYS = dict.fromkeys(("mon", "tue", "wed", "thu", "fri"), WEEK["mon-fri"]) | {
    d: WEEK[d] for d in ("sat", "sun", "holiday")
}
CHRISTMAS = date(2026, 12, 25)
NOON_TO_SIX = ("2026-11-22 12:00:00", "2026-11-22 18:00:00")
LEAP_DAY = ("2028-02-29 00:00:00", "2028-03-01 00:00:00")
HOLDOVER, UNKNOWN = ClockState.HOLDOVER, ClockState.UNKNOWN


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() if isinstance(text, str) else text


def word(wall, span=(None, None), tz=UTC, schedule="", state=ClockState.SYNCED, kind=PersonKind.OWNER):
    credential = Credential(
        "c", "p", kind, Method.QR, Status.ACTIVE, DOOR.groups, utc(span[0]), utc(span[1]), schedule
    )  # fmt: skip
    known = SCHEDULE if schedule == "week" else None
    facts = Facts(credential, schedule=known, zone=tz, holidays=(CHRISTMAS,), list_age=0.0)
    return decide(Reading("e", "gate", "d", Method.QR, b"", wall), facts, DOOR, Instant(wall, 0.0, state)).reason


def local(text, tz, fold=0):
    return datetime.fromisoformat(text).replace(tzinfo=tz, fold=fold).timestamp()


VALIDITY = [
    ("2026-11-22 11:59:59", NOON_TO_SIX, "not_yet_valid"),  # valid in one second
    ("2026-11-22 11:59:59.999", NOON_TO_SIX, "not_yet_valid"),
    ("2026-11-22 12:00:00", NOON_TO_SIX, "granted"),
    ("2026-11-22 17:59:59.999", NOON_TO_SIX, "granted"),
    ("2026-11-22 18:00:00", NOON_TO_SIX, "expired"),  # equal to the end
    ("2026-11-22 18:00:01", NOON_TO_SIX, "expired"),  # by one second
    ("2028-02-28 23:59:59", LEAP_DAY, "not_yet_valid"),
    ("2028-02-29 00:00:00", LEAP_DAY, "granted"),
    ("2028-02-29 23:59:59", LEAP_DAY, "granted"),
    ("2028-03-01 00:00:00", LEAP_DAY, "expired"),
    ("2000-02-29 12:00:00", ("2000-02-29 00:00:00", "2000-03-01 00:00:00"), "granted"),
    (1483228799.0, (None, "2017-01-01 00:00:00"), "granted"),  # 23:59:60 counts as 23:59:59
    (1483228799.999, (None, "2017-01-01 00:00:00"), "granted"),
    (1483228800.0, (None, "2017-01-01 00:00:00"), "expired"),
    ("2038-01-19 03:14:08", ("2038-01-19 03:14:07", "2038-01-19 03:14:09"), "granted"),
    ("2038-01-19 03:14:09", ("2038-01-19 03:14:07", "2038-01-19 03:14:09"), "expired"),
    (0.0, ("1970-01-01 00:00:00", "1970-01-01 00:00:01"), "granted"),
    (1.0, ("1970-01-01 00:00:00", "1970-01-01 00:00:01"), "expired"),
    ("2099-12-31 23:59:59", (None, "2100-01-01 00:00:00"), "granted"),
]


@pytest.mark.parametrize(("at", "span", "reason"), VALIDITY)
def test_a7_validity_is_utc_and_half_open(at, span, reason):
    assert word(utc(at), span) == reason


@pytest.mark.parametrize(
    ("at", "state", "kind", "reason"),
    [
        ("2026-11-22 11:58:00", HOLDOVER, PersonKind.OWNER, "granted"),  # 120 s widen the start
        ("2026-11-22 11:57:59", HOLDOVER, PersonKind.OWNER, "not_yet_valid"),
        ("2026-11-22 17:59:59", HOLDOVER, PersonKind.OWNER, "granted"),
        ("2026-11-22 18:00:00", HOLDOVER, PersonKind.OWNER, "expired"),  # and never the end
        ("2026-11-22 15:00:00", UNKNOWN, PersonKind.VISITOR, "clock_untrusted"),
    ],
)
def test_a7_how_far_a_clock_that_is_not_synced_counts(at, state, kind, reason):
    assert word(utc(at), NOON_TO_SIX, state=state, kind=kind) == reason


SCHEDULED = [
    (local("2026-03-28 21:59:59", BERLIN), BERLIN, "outside_schedule"),
    (local("2026-03-28 22:00:00", BERLIN), BERLIN, "granted"),
    (local("2026-03-29 01:59:59", BERLIN), BERLIN, "granted"),
    (local("2026-03-29 03:00:00", BERLIN), BERLIN, "granted"),  # the second after 01:59:59
    (local("2026-03-29 03:59:59", BERLIN), BERLIN, "granted"),
    (local("2026-03-29 04:00:00", BERLIN), BERLIN, "outside_schedule"),
    (local("2026-10-24 22:00:00", BERLIN), BERLIN, "granted"),
    (local("2026-10-25 02:30:00", BERLIN), BERLIN, "granted"),
    (local("2026-10-25 02:30:00", BERLIN, 1), BERLIN, "granted"),  # the same hour again
    (local("2026-10-25 03:59:59", BERLIN), BERLIN, "granted"),
    (local("2026-10-25 04:00:00", BERLIN), BERLIN, "outside_schedule"),
    (local("2026-11-22 19:59:59", BERLIN), BERLIN, "outside_schedule"),
    (local("2026-11-22 23:59:59", BERLIN), BERLIN, "granted"),
    (local("2026-11-23 00:00:00", BERLIN), BERLIN, "outside_schedule"),  # 24:00 is the end
    (local("2026-11-23 08:00:00", SHANGHAI), SHANGHAI, "granted"),
    (local("2026-11-23 08:00:00", SHANGHAI), BERLIN, "outside_schedule"),  # the same instant elsewhere
    (local("2026-12-25 12:00:00", BERLIN), BERLIN, "outside_schedule"),  # a Friday, and a holiday
    (local("2026-12-18 12:00:00", BERLIN), BERLIN, "granted"),
]


@pytest.mark.parametrize(("wall", "tz", "reason"), SCHEDULED)
def test_a7_schedules_are_local_and_reach_over_midnight(wall, tz, reason):
    assert word(wall, tz=tz, schedule="week") == reason


def test_a7_a_schedule_that_is_not_here_or_a_clock_that_is_not_trusted():
    noon = local("2026-11-23 12:00:00", BERLIN)
    assert word(noon, tz=BERLIN, schedule="gone") == "outside_schedule"
    assert word(noon, tz=BERLIN, schedule="week", state=UNKNOWN) == "clock_untrusted"


def test_a7_a_second_that_comes_twice_does_not_run_back():
    """What a kernel shows around 2016-12-31 23:59:60: the last second again."""
    shown, mono = [1483228799.0, 1483228799.9, 1483228799.2, 1483228799.8, 1483228800.0], [0.0]
    clock = Clock(lambda: shown[0], lambda: mono[0], synced=lambda: True)
    seen = []
    for wall in shown[:]:
        shown[0], mono[0] = wall, mono[0] + 0.5
        seen.append(clock.now().wall)
    assert seen == sorted(seen)
    assert [word(w, (None, 1483228800.0)) for w in seen] == ["granted"] * 4 + ["expired"]


@pytest.mark.parametrize("tz", [BERLIN, SHANGHAI, zone("Pacific/Apia")], ids=str)
def test_a7_any_instant_from_1970_to_2099_agrees_with_a_slow_oracle(tz):
    rng = random.Random(f"a7-{tz}")
    last = datetime(2099, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
    seen, late = set(), 0
    for _ in range(500):
        wall = rng.uniform(0, last)
        near = lambda: rng.choice((None, wall - 1, wall, wall + 1, rng.uniform(0, last)))  # noqa: E731, B023
        start, end = near(), near()
        reason = word(wall, (start, end), tz, "week")
        expected = (
            "not_yet_valid" if start is not None and wall < start
            else "expired" if end is not None and wall >= end
            else "granted" if oracle(DAYS, wall, tz, {CHRISTMAS})
            else "outside_schedule"
        )  # fmt: skip
        assert reason == expected, (wall, start, end)
        seen.add(reason)
        late += reason == "expired" and wall == end
    assert len(seen) == 4
    assert late > 3, "control: with [from, to] instead of [from, to) there would be wrong grants to find"
