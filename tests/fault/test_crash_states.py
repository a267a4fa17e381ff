"""Power cuts: every state that a disk could be left in after each storage operation of a real run opens with nothing
lost (R1, R5, A5, E5, E13). Controls: weaker synchronous settings, acknowledgements before the commit, state files
without their syncs. The limits of the model are in `disk.py`. 0 failures in n states bound the rate by 3/n.
"""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fault.disk import VARIANTS, Model, State, states
from tests.fault.explore import Verdicts, explore
from tests.fault.trace import Trace, record

pytestmark = [pytest.mark.usefixtures("traced"), pytest.mark.timeout(1800)]
MODELS: tuple[Model, ...] = ("ordered", "strict")
CI_STATES, LONG_STATES = 1000, 6000
"""Per model."""


def recorded(room: Path, name: str, kind: str, variant: str = "", rounds: int = 0) -> Trace:
    state = room / name / "state"
    state.mkdir(mode=0o700, parents=True)
    return record("workload", kind, str(state), variant, str(rounds), state=state, log=room / name / "log")


def told(verdicts: Verdicts, dump: Path) -> str:
    return f"{len(verdicts.failed)} of {verdicts.states} states failed (kept in {dump}): {verdicts.words()}"


def campaign(room: Path, seed: int, dump: Path, figure: Callable[..., None], *, rounds: int, budget: int) -> None:
    trace = recorded(room, f"life{rounds}", "life", rounds=rounds)
    kinds = {line.split()[0] for line in trace.acks}
    assert {"event", "order", "checkpoint", "lockdown", "upload", "snapshot", "closed", "refused"} | {"opened"} >= kinds
    assert {"event", "order", "checkpoint", "lockdown", "closed"} <= kinds
    all_ = [explore(trace, model=m, seed=seed, budget=budget, dump=dump, uses=rounds) for m in MODELS]
    judged, orders = sum(v.states for v in all_), sum(v.after_order for v in all_)
    failed = sum(len(v.failed) for v in all_)
    figure(
        "R1 power cut", bar="0 lost, 0 corrupt", control="see below",
        measured=f"{failed} failed of {judged} states after {len(trace.ops)} operations, models {' and '.join(MODELS)}",
    )  # fmt: skip
    figure(
        "R5/A5 one-time right after a cut", bar="0 uses lost in 1,000 cuts", control="see below",
        measured=f"{failed} failed of {orders} cuts after a door was ordered open",
    )  # fmt: skip
    for verdicts in all_:
        assert not verdicts.failed, told(verdicts, dump)
        assert verdicts.states > 0.8 * budget
        assert set(verdicts.variants) >= set(VARIANTS) - {"none", "none+names", "prefix", "cross data", "cross log"}
    assert orders >= 1000


def test_nothing_acknowledged_is_lost(room: Path, seed: int, dump: Path, figure: Callable[..., None]) -> None:
    campaign(room, seed, dump, figure, rounds=24, budget=CI_STATES)


@pytest.mark.long
def test_nothing_acknowledged_is_lost_long(room: Path, seed: int, dump: Path, figure: Callable[..., None]) -> None:
    campaign(room, seed, dump, figure, rounds=44, budget=LONG_STATES)


@pytest.mark.parametrize(("variant", "budget"), [("normal", 60), ("off", 80), ("early", 80)])
def test_control_of_the_store_loses(
    room: Path, seed: int, dump: Path, figure: Callable[..., None], variant: str, budget: int
) -> None:
    trace = recorded(room, variant, "life", variant, rounds=8)
    verdicts = explore(trace, model="ordered", seed=seed, budget=budget, dump=dump, uses=8)
    lost = sum(any("is lost" in p for p in ps) for _, ps in verdicts.failed)
    figure(
        f"R1 control {variant}", bar="must lose", control="lost" if lost else "PASSED: the test is broken",
        measured=f"{lost} of {verdicts.states} states lost acknowledged things",
    )  # fmt: skip
    assert lost, "the control lost nothing: this test can not see a loss"


@pytest.mark.parametrize("model", MODELS)
def test_state_files(room: Path, seed: int, dump: Path, figure: Callable[..., None], model: Model) -> None:
    found = {}
    for variant in ("", "nodirsync", "nosync", "inplace"):
        trace = recorded(room, f"file-{variant}-{model}", "file", variant)
        verdicts = explore(trace, model=model, seed=seed, budget=150, dump=dump / variant, kind="file")
        found[variant] = verdicts.states, verdicts.words()
        if not variant:
            assert not verdicts.failed, told(verdicts, dump)
    figure(
        f"R1 state files, {model}", bar="0 lost, 0 unreadable", measured=f"{found['']}",
        control=", ".join(f"{v} {dict(w)}" for v, (_, w) in found.items() if v),
    )  # fmt: skip
    assert found["nodirsync"][1]["the file is old"] or found["nodirsync"][1]["the file is lost"]
    assert found["nosync"][1]["the file is unreadable"]
    assert found["inplace"][1]["the file is unreadable"]


@pytest.mark.parametrize("samples", [2, pytest.param(50, marks=pytest.mark.long)])
def test_a_cut_during_the_start_after_a_cut(
    room: Path, seed: int, dump: Path, figure: Callable[..., None], samples: int
) -> None:
    """The start itself is recorded on a cut state, and cut again."""
    trace = recorded(room, f"again{samples}", "life", rounds=16)
    cuts = _sampled(trace, seed, samples)
    failed = judged = 0
    for number, (at, state) in enumerate(cuts):
        place = room / f"again{samples}-{number}" / "state"
        place.mkdir(mode=0o700, parents=True)
        state.put(trace.root, place)
        start = record("workload", "open", str(place), "", state=place, log=place.parent / "log")
        start.acks[:0] = trace.acks[: state.acks]
        verdicts = explore(start, model="ordered", seed=seed, budget=60, dump=dump / str(at), uses=16,
                           given=state.acks)  # fmt: skip
        judged, failed = judged + verdicts.states, failed + len(verdicts.failed)
        assert not verdicts.failed, told(verdicts, dump)
    figure("R1 cut during recovery", bar="0 lost", measured=f"{failed} of {judged} states", control="as R1")
    assert judged > 10 * samples


def _sampled(trace: Trace, seed: int, samples: int) -> list[tuple[int, State]]:
    rng = random.Random(seed)
    busy = [s for s in states(trace, "ordered", seed) if s.at > len(trace.ops) // 4 and any(
        path.endswith("-wal") and c.size for path, c in s.files.items())]  # fmt: skip
    return [(s.at, s) for s in rng.sample(busy, samples)]
