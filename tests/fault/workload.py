"""A process of its own: a gateway's life on the real store, with an acknowledgement where the product gives one.

    python -m tests.fault.workload KIND DIRECTORY [VARIANT]

kind: life (rounds of events, uses, checkpoints; two sessions), sweep (50 events, errors are survived), file
(a state file that is replaced), open (only a start and a stop). Every VARIANT is known to be wrong; "" is the product.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lintel.edge.store import Store, StoreError, connection, database, files, journal, state_key, state_lock, writer
from lintel.edge.store.writer import Writer
from tests.fault import plan
from tests.fault.trace import ACK_FD, ACK_FILE

GROUPS = (1, 3, 7, 12, 2, 20)
"""Events of a round: alone, in small groups, in large ones."""


def ack(kind: str, name: object) -> None:
    os.write(ACK_FD, f"ACK {kind} {name}\n".encode())


def tell(kind: str, name: object) -> Callable[[Any], None]:
    """Acknowledges when it is called."""
    return lambda _: ack(kind, name)


def weaken(variant: str) -> None:
    """Build the wrong store that a control needs."""
    if variant in ("normal", "off"):
        durable = database.durable  # type: ignore[attr-defined]

        def weak(conn: Any) -> None:
            durable(conn)
            conn.execute(f"PRAGMA synchronous = {variant}")

        database.durable = weak  # type: ignore[attr-defined]
    elif variant == "nodirsync":
        files.sync_directory = lambda directory: None
    elif variant == "nosync":
        files.sync_directory = lambda directory: None
        os.fsync = lambda fd: None
    elif variant == "swallow":  # an error of a commit is taken for success
        Writer._failed = lambda self, group, error: self._resolve(group)  # type: ignore[method-assign]
    elif variant not in ("", "early", "inplace"):
        raise SystemExit(f"no variant {variant}")


class Life:
    """Rounds of a small gateway; `early` acknowledges before the commit."""

    def __init__(self, store: Store, *, early: bool) -> None:
        self.store, self.early = store, early

    def when(self, future: "asyncio.Future[Any]", told: Callable[[Any], None]) -> "asyncio.Future[Any]":
        if self.early:
            told(True)
        else:
            future.add_done_callback(lambda f: None if f.exception() else told(f.result()))
        return future

    async def round(self, number: int, first: int, rounds: int) -> int:
        """One round; returns the number of the next event."""
        size = GROUPS[number % len(GROUPS)]
        waiting = [
            self.when(
                self.store.journal.append(plan.event(n), now=n == first + size - 1 and number % 5 != 0),
                tell("event", n),
            )
            for n in range(first, first + size)
        ]
        await asyncio.gather(*waiting)
        await self.use(number)
        if number % 4 == 1:
            version = number // 4 + 1
            done = self.store.allowlist.apply_checkpoint(
                plan.checkpoint(version, rounds), epoch=1, seq=version, synced_at=float(plan.T0 + version),
                full=version == 1,
            )  # fmt: skip
            await self.when(done, tell("checkpoint", version))
        if number % 6 == 3:
            locked = self.store.allowlist.set_lockdown([f"g{number}"], True)
            await self.when(locked, lambda durable: ack("lockdown", number) if durable else None)
            await self.when(self.store.journal.acknowledged(plan.STREAMS[0], 1, 1), tell("upload", 1))
        return first + size

    async def use(self, number: int) -> None:
        """A one-time right is shown; the door is ordered open only when it was taken."""
        granted, refused = plan.outcome(number, "granted"), plan.outcome(number, plan.refusal(number))
        taken = self.store.allowlist.consume(plan.use(number), granted, refused)
        await self.when(taken, lambda won: ack("order", number) if won else None)


async def life(state: Path, variant: str, rounds: int) -> None:
    journal.ANCHOR_EVENTS = 40  # several anchors and check-points in a short run
    connection.CHECKPOINT_PAGES = 60
    key, event = state_key(state), 0
    for session in range(2):
        store = Store.open(state, key)
        ack("opened", session)
        body = Life(store, early=variant == "early")
        half = rounds // 2
        for number in range(1, half) if session == 0 else range(half, rounds):
            if number == 5:
                words = plan.outcome(9002, "granted"), plan.outcome(9002, plan.refusal(2))
                again = store.allowlist.consume(plan.use(2), *words)
                body.when(again, lambda won: ack("twice" if won else "refused", 2))
            event = await body.round(number, event, rounds)
            if number == half - 2:
                await store.tend()
                ack("snapshot", session)
        await store.close()
        ack("closed", session)


async def sweep(state: Path) -> None:
    """50 events, 6 uses, 2 checkpoints. The run goes on after errors and acknowledges only what the product did."""
    writer.RETRY = 0.1
    try:
        key = state_key(state)
        store = Store.open(state, key, on_notice=lambda notice, detail: ack("notice", notice))
    except StoreError as error:
        ack("refused", error.word)
        return
    body, event, failed = Life(store, early=False), 0, 0
    for number, size in enumerate((1, 8, 16, 1, 12, 12), 1):
        waiting = []
        for n in range(event, event + size):
            future = store.journal.append(plan.event(n), now=n == event + size - 1)
            waiting.append(body.when(future, tell("event", n)))
        event += size
        waiting.append(asyncio.ensure_future(body.use(number)))
        if number in (1, 4):
            done = store.allowlist.apply_checkpoint(
                plan.checkpoint(number // 4 + 1, 12), epoch=1, seq=number // 4 + 1, synced_at=float(plan.T0 + number),
                full=number == 1,
            )  # fmt: skip
            waiting.append(body.when(done, tell("checkpoint", number // 4 + 1)))
        for result in await asyncio.gather(*waiting, return_exceptions=True):
            if isinstance(result, StoreError):
                failed += 1
                ack("error", result.word)
            elif isinstance(result, BaseException):
                raise result
    if failed:  # degraded is no end: once the fault is over, the store takes events again
        await asyncio.sleep(1.2 * writer.RETRY)
        for n in range(event, event + 3):
            await body.when(store.journal.append(plan.event(n), now=True), tell("event", n))
    await store.close()
    ack("closed", 0)


def replace(state: Path, *, inplace: bool) -> None:
    """A state file beside the database, replaced 12 times."""
    for n in range(1, 13):
        text = f"{n:04d} {'x' * (100 * n)} {n:04d}".encode()
        if inplace:  # the control for torn writes
            fd = os.open(state / "floor", os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(fd, text)
            os.fsync(fd)
            os.close(fd)
        else:
            files.atomic_write(state / "floor", text)
        ack("floor", n)


async def only_open(state: Path) -> None:
    store = Store.open(state, state_key(state))
    ack("opened", 0)
    await store.close()


def main() -> None:
    kind, state, variant, *more = [*sys.argv[1:], "", ""][: max(3, len(sys.argv) - 1)]
    os.dup2(os.open(os.environ[ACK_FILE], os.O_WRONLY | os.O_APPEND), ACK_FD)
    weaken(variant)
    with state_lock(Path(state)):
        if kind == "file":
            replace(Path(state), inplace=variant == "inplace")
        elif kind == "life":
            asyncio.run(life(Path(state), variant, int(more[0])))
        else:
            asyncio.run(sweep(Path(state)) if kind == "sweep" else only_open(Path(state)))


if __name__ == "__main__":
    main()
