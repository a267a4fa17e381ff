"""What an order means at a Bluetooth lock: the move, the command that carries it, and what has to follow."""

import asyncio
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from lintel.edge.ble.words import Command, Move
from lintel.edge.model import Action, ClockState, Instant, Order, Outcome
from lintel.edge.profiles.ble import BleSpec

HELD_S: Final = 6000.0
"""How long a lock that locks again by itself is told to stay open when it is held; told again before that is over."""


@dataclass(slots=True)
class Job:
    """An order that waits or is carried out. `dropped`: nobody waits for it any more, so nothing of it may leave."""

    order: Order
    done: "asyncio.Future[Outcome]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    command: Command | None = None
    dropped: bool = False

    @property
    def left(self) -> bool:
        """Whether its bytes were handed to the radio."""
        return self.command is not None and self.command.handed

    def answer(self, outcome: Outcome) -> None:
        """Tell who waits, if anybody does."""
        if not self.done.done():
            self.done.set_result(outcome)


@dataclass(frozen=True, slots=True)
class Later:
    """A move that has to follow: to lock again, or to hold open again. `at` in monotonic seconds; `tries` so far."""

    at: float
    move: Move
    tries: int = 0


def move_of(spec: BleSpec, order: Order) -> tuple[Move, float]:
    """What the lock is told, and for how long it is to stay open (s)."""
    if order.action is Action.OPEN:
        return spec.opens, order.seconds
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


def follow_up(spec: BleSpec, order: Order, now: float, planned: Later | None) -> Later | None:
    """What has to follow an order that was carried out, or may have been; it takes the place of what was planned."""
    if order.action is Action.OPEN:
        return Later(now + order.seconds, Move.LOCK) if spec.locks_again == "gateway" else planned
    if order.action is Action.HOLD and spec.locks_again == "itself":
        return Later(now + HELD_S * 0.9, Move.UNLOCK)
    return None
