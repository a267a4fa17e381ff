"""The `[ble]` table of a lock's profile, and what its messages mean, once they are opened."""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field

from lintel.edge.ble import samples
from lintel.edge.ble.words import Move
from lintel.edge.model import Wiring
from lintel.edge.profiles.fields import STRICT
from lintel.edge.profiles.samples import Meaning

Dialect = Literal["lintel-lock", "nuki", "nuki-ultra", "yale"]
Opens = Literal["unlock", "unlatch", "lock_n_go", "lock_n_go_unlatch"]
LocksAgain = Literal["itself", "gateway", "never"]

_MOVES: Final = {
    "lintel-lock": {Move.LOCK, Move.UNLOCK, Move.UNLATCH},
    "nuki": set(Move),
    "nuki-ultra": set(Move),
    "yale": {Move.LOCK, Move.UNLOCK, Move.UNLATCH},
}


@dataclass(frozen=True, slots=True)
class BleSpec:
    """A Bluetooth lock. `open`: what it does when somebody may pass; `locks_again`: who locks after that.

    `keep`: whether its connection may be kept while nothing is to be done, for quickness, at the cost of its battery.
    `low_battery` (percent): at or below it `low_battery` is told. `poll_s`: how old its state may get in the
    background, where its connection is not kept.
    """

    __pydantic_config__ = STRICT

    dialect: Dialect
    open: Opens = "unlock"
    locks_again: LocksAgain = "itself"
    keep: bool = True
    low_battery: Annotated[int, Field(ge=0, le=90)] = 20
    poll_s: Annotated[int, Field(ge=30, le=86400)] = 3600

    def __post_init__(self) -> None:
        if self.opens not in _MOVES[self.dialect]:
            raise ValueError(f"'open' as one of {', '.join(sorted(_MOVES[self.dialect] - {Move.LOCK}))}")

    @property
    def opens(self) -> Move:
        """The move that lets somebody pass."""
        return Move(self.open)

    @property
    def orders(self) -> tuple[str, ...]:
        """What the gateway ever moves, by name: each needs a sample."""
        return tuple(sorted({Move.LOCK, Move.UNLOCK, self.opens}))

    @property
    def channels(self) -> int:
        """How many locks it can open."""
        return 1

    @property
    def contacts(self) -> frozenset[Wiring]:
        """Which contacts it can state."""
        return frozenset()


def understand(spec: BleSpec, topic: str, data: bytes, piece: int) -> list[Meaning]:  # noqa: ARG001  as all kinds
    """What the gateway makes of a message from such a lock, opened and put together."""
    return samples.understand(spec.dialect, data)


def compose(spec: BleSpec, order: Meaning) -> tuple[str, bytes]:
    """The message of an order before it is sealed; ValueError where the lock has no such order."""
    command = order.get("command")
    if command not in spec.orders:
        raise ValueError(f"expected 'command' to be one of {', '.join(spec.orders)}")
    return "", samples.compose(spec.dialect, Move(str(command)), order)
