"""The one thread that writes. Work is grouped into commits, and a future is resolved only after its commit.

A failed commit is a failed commit: roll back, open again, look at the tail, and tell everybody (never "retry and
pretend": after a failed sync the kernel may have dropped the pages). Events then go to the spare, the emergency ring.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from lintel.edge.errors import StoreError
from lintel.edge.store.connection import Connection, fault_word, log_is_long, sqlite
from lintel.edge.store.database import Database
from lintel.edge.store.group import Item, Member, Spare, Work

log = logging.getLogger(__name__)
T = TypeVar("T")

GROUP = 32
"""Items of one commit. 1,024 B are written per event of 32, 8 kB per event that is committed alone."""
FLIGHT = 20
"""Messages that a broker keeps in flight when nobody told it otherwise: after so many perhaps nothing more comes."""
PAUSE = 0.015
"""... and when nothing has come for so long (s), it does not."""
SHORTEST, LONGEST = 0.05, 0.5
"""Bounds of the window in seconds: at least 50 ms, and at most half a second for a reader's acknowledgement."""
RETRY = 1.0
"""Seconds between attempts to write again after a failed commit."""
STUCK = 30.0
"""Seconds that nothing may have to wait for its commit: a disk that answers no more, or a thread that is gone."""

_TOUCH = "INSERT INTO state VALUES ('tried_at', ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value"
"""A write that proves the disk takes writes again, also when nothing else waits."""


