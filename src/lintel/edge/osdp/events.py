"""What a panel tells its owner, and what it is asked to do. Values; no key and no credential stands in a `repr`."""

from collections.abc import Callable
from dataclasses import dataclass, field

from lintel.edge.model import Notice, Outcome
from lintel.edge.osdp.messages import Reply


@dataclass(frozen=True, slots=True)
class Up:
    """The reader can be used: what it says is trusted, what it is told is protected where that is required."""

    secure: bool


@dataclass(frozen=True, slots=True)
class Down:
    """The reader can not be used any more."""

    why: str


@dataclass(frozen=True, slots=True)
class Told:
    """Something to alarm or write down."""

    notice: Notice
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    """The reader said something. `trusted`: over a channel that may be believed.

    `age`: it may have been kept in the reader for so long (s); infinite before its first poll. Readers keep what nobody
    fetches, so what comes after a gap is from before it until a poll finds nothing.
    """

    reply: Reply
    trusted: bool
    age: float = 0.0


@dataclass(frozen=True, slots=True)
class Distrusted:
    """Somebody presented something on a channel that must be secure and is not. Its content was not looked at."""


@dataclass(frozen=True, slots=True)
class KeyWanted:
    """The install window is open and the reader is ready: make a key, store it, then `install` it."""


@dataclass(frozen=True, slots=True)
class KeyUnused:
    """The reader did not take the new key: it can be forgotten."""


@dataclass(frozen=True, slots=True)
class KeyProven:
    """The first handshake with the new key succeeded: it is the key from now on, the old one can go."""


Event = Up | Down | Told | Heard | Distrusted | KeyWanted | KeyUnused | KeyProven


@dataclass(slots=True, eq=False)
class Job:
    """A command for a reader. `finished` is called exactly once, and never with EXECUTED before the reader said so.

    It leaves before `deadline` (monotonic seconds) or not at all; repeats are byte-identical, which the protocol
    answers from memory. Without `finished` it is a question of our own.
    """

    code: int
    data: bytes = field(repr=False)
    deadline: float
    finished: Callable[[Outcome], None] | None = None

    def finish(self, outcome: Outcome) -> None:
        """Say what became of it, once."""
        finished, self.finished = self.finished, None
        if finished is not None:
            finished(outcome)
