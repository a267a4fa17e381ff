"""What all Bluetooth locks have in common, whatever they speak: moves, states, and what became of a command."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Literal

from lintel.edge.errors import BadFrame, Refused


class KeyRefused(Refused):
    """Somebody says for the lock that it does not know our key. Some locks shut themselves after a few tries.

    `proven`: it came under a key that only the lock has. What anybody can say who answers in its place is not.
    """

    def __init__(self, why: str, *, proven: bool = False) -> None:
        super().__init__(why)
        self.proven = proven


class NotYet(Refused):
    """The lock does not want to be paired: its button was not pressed, or its window is over."""


class WrongLock(BadFrame):
    """The far end can not prove that it is this lock: another one, a replaced one, or an impostor."""


class Move(StrEnum):
    """What a lock is told to do. Lock'n'go unlocks, and locks again by itself after the lock's own time."""

    LOCK = "lock"
    UNLOCK = "unlock"
    UNLATCH = "unlatch"
    LOCK_N_GO = "lock_n_go"
    LOCK_N_GO_UNLATCH = "lock_n_go_unlatch"


LockWord = Literal["unknown", "locked", "unlocking", "unlocked", "locking", "unlatched", "unlatching", "jammed"]
DoorWord = Literal["none", "unknown", "closed", "open"]


@dataclass(frozen=True, slots=True)
class Seen:
    """How a lock stands. `battery` in percent, None unknown; `low`: the lock itself says so; `fault` "" for none."""

    lock: LockWord
    door: DoorWord = "none"
    battery: int | None = None
    low: bool = False
    fault: str = ""
    supply_mv: int | None = None


class Became(Enum):
    """What became of a command. `NEVER`: it did not happen and will not, the lock itself proves it."""

    DONE = "done"
    REFUSED = "refused"
    NEVER = "never"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Moved:
    """The answer to a command, or to the question after it. `why` is for people."""

    became: Became
    seen: Seen | None = None
    why: str = ""


@dataclass(slots=True)
class Command:
    """One state-changing command. Its bytes leave only while `still()`; `handed` is set just before the last of them.

    `id` is the same for every try of one order, so that a lock that keeps ids moves once. `hold_s`: how long a lock
    that locks again by itself stays open, 0 its own default. `not_after`: Unix seconds after which it is void, 0 none.
    """

    id: bytes
    move: Move
    still: Callable[[], bool]
    hold_s: float = 0.0
    not_after: int = 0
    handed: bool = False
    before: object = None
    """How the lock stood before, in its own protocol's words: what the read-back is compared with."""
