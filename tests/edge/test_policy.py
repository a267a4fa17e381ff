"""S2: no wrong grant against an independent oracle; deny wins and is monotone; empty facts deny."""

import random
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta

import pytest

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
from lintel.edge.policy import Facts, decide
from lintel.edge.schedules import parse_schedule

from . import oracle

WEEK = 7 * 86400
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ELSEWHERE = ("wrong_scope", "method_disabled")


def groups(rng):
    return frozenset(rng.sample("abcd", rng.randint(0, 3)))


def ranges(rng):
    pairs = [(rng.randint(0, 1439), rng.randint(1, 1440)) for _ in range(rng.randint(0, 2))]
    return [p for p in pairs if p[0] != p[1]]


def near(rng, wall):
    return rng.choice([None, None, wall - 200, wall - 60, wall, wall + 60, wall + 200, rng.uniform(0, 3 * WEEK)])


def make(rng):
    """One random case of plain data."""
    wall = rng.uniform(0, 3 * WEEK)
    often = lambda p: rng.random() < p  # noqa: E731
    credential = {
        "status": rng.choice(["active"] * 6 + ["suspended", "revoked"]),
        "groups": groups(rng),
        "method": rng.choice(list(Method)),
        "kind": rng.choice(list(PersonKind)),
        "from": near(rng, wall),
        "to": near(rng, wall),
        "schedule": rng.choice(["", "", "s"]),
        "limit": rng.choice([None, 0, 1, 2, 3]),
        "uses": rng.randint(0, 4),
        "consent": rng.choice(["granted"] * 6 + ["none", "withdrawn"]),
    }
    verdict = rng.choice(["bad_signature", "untrusted_key", "replayed", *ELSEWHERE]) if often(0.1) else None
    return {
        "wall": wall,
        "credential": None if verdict in ELSEWHERE or often(0.1) else credential,
        "clock": rng.choice(list(ClockState)),
        "door": {
            "groups": groups(rng),
            "methods": frozenset(rng.sample(list(Method), 6)),
            "max_age": 10.0,
            "max_list_age": rng.choice([None, None, 3600.0]),
            "min_score": 0.8,
            "min_liveness": rng.choice([None, 0.5]),
        },
        "reading": {
            "fault": rng.choice(["bad_format", "device_untrusted", "stale_reading"]) if often(0.1) else None,
            "age": rng.choice([0.0, 0.0, 9.9, 10.0, 10.1, float("inf")]),
            "method": rng.choice(list(Method)),
            "direction": rng.choice(["in", "in", "out"]),
            "score": rng.choice([None, 0.0, 0.79, 0.8, 1.0]),
            "liveness": rng.choice([None, 0.49, 0.5, 1.0]),
        },
        "verdict": verdict,
        "blocked": often(0.1),
        "fire": often(0.05),
        "lockdown": often(0.1),
        "rate_limited": often(0.1),
        "storage_fault": often(0.1),
        "storage_read_only": often(0.2),
        "list_age": rng.choice([None, 0.0, 3600.0, 3601.0]),
        "schedule": rng.choice([None, {"week": [ranges(rng) for _ in range(7)], "holiday": ranges(rng)}]),
        "holidays": frozenset(date(1970, 1, 1) + timedelta(days=rng.randint(0, 22)) for _ in range(3)),
        "schedule_without_clock": often(0.5),
    }


def span(start, end):
    return f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"


def built(case):
    """The product's own values for a case of plain data."""
    c, d, r = case["credential"], case["door"], case["reading"]
    schedule = case["schedule"]
    if schedule is not None:
        document = {day: [span(*p) for p in schedule["week"][n]] for n, day in enumerate(DAYS)}
        document["holiday"] = [span(*p) for p in schedule["holiday"]]
        schedule = parse_schedule("s", document)
    credential = c and Credential(
        "crd_1", "per_1", c["kind"], c["method"], Status(c["status"]), c["groups"], c["from"], c["to"], c["schedule"],
        c["limit"], c["uses"], consent=Consent(c["consent"]),
    )  # fmt: skip
    facts = Facts(
        credential=credential,
        verdict=case["verdict"] and Reason(case["verdict"]),
        schedule=schedule,
        **{k: case[k] for k in (
            "blocked", "holidays", "list_age", "lockdown", "rate_limited", "storage_fault", "storage_read_only",
            "schedule_without_clock", "fire",
        )},
    )  # fmt: skip
    door = Door("dr", "dr", d["groups"], "lock", methods=d["methods"], max_age=d["max_age"],
                max_list_age=d["max_list_age"], min_score=d["min_score"], min_liveness=d["min_liveness"])  # fmt: skip
    reading = Reading("evt_1", "dr", "dev", r["method"], b"", case["wall"], r["age"], score=r["score"],
                      liveness=r["liveness"], fault=r["fault"] and Reason(r["fault"]),
                      direction=Direction(r["direction"]))  # fmt: skip
    return reading, facts, door, Instant(case["wall"], 0.0, case["clock"])


