"""Every storage call fails once (R3, E1, E4): nothing corrupt, nothing acknowledged that is not stored, and the fault
is proven to have fired. Controls: a writer that takes a failed commit for success must be caught.

strace counts `when=` per thread and injects only into calls that it traces; signals never come with --seccomp-bpf.
"""

import re
import shutil
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fault.explore import Judge, explore
from tests.fault.trace import command, record, run, strace

pytestmark = [pytest.mark.usefixtures("traced"), pytest.mark.timeout(1200)]
CALLS = ("pwrite64", "write", "fsync", "fdatasync", "ftruncate", "fallocate", "openat", "rename", "unlink", "link")
ERRORS = ("EIO", "ENOSPC")
FILES = {
    "running": ("", "/lintel.db", "/lintel.db-wal", "/ring"),  # the writer's files
    "beside": ("/lintel.db-shm", "/anchors", "/.anchors.new", "/lock", "/state.key"),
    "first": (
        "", "/lintel.db", "/lintel.db-wal", "/lintel.db-shm", "/.lintel.db.new", "/.lintel.db.new-wal",
        "/.lintel.db.new-journal", "/anchors", "/.anchors.new", "/ring", "/state.key",
    ),
}  # fmt: skip
"""Which files a sweep is about; `first` begins with an empty directory, the others with a store that was in use."""


@dataclass(frozen=True, slots=True)
class Point:
    """One fault: the `index`-th `call` of a thread on the files of `where`."""

    where: str
    call: str
    fault: str
    index: int

    @property
    def kills(self) -> bool:
        return self.fault == "KILL"


@dataclass(frozen=True, slots=True)
class Fired:
    """What became of a point. `beyond`: this run made fewer calls than the counting run, so nothing could fire."""

    point: Point
    fired: bool
    beyond: bool
    problems: list[str]
    acks: list[str]


@pytest.fixture(scope="module")
def used(room: Path) -> Path:
    """A state directory that a gateway has used and left cleanly."""
    state = room / "used"
    state.mkdir(mode=0o700)
    done = run(command("workload", "open", str(state), ""), room / "used.acks", 30)
    assert not done.returncode, done.stderr
    return state


def words(state: Path, where: str) -> list[str]:
    return [word for name in FILES[where] for word in ("-P", f"{state}{name}")]


def prepared(room: Path, name: str, where: str, used: Path) -> Path:
    state = room / name
    if where == "first":
        state.mkdir(mode=0o700)
    else:
        shutil.copytree(used, state, copy_function=_sparse)
    return state


def _sparse(source: str, target: str) -> None:
    data = Path(source).read_bytes()
    with Path(target).open("wb") as file:
        file.write(data.rstrip(b"\0") if len(data) > 1 << 20 else data)
        file.truncate(len(data))
    Path(target).chmod(0o600)


def counted(room: Path, where: str, used: Path) -> dict[str, int]:
    """How often each call happens in the thread where it is most frequent."""
    state, log = prepared(room, f"count-{where}", where, used), room / f"count-{where}.log"
    trace = [
        strace(),
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-o",
        str(log),
        *words(state, where),
        "-e",
        "trace=" + ",".join(CALLS),
    ]
    done = run([*trace, *command("workload", "sweep", str(state), "")], room / f"count-{where}.acks", 60)
    assert not done.returncode, done.stderr
    return {call: made(log.read_text(), call) for call in CALLS}


def made(log: str, call: str) -> int:
    """How often a call was made in the thread where it is most frequent."""
    return max(Counter(re.findall(rf"^(\d+) +{call}\(", log, re.MULTILINE)).values(), default=0)


