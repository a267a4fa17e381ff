"""What the driver needs of a lock's protocol: an opening that ends in a talk, and a pairing. One module for each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from lintel.edge.ble.words import Command, Moved, Seen
from lintel.edge.drivers.ble_link import Link
from lintel.edge.model import Instant

Secrets = Mapping[str, bytes | None]
"""Names and values for `Keys.put`; they stand in no log."""


@dataclass(frozen=True, slots=True)
class Own:
    """What a lock's protocol knows of its own side. `get`: the keys that are kept for this lock. Never in `repr`."""

    name: str
    get: Callable[[str], bytes | None] = field(repr=False)
    now: Callable[[], Instant]
    heard: Callable[[Seen], None] = field(repr=False)
    """Takes what the lock says unasked."""


class Talk(Protocol):
    """An open session: both ends have shown who they are. Calls come one at a time.

    Each may raise Gone, BadFrame or Refused; the session is over then.
    """

    idle_s: float | None
    """The lock hangs up after so many seconds of silence; None: it does not say."""

    async def look(self) -> Seen:
        """How the lock stands."""
        ...

    async def prepare(self) -> float:
        """Fetch what makes the next command one round trip; for how many seconds it will do (inf: nothing needed)."""
        ...

    async def move(self, command: Command) -> Moved:
        """Send one command and wait for what became of it. Sets `command.handed` just before the last bytes leave.

        Raised before that: nothing was sent that the lock can act on. Raised after it: nothing is known, `became` of a
        new session may tell.
        """
        ...

    async def became(self, command: Command) -> Moved:
        """What became of a command of an earlier session. Moves nothing."""
        ...


class Dialect(Protocol):
    """How locks of one kind are spoken to."""

    def paired(self, own: Own) -> bool:
        """Whether the keys of this lock are there."""
        ...

    def changed(self, makers: Mapping[int, bytes]) -> bool:
        """Whether an advertisement, by its maker's data, says that the lock has news."""
        ...

    async def open(self, link: Link, own: Own) -> Talk:
        """Begin a session. Raises Gone or BadFrame; KeyRefused and WrongLock among them; Refused."""
        ...

    def secret(self, text: str) -> bytes | None:
        """What an operator typed for pairing, or None where that is not what such a lock needs."""
        ...

    def first_keys(self, own: Own) -> Secrets:
        """What is to be kept before pairing may begin: our own key."""
        ...

    async def pair(self, link: Link, own: Own, secret: bytes) -> Secrets:
        """Pair; what is to be kept of it, before it is used. Raises as `open`."""
        ...