def overnight(case):
    """The oracle's ranges run past 24:00 where the product writes 22:00-02:00."""
    if case["schedule"] is not None:
        fix = lambda rs: [(s, e if e > s else e + 1440) for s, e in rs]  # noqa: E731
        case["schedule"] = {
            "week": [fix(rs) for rs in case["schedule"]["week"]], "holiday": fix(case["schedule"]["holiday"])
        }  # fmt: skip
    return case


CASES = 20_000


def test_the_policy_agrees_with_the_oracle():
    seen = Counter()
    for seed in range(CASES):
        case = make(random.Random(seed))
        decision = decide(*built(case))
        seen[decision.reason] += 1
        assert decision.reason == oracle.answer(overnight(case)), f"seed {seed}"
        assert decision.opens == (decision.reason in (Reason.GRANTED, Reason.FIRE_RELEASE))
    assert set(oracle.ORDER) | {"granted"} == set(seen), "every word is reached"


def test_an_oracle_with_one_rule_flipped_disagrees():
    """Control: the comparison above can fail."""
    agree = []
    for seed in range(2000):
        case = make(random.Random(seed))
        decision = decide(*built(case))
        agree.append(decision.reason == oracle.answer(overnight(dict(case, blocked=not case["blocked"]))))
    assert True in agree
    assert False in agree


@pytest.mark.parametrize("added", ["blocked", "lockdown", "revoked", "storage_fault", "rate_limited"])
def test_adding_a_refusal_never_opens(added):
    for seed in range(4000):
        reading, facts, door, now = built(make(random.Random(seed)) | {"fire": False})
        if added == "revoked":
            worse = replace(facts, credential=facts.credential and replace(facts.credential, status=Status.REVOKED))
        else:
            worse = replace(facts, **{added: True})
        decision = decide(reading, worse, door, now)
        if added in ("blocked", "lockdown") and reading.direction is Direction.OUT:
            assert decision == decide(reading, facts, door, now), f"neither ever closes an exit: seed {seed}"
        else:
            assert not decision.opens, f"seed {seed}"


def test_f21_nothing_wins_over_fire():
    """Whatever else is true, lockdown included: a door that fire has released is open to everybody."""
    for seed in range(4000):
        reading, facts, door, now = built(make(random.Random(seed)) | {"fire": True, "lockdown": seed % 2 == 0})
        decision = decide(reading, facts, door, now)
        assert (decision.reason, decision.opens) == (Reason.FIRE_RELEASE, True)


def test_control_without_fire_the_lockdown_holds():
    reasons = set()
    for seed in range(4000):
        case = make(random.Random(seed)) | {"fire": False, "lockdown": True}
        reasons.add(decide(*built(case)).reason)
    assert Reason.LOCKDOWN in reasons
    assert Reason.FIRE_RELEASE not in reasons


@pytest.mark.parametrize("method", list(Method))
def test_empty_facts_deny(method):
    door = Door("dr", "dr", frozenset("a"), "lock")
    reading = Reading("evt_1", "dr", "dev", method, b"", 0.0)
    assert decide(reading, Facts(), door, Instant(0.0, 0.0, ClockState.SYNCED)).reason is Reason.UNKNOWN_CREDENTIAL


@pytest.mark.parametrize("score", [float("nan"), None, 0.0, 0.799999])
def test_a_score_that_is_no_number_or_too_low_refuses(score):
    door = Door("dr", "dr", frozenset("a"), "lock")
    credential = Credential("crd_1", "per_1", PersonKind.OWNER, Method.FACE, Status.ACTIVE, frozenset("a"),
                            consent=Consent.GRANTED)  # fmt: skip
    reading = Reading("evt_1", "dr", "dev", Method.FACE, b"", 0.0, score=score)
    now = Instant(0.0, 0.0, ClockState.SYNCED)
    assert decide(reading, Facts(credential), door, now).reason is Reason.LOW_SCORE
    assert decide(replace(reading, score=0.8), Facts(credential), door, now).opens


def test_a_presentation_of_unknown_age_is_stale():
    door = Door("dr", "dr", frozenset("a"), "lock")
    reading = Reading("evt_1", "dr", "dev", Method.QR, b"", 0.0, age=float("nan"))
    assert decide(reading, Facts(), door, Instant(0.0, 0.0, ClockState.SYNCED)).reason is Reason.STALE_READING
