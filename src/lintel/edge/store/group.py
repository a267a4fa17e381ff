"""What the writer works with: the pieces of a group, who is told of its end, and where events go when it fails."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from lintel.edge.errors import StoreError
from lintel.edge.store.connection import Connection

T = TypeVar("T")
Work = Callable[[Connection], T]


class Member(Protocol):
    """Keeps a copy in memory of what it writes: told, on the writer thread, how each commit ended."""

    def committed(self) -> None:
        """What the last group wrote is durable."""

    def reset(self, conn: Connection) -> None:
        """Nothing of the last group was stored: forget it, read the tail again."""


class Spare(Protocol):
    """Where events go when the database can not take them (see `ring.Ring`). Called on the writer thread."""

    def keep(self, bodies: Sequence[bytes], error: StoreError) -> StoreError | None:
        """Store the bodies durably; an error says that they were not."""

    def fit(self, body: bytes) -> bytes | None:
        """The body as it can be kept, perhaps shortened; None when it is too large for that."""

    def waiting(self) -> bool:
        """Whether something is kept that is not in the database."""

    def drain(self, conn: Connection) -> None:
        """Put everything that is kept into the database, inside the current transaction."""

    def drained(self) -> None:
        """That transaction is durable."""


@dataclass(slots=True)
class Item:
    """One piece of work that waits for its commit. `spare`: the event to keep elsewhere when the commit fails."""

    work: Work[Any]
    future: "asyncio.Future[Any]"
    spare: bytes | None
    result: Any = None
    error: Exception | None = None
    lone: bool = field(default=False)
    at: float = field(default_factory=time.monotonic)
