"""What an order means at a Bluetooth lock: the move, the command that carries it, and what has to follow."""

import asyncio
import contextlib
import hashlib
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from lintel.edge.ble.words import Became, Command, Move, Moved
from lintel.edge.drivers.ble_relock import HELD_S
from lintel.edge.drivers.ble_slots import Slots, Ticket
from lintel.edge.model import Action, ClockState, Instant, Order, Outcome
from lintel.edge.profiles.ble import BleSpec

LATE_S: Final = 9.5
"""An order that has left is answered so long after its deadline at the latest (s): a motor takes up to 10 s."""


@dataclass(slots=True)
class Job:
    """An order that waits or is carried out. `dropped`: nobody waits for it any more, so nothing of it may leave.

    `releases`: how many had been ordered when it was given. `renews`: the lock is known to stand held. `limit`
    ends the work on it.
    """

    order: Order
    releases: int = 0
    renews: bool = False
    done: "asyncio.Future[Outcome]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    command: Command | None = None
    dropped: bool = False
    limit: asyncio.Timeout | None = None

    @property
    def left(self) -> bool:
        """Whether its bytes were handed to the radio."""
        return self.command is not None and self.command.handed

    async def outcome(self, now: Callable[[], float]) -> Outcome:
        """What becomes of it: known at its deadline where it has not left, else a little later."""
        await asyncio.wait({self.done}, timeout=max(0.0, self.order.deadline - now()))
        if self.left:
            await asyncio.wait({self.done}, timeout=max(0.0, self.order.deadline + LATE_S - now()))
        if self.done.done():
            return self.done.result()
        return Outcome.UNKNOWN_OUTCOME if self.left else Outcome.NOT_SENT

    def drop(self, *, dialling: bool) -> None:
        """Nobody waits any more. What was not sent will not be; a lock that is still dialled is dialled no further."""
        self.dropped = True
        if dialling and not self.left and self.limit is not None:
            self.limit.reschedule(asyncio.get_running_loop().time())

    def answer(self, outcome: Outcome) -> None:
        """Tell who waits, if anybody does."""
        if not self.done.done():
            self.done.set_result(outcome)


class Jobs:
    """The orders of one lock, in turn. `ticket` says at `slots` how urgent they are."""

    def __init__(self, slots: Slots, ticket: Ticket) -> None:
        self._slots, self._ticket = slots, ticket
        self._all: deque[Job] = deque()

    def add(self, job: Job) -> None:
        """One more."""
        self._all.append(job)
        self._press()

    def remove(self, job: Job) -> None:
        """Nobody waits for it any more."""
        with contextlib.suppress(ValueError):
            self._all.remove(job)
        self._press()

    def _press(self) -> None:
        if self._all:
            self._slots.urge(self._ticket, renews=all(job.renews for job in self._all))
        else:
            self._slots.calm(self._ticket)

    def first(self) -> Job | None:
        """Whose turn it is."""
        while self._all and self._all[0].done.done():
            self._all.popleft()
        return self._all[0] if self._all else None

    def asked(self) -> bool:
        """Whether an order waits, or is under way."""
        return any(not job.done.done() for job in self._all)

    def end(self) -> None:
        """The line is down: what has not left is not sent."""
        for job in self._all:
            job.answer(Outcome.UNKNOWN_OUTCOME if job.left else Outcome.NOT_SENT)
        self._all.clear()


def move_of(spec: BleSpec, order: Order, *, held: bool) -> tuple[Move, float]:
    """What the lock is told, and for how long it is to stay open (s). An opening ends no hold."""
    if order.action is Action.OPEN:
        return spec.opens, HELD_S if held and spec.opens is Move.UNLOCK else order.seconds
    return (Move.LOCK if order.action is Action.RELEASE else Move.UNLOCK), HELD_S


def command(
    name: str, spec: BleSpec, move: Move, *, hold: float, deadline: float, now: Instant, still: Callable[[], bool]
) -> Command:
    """The command of an order: the same name gives the same id, so that a lock that keeps ids moves once for it."""
    return Command(
        hashlib.sha256(name.encode()).digest()[:16],
        move,
        still,
        hold if move is not Move.LOCK and spec.locks_again == "itself" else 0.0,
        math.ceil(now.wall + deadline - now.mono) if now.state is ClockState.SYNCED else 0,
    )


def may_have_moved(moved: Moved) -> bool:
    """Whether the lock may stand otherwise than before.

    One that refuses before it moves says nothing of its state; one whose motor was stopped half way does.
    """
    if moved.became is Became.REFUSED:
        return moved.seen is not None and moved.seen.lock != "locked"
    return moved.became is not Became.NEVER