def plans(counts: dict[str, dict[str, int]], *, every: int, faults: tuple[str, ...]) -> list[Point]:
    """Each call of each place at every `every`-th index, at least twice; faults take turns where it is the start."""
    found = []
    for where, of in counts.items():
        whole = where == "running" or every == 1
        for call, total in of.items():
            indices = range(1, total + 1, max(1, min(every if whole else 2 * every, total // 2)))
            for n, index in enumerate(indices):
                found += [Point(where, call, f, index) for f in (faults if whole else faults[n % len(faults) :][:1])]
    return found


def strike(point: Point, room: Path, used: Path, judge: Judge, variant: str = "") -> Fired:
    """Run with the fault, then open what is left and compare it with what was acknowledged."""
    name = f"{point.where}-{point.call}-{point.fault}-{point.index}-{variant}"
    state, log, acks = prepared(room, name, point.where, used), room / f"{name}.log", room / f"{name}.acks"
    what = "signal=KILL" if point.kills else f"error={point.fault}"
    fast = [] if point.kills else ["--seccomp-bpf"]
    trace = [strace(), "-f", *fast, "-qq", "-o", str(log), *words(state, point.where), "-e", f"trace={point.call}"]
    inject = ["-e", f"inject={point.call}:{what}:when={point.index}"]
    done = run([*trace, *inject, *command("workload", "sweep", str(state), variant)], acks, 60)
    text = log.read_text()
    fired = "killed by SIGKILL" in text if point.kills else "(INJECTED)" in text
    lines = [line.removeprefix("ACK ") for line in acks.read_text().splitlines()]
    problems = judge.ask(state, lines, uses=12, twice=True)
    if done.returncode and not point.kills:
        problems.append(f"the run ended with {done.returncode}: {done.stderr[-600:]}")
    if not point.kills and not {"closed", "refused"} & {line.split()[0] for line in lines}:
        problems.append("the run neither ended cleanly nor was it refused")
    shutil.rmtree(state)
    return Fired(point, fired, made(text, point.call) < point.index, problems, lines)


def sweep(points: list[Point], room: Path, used: Path, variant: str = "") -> list[Fired]:
    with ThreadPoolExecutor(2) as pool, Judge() as one, Judge() as two:
        return list(pool.map(lambda n: strike(points[n], room, used, (one, two)[n % 2], variant), range(len(points))))


def told(results: list[Fired]) -> str:
    bad = [r for r in results if r.problems]
    return f"{len(bad)} of {len(results)} points: " + "; ".join(f"{r.point}: {r.problems[:2]}" for r in bad[:8])


def campaign(room: Path, used: Path, figure: Callable[..., None], *, every: int, kills: int) -> None:
    counts = {where: counted(room, where, used) for where in FILES}
    points = plans(counts, every=every, faults=ERRORS)
    killing = plans({"running": counts["running"], "first": counts["first"]}, every=kills, faults=("KILL",))
    results = sweep([*points, *killing], room, used)
    silent = [r.point for r in results if not r.fired and not r.beyond]
    fired = sum(r.fired for r in results)
    words_ = Counter(a for r in results for a in {a for a in r.acks if a.startswith(("error", "refused ", "notice"))})
    figure(
        "R3 failing calls", bar="0 corrupt, 0 false acknowledgements", control="see below",
        measured=f"{sum(bool(r.problems) for r in results)} bad of {len(results)} points ({len(killing)} kills), "
        f"{fired} fired; told: {dict(words_)}",
    )  # fmt: skip
    assert not silent, f"these faults never fired: {silent[:5]}"
    assert fired > 0.9 * len(results)
    assert not any(r.problems for r in results), told(results)


def test_no_failing_call_corrupts_or_lies(room: Path, used: Path, figure: Callable[..., None]) -> None:
    campaign(room, used, figure, every=10, kills=40)


@pytest.mark.long
def test_no_failing_call_corrupts_or_lies_long(room: Path, used: Path, figure: Callable[..., None]) -> None:
    campaign(room, used, figure, every=1, kills=4)


def test_control_an_error_taken_for_success_is_caught(room: Path, used: Path, figure: Callable[..., None]) -> None:
    points = [Point("running", call, "EIO", n) for call, n in (("fsync", 6), ("pwrite64", 40), ("pwrite64", 60))]
    results = sweep(points, room, used, "swallow")
    caught = [r for r in results if any("lost" in p or "is stored" in p for p in r.problems)]
    figure(
        "R3 control", bar="must be caught", measured=f"{len(caught)} of {len(results)} points",
        control="caught" if caught else "PASSED: the test is broken",
    )  # fmt: skip
    assert all(r.fired for r in results)
    assert caught


@pytest.mark.parametrize("indices", [(4, 9), pytest.param(tuple(range(2, 14)), marks=pytest.mark.long)])
def test_what_a_failed_sync_dropped_is_not_called_stored(
    room: Path, used: Path, seed: int, dump: Path, figure: Callable[..., None], indices: tuple[int, ...]
) -> None:
    """After a failed sync the kernel may drop the pages and call them clean: every cut after it must lose nothing."""
    judged = 0
    for index in indices:
        state = prepared(room, f"dropped-{index}-{len(indices)}", "running", used)
        trace = record(
            "workload", "sweep", str(state), "", state=state, log=room / f"dropped-{index}.log",
            inject=("-e", f"inject=fsync:error=EIO:when={index}"),
        )  # fmt: skip
        assert any(op.kind == "lost" for op in trace.ops), "the fault never fired"
        verdicts = explore(trace, model="ordered", seed=seed, budget=60, dump=dump / str(index), uses=12)
        judged += verdicts.states
        assert not verdicts.failed, f"{index}: {verdicts.words()} kept in {dump}"
    figure(
        "R3 pages dropped by a failed sync", bar="0 lost", measured=f"0 of {judged} states", control="swallow, above"
    )