class Writer:
    """Owns the only writing connection. Create it on the event loop; `submit` from the loop's thread only.

    `on_fault(word, detail)` runs on the loop when writing begins to fail; with the word "" when it works again.
    """

    def __init__(
        self, database: Database, loop: asyncio.AbstractEventLoop, on_fault: Callable[[str, str], None]
    ) -> None:
        self._database = database
        self._loop = loop
        self._on_fault = on_fault
        self._members: list[Member] = []
        self._spare: Spare | None = None
        self._wake = threading.Condition()
        self._queue: deque[Item] = deque()
        self._arrivals: deque[float] = deque([-3600.0] * GROUP, GROUP)
        self._urgent = False
        self._closing = False
        self._sleeping = False
        self._fault: StoreError | None = None
        self._attempt = 0.0
        self._conn: Connection | None = None
        self._thread = threading.Thread(target=self._run, name="lintel-writer", daemon=True)

    def start(self, members: Sequence[Member], spare: Spare | None) -> None:
        """Begin to write. Members read what is stored first; what the spare holds is drained at once.

        A disk that can not be written now is no reason not to start: who may pass is read, and writing is tried again.
        """
        self._members, self._spare = list(members), spare
        if not self._database.writable:
            self._fault = StoreError(self._database.obstacle, "the state directory could not be written at the start")
            self._loop.call_soon(self._on_fault, self._fault.word, str(self._fault))
        elif (error := self._reopen()) is not None:
            self._fault = StoreError(fault_word(error, self._database.directory), f"nothing can be stored: {error}")
            self._loop.call_soon(self._on_fault, self._fault.word, str(error))
        if spare is not None and spare.waiting() and self._fault is None:
            self._fault = StoreError("commit_failed", "events of an earlier fault wait in the ring")
        self._thread.start()

    @property
    def fault(self) -> str:
        """The word of the present fault, or "" while commits succeed."""
        return self._fault.word if self._fault is not None else ""

    @property
    def alive(self) -> bool:
        """Whether the thread runs and nothing waits longer than 30 s; a watchdog asks. For the event loop."""
        with self._wake:
            waits = time.monotonic() - self._queue[0].at if self._queue else 0.0
        return self._thread.is_alive() and waits < STUCK

    def submit(
        self, work: Work[T], *, now: bool = False, spare: bytes | None = None, lone: bool = False
    ) -> "asyncio.Future[T]":
        """Run `work(connection)` on the writer thread; the future resolves after the commit that holds it.

        `now` commits at once, with what is pending before it. `spare` is kept in the ring if the commit fails; the
        future then succeeds with 0. `lone` runs in a commit of its own. Fails with StoreError, or with what
        `work` raised (which undoes that work alone).
        """
        future: asyncio.Future[T] = self._loop.create_future()
        item = Item(work, future, spare, lone=lone)
        with self._wake:
            if self._closing:
                future.set_exception(StoreError("commit_failed", "the store is closed"))
                return future
            self._arrivals.append(time.monotonic())
            self._queue.append(item)
            self._urgent = self._urgent or now
            pending = len(self._queue)
            if self._urgent or self._sleeping or pending in (FLIGHT, GROUP):
                self._wake.notify()
        return future

    async def close(self) -> None:
        """Commit what is pending, check-point the log into the file, stop the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)
            await asyncio.sleep(0)  # futures resolved by the last group

    def _run(self) -> None:
        while (group := self._next()) is not None:
            try:
                if self._fault is None:
                    self._commit(group)
                else:
                    self._degraded(group)
            except Exception as error:  # noqa: BLE001  whatever it is, this thread goes on and nobody waits for ever
                self._unexpected(group, error)
        if self._conn is not None:
            try:
                self._conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite.Error as error:
                log.warning("the last check-point failed, the log stays for the next start: %s", error)
            self._conn.close()

    def _next(self) -> list[Item] | None:
        """Wait for work until its window ends. [] is a wish to try again after a fault, None the end."""
        with self._wake:
            while not self._queue and not self._closing:
                self._sleeping = True
                woken = self._wake.wait(RETRY if self._fault is not None else None)
                self._sleeping = False
                if not woken and not self._queue:
                    return []
            if not self._queue:
                return None
            begun = time.monotonic()
            # the last arrivals tell how long as many more will take; a little longer, so that a steady stream fills it
            window = min(LONGEST, max(SHORTEST, 1.2 * (begun - self._arrivals[0])))
            while not (self._urgent or self._closing or len(self._queue) >= GROUP):
                pause = PAUSE if len(self._queue) >= FLIGHT else window
                left = min(begun + window, self._arrivals[-1] + pause) - time.monotonic()
                if left <= 0:
                    break
                self._wake.wait(left)
            group = self._take()
            self._urgent = self._urgent and bool(self._queue)
            return group

    def _take(self) -> list[Item]:
        group = [self._queue.popleft()]
        while not group[0].lone and self._queue and len(group) < GROUP and not self._queue[0].lone:
            group.append(self._queue.popleft())
        if self._queue and self._queue[0].lone:
            self._urgent = True
        return group

    def _commit(self, group: list[Item]) -> None:
        assert self._conn is not None  # noqa: S101  there is no fault
        conn = self._conn
        try:
            conn.execute("BEGIN IMMEDIATE")
            for item in group:
                self._apply(conn, item)
            conn.execute("COMMIT")
        except (sqlite.Error, OSError, StoreError) as error:
            self._failed(group, error)
            return
        for member in self._members:
            member.committed()
        self._resolve(group)
        self._check_point(conn)

    def _check_point(self, conn: Connection) -> None:
        """Shorten a long log. A failure is the next commit's: nothing is lost by it."""
        try:
            if log_is_long(conn):
                with self._database.still.paused(self._loop):
                    conn.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite.Error as error:
            log.warning("the log could not be check-pointed: %s", error)

    @staticmethod
    def _apply(conn: Connection, item: Item) -> None:
        """One item inside its own savepoint: if it fails, the others of the group do not.

        A lone item needs none, and a savepoint would keep the old content of every page it changes.
        """
        conn.execute("SAVEPOINT item" if not item.lone else "SELECT 1")
        try:
            item.result = item.work(conn)
        except Exception as error:
            if not conn.in_transaction:  # SQLite undid the whole transaction: disk full, I/O error
                raise
            name = str(getattr(error, "sqlite_errorname", ""))
            if name.startswith(("SQLITE_IOERR", "SQLITE_FULL", "SQLITE_CORRUPT", "SQLITE_READONLY", "SQLITE_NOTADB")):
                raise
            item.error = error
            conn.execute("ROLLBACK TO item" if not item.lone else "ROLLBACK")
            if item.lone:
                conn.execute("BEGIN")
        if not item.lone:
            conn.execute("RELEASE item")

    def _failed(self, group: list[Item], error: BaseException) -> None:
        """The commit of a group failed: open again, keep the events in the spare, fail everything else."""
        word = fault_word(error, self._database.directory)
        fault = StoreError(word, f"a commit failed: {error}")
        log.error("commit failed (%s): %s", word, error)
        began = self.fault != word  # also when another fault was there before: a ring that waited at the start
        self._fault, self._attempt = fault, time.monotonic()
        self._reopen()
        self._set_aside(group, fault)
        if began:
            self._loop.call_soon_threadsafe(self._on_fault, word, str(error))

    def _unexpected(self, group: list[Item], error: Exception) -> None:
        """What nobody foresaw, such as a stored event that can not be read: a fault as any other, tried again later."""
        log.error("the writer failed unexpectedly", exc_info=error)
        began, self._attempt = self.fault != "commit_failed", time.monotonic()
        self._fault = StoreError("commit_failed", f"the writer failed: {type(error).__name__}")
        if self._conn is not None:
            with contextlib.suppress(sqlite.Error):
                self._conn.close()
        self._conn = None
        try:
            self._set_aside(group, self._fault)
        except Exception:
            log.exception("the ring failed unexpectedly too")
            for item in group:
                item.error = self._fault
            self._resolve(group)
        if began:
            self._loop.call_soon_threadsafe(self._on_fault, self._fault.word, str(self._fault))

    def _reopen(self) -> Exception | None:
        """A new connection and the members' view of the stored tail. Leaves no connection when even that fails."""
        if self._conn is not None:
            try:
                self._conn.close()
            except sqlite.Error as error:
                log.warning("closing the failed connection: %s", error)
        self._conn = None
        try:
            conn = self._database.connect()
        except (sqlite.Error, StoreError) as error:
            log.warning("the database can not be opened for writing yet: %s", error)
            return error
        try:
            for member in self._members:
                member.reset(conn)
        except (sqlite.Error, StoreError, ValueError) as error:
            log.warning("the tail can not be read yet: %s", error)
            conn.close()
            return error
        self._conn = conn
        return None

    def _degraded(self, group: list[Item]) -> None:
        """Writing is known to fail: try at most once a second, else straight to the spare."""
        assert self._fault is not None  # noqa: S101  the caller asked
        if time.monotonic() - self._attempt < RETRY and not self._closing:
            self._set_aside(group, self._fault)
            return
        self._attempt = time.monotonic()
        if self._conn is None:
            if not self._database.writable and not self._database.try_writable():
                self._set_aside(group, self._fault)
                return
            self._reopen()
        if self._conn is None:
            self._set_aside(group, self._fault)
            return
        conn = self._conn
        draining = self._spare is not None and self._spare.waiting()
        try:
            conn.execute("BEGIN IMMEDIATE")
            conn.execute(_TOUCH, (str(time.time_ns()),))
            if self._spare is not None and draining:
                self._spare.drain(conn)
            conn.execute("COMMIT")
        except (sqlite.Error, OSError, StoreError) as error:
            self._failed(group, error)
            return
        self._fault = None
        for member in self._members:
            member.committed()
        if self._spare is not None and draining:
            self._spare.drained()
        self._loop.call_soon_threadsafe(self._on_fault, "", "")
        if group:
            self._commit(group)  # a transaction of its own: whatever fails in it does not undo the drain

    def _set_aside(self, group: list[Item], fault: StoreError) -> None:
        bodies: list[bytes] = []
        kept: list[Item] = []
        for item in group:
            item.result, item.error = 0, fault
            if self._spare is not None and item.spare is not None:
                body = self._spare.fit(item.spare)
                if body is None:  # it alone: the others of its group are no larger for it
                    item.error = StoreError("too_large", f"an event of {len(item.spare)} bytes fits in no ring")
                else:
                    kept.append(item)
                    bodies.append(body)
        if self._spare is not None and kept:
            error = self._spare.keep(bodies, fault)
            for item in kept:
                item.error = error
        self._resolve(group)

    def _resolve(self, group: list[Item]) -> None:
        if not group:
            return
        try:
            self._loop.call_soon_threadsafe(_settle, group)
        except RuntimeError:
            log.info("%d results had nobody left to hear them", len(group))  # the loop is closed


def _settle(group: list[Item]) -> None:
    for item in group:
        if item.future.done():
            continue
        if item.error is not None:
            item.future.set_exception(item.error)
        else:
            item.future.set_result(item.result)
