"""Look-ups keep their pages while the journal commits.

Each commit empties the page cache of every other connection: the next look-up reads and decrypts its pages anew, ten
times its time, while somebody stands at the door. A read transaction that stays open is spared that. But a reader that
stands in the write-ahead log keeps it from beginning anew, so the writer asks for a pause before it check-points.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

from lintel.edge.store.connection import Connection, sqlite

log = logging.getLogger(__name__)

PATIENCE_S = 0.1
"""How long a check-point waits for the event loop to let go; a later one does what this could not."""


class Still:
    """A connection of its own whose read transaction stands still. For the event loop, but for `paused`."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._conn: Connection | None = None
        self._stamp: object = None  # of the transaction that is open, None without one
        self._paused = 0

    def at(self, stamp: object) -> Connection:
        """A connection that reads what was committed when `stamp` changed last, or later. Raises sqlite errors."""
        if self._conn is None:
            self._conn = self._connect()
        if self._stamp is not None and self._stamp != stamp:
            self.rest()
        if self._stamp is None and not self._paused:
            self._conn.execute("BEGIN")
            self._stamp = stamp
        return self._conn

    def rest(self) -> None:
        """End the transaction."""
        if self._conn is not None and self._stamp is not None:
            self._stamp = None
            self._conn.execute("COMMIT")

    def close(self) -> None:
        """End the transaction and the connection; the next look-up opens another."""
        conn, self._conn, self._stamp = self._conn, None, None
        if conn is not None:
            conn.close()

    @contextlib.contextmanager
    def paused(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """For another thread: no transaction is open inside this block, unless the loop is too busy to hear of it."""
        resting = threading.Event()
        try:
            loop.call_soon_threadsafe(self._pause, resting)
        except RuntimeError:  # the loop is closed: nobody looks up
            yield
            return
        try:
            resting.wait(PATIENCE_S)
            yield
        finally:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._resume)

    def _pause(self, resting: threading.Event) -> None:
        self._paused += 1
        try:
            self.rest()
        except sqlite.Error as error:
            log.warning("the look-ups' connection is opened anew: %s", error)
            self.close()
        resting.set()

    def _resume(self) -> None:
        self._paused -= 1
