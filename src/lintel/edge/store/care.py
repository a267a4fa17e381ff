"""What the store does for itself beside the decisions: snapshots soon after a change, and the daily whole check."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from lintel.edge.errors import StoreError
from lintel.edge.model import Notice
from lintel.edge.store.connection import sqlite
from lintel.edge.store.database import Database, check_database
from lintel.edge.store.recovery import newest_snapshot, snapshot
from lintel.edge.store.writer import Writer

log = logging.getLogger(__name__)

DAY = 86400.0
SOON = 10.0
"""A change of the list or of the lockdown is in a snapshot so many seconds later: what a recovery can lose of them."""
WEAR = 50_000.0
"""... unless the last snapshot is younger than its size divided by these bytes a second (14 MB, so 5 minutes, for
250,000 credentials): a list that never rests wears the flash by 4 GB a day at most."""


class Care:
    """For the event loop. `on_notice(DB_DAMAGED, detail)` when the daily check finds damage, else `on_whole()`."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        loop: asyncio.AbstractEventLoop,
        on_notice: Callable[[Notice, str], None],
        on_whole: Callable[[], None],
    ) -> None:
        self._database = database
        self._writer = writer
        self._loop = loop
        self._on_notice = on_notice
        self._on_whole = on_whole
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._dirty = False  # something changed that no snapshot has
        self._wait = SOON
        self._checked = time.monotonic()
        age = time.time() - newest_snapshot(database.directory)
        # a time that is still to come, or none, is a clock's mistake: the next turn makes a snapshot
        self._made = time.monotonic() - (age if 0 <= age < DAY else DAY)

    def changed(self) -> None:
        """The list or the lockdown changed: a snapshot soon."""
        self._dirty = True
        if self._timer is None:
            self._timer = self._loop.call_later(max(SOON, self._made + self._wait - time.monotonic()), self._due)

    def later(self) -> None:
        """Something changed that the next turn is soon enough for: persons went to a terminal."""
        self._dirty = True

    async def tend(self) -> None:
        """Now and then: the snapshot that is due, the whole check once a day. Raises StoreError."""
        if not self._writer.fault and (self._dirty or time.monotonic() - self._made >= DAY):
            await self._snapshot()
        if self._database.writable and time.monotonic() - self._checked >= DAY:
            self._checked = time.monotonic()
            try:
                await asyncio.to_thread(self._check)
            except StoreError as error:
                self._on_notice(Notice.DB_DAMAGED, str(error))
            else:
                self._on_whole()

    async def close(self) -> None:
        """After the writer's last commit: the changes of the last seconds are in a snapshot too."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            await self._task
        if self._dirty and not self._writer.fault:
            await self._quietly()

    def _due(self) -> None:
        self._timer = None
        if self._writer.fault:
            self.changed()
        else:
            self._task = self._loop.create_task(self._quietly())

    async def _quietly(self) -> None:
        with contextlib.suppress(StoreError):
            await self._snapshot()

    async def _snapshot(self) -> None:
        async with self._lock:
            self._dirty = False
            self._made = time.monotonic()  # also of one that fails: the next try is not at once
            try:
                done = await asyncio.to_thread(snapshot, self._database)
            except StoreError as error:
                self._dirty = True
                log.warning("%s", error)
                if error.word == "disk_full":
                    return  # later: the daily check need not wait for room
                raise
            self._wait = max(SOON, done.stat().st_size / WEAR)

    def _check(self) -> None:
        try:
            conn = self._database.connect_reader()
        except sqlite.Error as error:
            raise StoreError("db_damaged", f"{self._database.path}: {error}") from None
        try:
            check_database(self._database, conn, whole=True)
        finally:
            conn.close()
