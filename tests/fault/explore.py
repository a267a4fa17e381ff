"""Judges many states of a recorded run on all processors; a failing state is kept with the number of the operation."""

import json
import os
import queue
import random
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Self

from tests.fault.disk import Model, State, states
from tests.fault.trace import ROOT, Trace, command


@dataclass(slots=True)
class Verdicts:
    """What the judged states had. `after_order`: states in which a door had been ordered open."""

    states: int = 0
    after_order: int = 0
    failed: list[tuple[State, list[str]]] = field(default_factory=list)
    variants: Counter[str] = field(default_factory=Counter)

    def words(self) -> Counter[str]:
        """How often each kind of problem was found."""
        plain = (
            " ".join(w for w in p.split() if not any(c.isdigit() for c in w)) for _, ps in self.failed for p in ps[:1]
        )
        return Counter(text[:90] for text in plain)


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory in memory where there is one: judging makes thousands of small files."""
    shm = Path("/dev/shm")
    path = Path(mkdtemp(prefix="lintel-fault-", dir=shm if os.access(shm, os.W_OK) else None)).resolve()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Judge:
    """A process that judges one state after the other; `acks` are the lines that the states were promised."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            command("judge"), cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.communicate(timeout=30)

    def ask(self, state: Path, acks: list[str], *, uses: int, kind: str = "life", twice: bool = False) -> list[str]:
        """Everything that is wrong with a state directory."""
        assert self._process.stdin and self._process.stdout
        request = {"dir": str(state), "acks": acks, "kind": kind, "twice": twice, "uses": uses}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        return list(json.loads(answer)["problems"]) if answer else ["the judge died"]


def pick(trace: Trace, model: Model, seed: int, budget: int) -> Callable[[int, str], bool] | None:
    """Which states to judge when there are more than the budget: drawn evenly from all of them."""
    found = [(state.at, state.variant) for state in states(trace, model, seed)]
    if len(found) <= budget:
        return None
    chosen = set(random.Random(seed).sample(found, budget))
    return lambda at, variant: (at, variant) in chosen


def explore(
    trace: Trace,
    *,
    model: Model,
    seed: int,
    budget: int,
    dump: Path,
    kind: str = "life",
    uses: int = 200,
    given: int = 0,
) -> Verdicts:
    """Judge up to `budget` different states. Failing ones are dumped below `dump` (the first ten).

    `given`: so many of the trace's acknowledgements are older than its first operation.
    """  # fmt: skip
    verdicts = Verdicts()
    chosen = pick(trace, model, seed, budget)
    with scratch() as room:
        tasks: queue.Queue[tuple[State, Path] | None] = queue.Queue(maxsize=8)
        lock, errors = threading.Lock(), list[BaseException]()

        def work() -> None:
            try:
                with Judge() as judge:
                    while (task := tasks.get()) is not None:
                        state, place = task
                        lines = trace.acks[: given + state.acks]
                        answer = judge.ask(place, lines, uses=uses, kind=kind, twice=state.at % 3 == 0)
                        shutil.rmtree(place)
                        with lock:
                            verdicts.states += 1
                            verdicts.after_order += any(line.startswith("order ") for line in lines)
                            verdicts.variants[state.variant] += 1
                            if answer:
                                verdicts.failed.append((state, answer))
            except BaseException as error:  # noqa: BLE001  told in the test's thread
                errors.append(error)
                while tasks.get() is not None:
                    pass

        threads = [threading.Thread(target=work) for _ in range(max(2, os.cpu_count() or 2))]
        for thread in threads:
            thread.start()
        try:
            for number, state in enumerate(states(trace, model, seed, chosen)):
                place = room / f"s{number}"
                place.mkdir(mode=0o700)
                state.put(trace.root, place)
                tasks.put((state, place))
        finally:
            for _ in threads:
                tasks.put(None)
            for thread in threads:
                thread.join()
        if errors:
            raise errors[0]
    for state, answer in sorted(verdicts.failed, key=lambda f: f[0].at)[:10]:
        keep(trace, state, answer, model, seed, dump)
    return verdicts


def keep(trace: Trace, state: State, answer: list[str], model: Model, seed: int, dump: Path) -> None:
    """A failing state as a directory, and what led to it."""
    place = dump / f"{model}-{state.at}-{state.variant.replace(' ', '-').replace('+', '-')}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    state.put(trace.root, place / "state")
    last = [
        f"{n}: {op.kind} {Path(op.path).name} {op.to} at {op.offset}, {len(op.data)} bytes"
        for n, op in enumerate(trace.ops[: state.at])
    ]
    text = [f"cut after operation {state.at}, variant {state.variant}, model {model}, seed {seed}", "", *answer, ""]
    (place / "why.txt").write_text("\n".join([*text, "acknowledged:", *trace.acks[: state.acks], "", *last[-60:], ""]))
