"""The words of person lists on terminals: who is to be there, and what a terminal says of it. And a contract."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Protocol, runtime_checkable

from lintel.edge.errors import LintelError


class Consent(StrEnum):
    """What a person said to the use of their face. Without `GRANTED` it goes to no terminal, and no photo is kept."""

    NONE = "none"
    GRANTED = "granted"
    WITHDRAWN = "withdrawn"


class State(IntEnum):
    """Where one person stands at one terminal. The numbers stand in the database: only ever append."""

    PENDING = 0
    """To be sent: not there yet, or there with what does not hold any more."""
    SENT = 1
    """Sent, and not answered yet. After a cut: to be read back."""
    STORED = 2
    """The terminal confirmed it, or a read-back showed it."""
    FAILED = 3
    """Not stored, with the terminal's own reason."""
    DELETING = 4
    """To be deleted there: gone when the terminal, or a read-back, says so."""


class Verdict(StrEnum):
    """What became of one person at a terminal, by what is to be done about it."""

    DONE = "done"
    RETRY_LATER = "retry_later"
    PHOTO_BAD = "photo_bad"
    """Not before the photo changes."""
    STORE_FULL = "store_full"
    BUG = "bug"
    """The terminal takes the command for a mistake of ours."""
    UNKNOWN = "unknown"
    """It was sent, and no answer came: to be read back, never sent again blindly."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody as a terminal is to know them. `id`: the face's value on the allowlist; `shown`: the name on its screen.

    Validity is [valid_from, valid_to) in Unix seconds, None open-ended. `photo`: a JPEG; b"" where the terminal fetches
    it. `known`: the terminal may hold this person already.
    """

    id: str
    shown: str = field(default="", repr=False)
    valid_from: float | None = None
    valid_to: float | None = None
    photo: bytes = field(default=b"", repr=False)
    known: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """What a terminal said of one person: its own error code and text, both "" where it gave none.

    `left`: whether a command about the person left for the terminal. One that refuses may have stored it nevertheless.
    """

    id: str
    verdict: Verdict
    code: str = ""
    text: str = ""
    left: bool = True


@dataclass(frozen=True, slots=True)
class Listed:
    """What a terminal holds by its own word. `nameless`: how many more, enrolled there, have no id of ours."""

    ids: frozenset[str]
    nameless: int = 0


@dataclass(frozen=True, slots=True)
class Keeping:
    """What a terminal's person list can do. `batch` and `drop_batch`: persons in one command.

    `photos`: whether it is sent photos (else it fetches them, and needs none from us). `lists`: whether it says who is
    on it. `enforces_validity`: whether it keeps the validity itself.
    """

    batch: int
    drop_batch: int
    photos: bool
    lists: bool
    enforces_validity: bool


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether a terminal can be reached, and since when it may be another one.

    `turn` rises when it came on line or began its records anew: what it holds is to be read again. `wiped`: how often
    of these its records began anew. `seen`: when it last spoke (monotonic s; None: never in this run).
    """

    there: bool
    turn: int = 0
    wiped: int = 0
    seen: float | None = None


class NotNow(LintelError):
    """The terminal can not be reached or is busy. Nothing was changed: ask again a little later."""


class Busy(NotNow):
    """It said so itself: a command has left, and that nothing was changed is the terminal's word."""


@runtime_checkable
class KeepsPersons(Protocol):
    """A driver whose devices keep person lists. One call at a time for each device; it never retries by itself."""

    def keeping(self, device: str) -> Keeping | None:
        """What the list of this device can do; None: it keeps none."""
        ...

    def presence(self, device: str) -> Presence:
        """Whether the device is there."""
        ...

    async def put(self, device: str, persons: Sequence[Person]) -> list[Told]:
        """Store or replace up to `Keeping.batch` persons. Raises NotNow."""
        ...

    async def drop(self, device: str, ids: Sequence[str]) -> list[Told]:
        """Delete up to `Keeping.drop_batch` persons. Raises NotNow."""
        ...

    async def listed(self, device: str) -> Listed:
        """Who is on it, whole. Raises NotNow, also for a list that can not be read or is cut off."""
        ...
