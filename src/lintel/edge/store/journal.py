"""The append-only journal: streams without gaps, a hash chain, redelivered device records stored once.

State that the writer thread owns is marked so; what the event loop reads is replaced as a whole after each commit.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator

from lintel.edge.errors import StoreError
from lintel.edge.model import ClockState, Event, Notice, Stream
from lintel.edge.store.chain import (
    NUMBERS,
    ZERO,
    Anchors,
    Head,
    decode,
    encode,
    link,
    pack,
    place_of,
    read_anchors,
    readable,
    seal,
    span,
    split,
    write_anchors,
)
from lintel.edge.store.connection import Connection
from lintel.edge.store.database import Database
from lintel.edge.store.files import derive
from lintel.edge.store.records import Records, mark_of
from lintel.edge.store.rows import Row, read_rows
from lintel.edge.store.writer import Writer

log = logging.getLogger(__name__)

ANCHOR_EVENTS = 1024
ANCHOR_SECONDS = 60.0
RECENT = 256
"""Events per stream whose ids are compared when the ring is drained."""
TAIL = 16
"""Newest rows of a stream among which one that can be read tells the time."""


class Journal:
    """Appends on the writer thread, answers on the event loop. `heads()` is what the cloud will be told.

    `on_notice(notice, detail)` runs on the thread that compares the journal with its anchors: the opening one, or the
    writer's after a start without a disk.
    """

    def __init__(
        self,
        database: Database,
        writer: Writer,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        on_notice: Callable[[Notice, str], None] = lambda _notice, _detail: None,
    ) -> None:
        self._database = database
        self._writer = writer
        self._loop = loop
        self.key = derive(database.key, "anchor")
        self._heads: dict[Stream, Head] = {s: Head(1, 0, ZERO) for s in Stream}  # writer thread
        self._durable = dict(self._heads)
        self._newest = 0  # writer thread: largest ts, Unix milliseconds
        self._durable_newest = 0
        self._records = Records()
        self._unreadable: set[Stream] = set()  # streams whose newest row is no event
        self._closed: Anchors = {}
        self._anchored = 0.0
        self._unanchored = 0
        self._armed = False
        self._begun = False
        self.submit = writer.submit
        self._on_notice = on_notice
        self._read(database.reader)

    # on the event loop

    def append(self, event: Event, *, now: bool = False) -> "asyncio.Future[int]":
        """Store an event; the future resolves with its sequence number after the commit (0: kept in the ring).

        An event with a `record` that the journal already has from this device is not stored again: the future
        resolves with the number it has. Fails with StoreError when the event is neither in the database nor the ring.
        """
        body = encode(event)
        return self._writer.submit(lambda conn: self.write(conn, body, event), now=now, spare=body)

    def seen(self, device: str, record: str) -> bool:
        """Whether this record of this device is durably stored."""
        return self._records.seen(mark_of(device, record))

    def heads(self) -> dict[str, dict[str, object]]:
        """Epoch, last sequence number and hash of each stream."""
        return {
            str(s): {"epoch": h.epoch, "seq": h.seq, "hash": h.hash.hex()} for s, h in sorted(self._durable.items())
        }

    def newest_ts(self) -> int:
        """Time of the newest event of a trusted clock, Unix milliseconds; 0 without one. A floor for the clock.

        An unknown clock's time does not count: a chip that woke up in 2099 would lock every timed pass out.
        """
        return self._durable_newest

    def acknowledged(self, stream: Stream, epoch: int, seq: int) -> "asyncio.Future[None]":
        """The cloud has everything up to here."""
        place = place_of(stream, epoch, seq)

        def work(conn: Connection) -> None:
            conn.execute("UPDATE stream SET acked = max(acked, ?) WHERE stream = ?", (place, NUMBERS[stream]))

        return self._writer.submit(work)

    def export(self, stream: Stream, since: tuple[int, int] = (0, 0)) -> Iterator[Row]:
        """Stored rows after (epoch, seq), oldest first."""
        yield from read_rows(self._database.reader, stream, since)

    def anchor_soon(self) -> None:
        """Anchor with the next commit: where a stream begins has moved."""
        self._anchored, self._unanchored = 0.0, max(1, self._unanchored)

    # on the writer thread, inside a transaction

    def write(self, conn: Connection, body: bytes, event: Event) -> int:
        """Put one event at the end of its stream. The memory changes last: a failing statement leaves it as it was."""
        mark = mark_of(event.device, event.record) if event.record else None
        if mark is not None and (known := self._records.place(mark)) is not None:
            return split(known)[2]
        head = self._heads[event.stream]
        place = place_of(event.stream, head.epoch, head.seq + 1)
        new = Head(head.epoch, head.seq + 1, link(head.hash, place, body))
        conn.execute("INSERT INTO journal VALUES (?, ?, ?)", (place, pack(body), new.hash))
        if mark is not None:
            self._records.stage(mark, place)
        self._heads[event.stream] = new
        if event.clock is not ClockState.UNKNOWN:
            self._newest = max(self._newest, event.ts)
        return new.seq

    def replay(self, conn: Connection, bodies: list[bytes]) -> int:
        """Put events from the ring behind what is stored, each once. Answers how many bodies were no events."""
        known = self._recent_ids(conn)
        unreadable = 0
        for body in bodies:
            try:
                event = decode(body)
            except ValueError:
                unreadable += 1
                continue
            if event.id not in known:
                self.write(conn, body, event)
        return unreadable

    def _recent_ids(self, conn: Connection) -> set[str]:
        ids: set[str] = set()
        for stream in Stream:
            rows = conn.execute(
                "SELECT body FROM journal WHERE place BETWEEN ? AND ? ORDER BY place DESC LIMIT ?",
                (*span(stream), RECENT),
            )
            ids.update(event.id for (body,) in rows if (event := readable(body)) is not None)
        return ids

    # told by the writer

    def committed(self) -> None:
        """Publish what the last commit made durable; anchor it when it is time."""
        before = sum(h.seq for h in self._durable.values())
        self._durable = dict(self._heads)
        self._durable_newest = self._newest
        if self._records.committed() and self._loop is not None:
            self._loop.call_soon_threadsafe(self._tick)
        self._unanchored += sum(h.seq for h in self._durable.values()) - before
        age = time.monotonic() - self._anchored
        if self._unanchored >= ANCHOR_EVENTS or (self._unanchored and age >= ANCHOR_SECONDS):
            self.anchor()
        elif self._unanchored and not self._armed and self._loop is not None:
            self._armed = True
            self._loop.call_soon_threadsafe(self._arm, ANCHOR_SECONDS - age)

    def reset(self, conn: Connection) -> None:
        """Forget what was not committed. A tail shorter than what was acknowledged is damage."""
        acknowledged = self._durable
        if not self._begun:
            self._begin(conn)
        self._read(conn)
        for stream, head in acknowledged.items():
            now = self._durable[stream]
            if (now.epoch, now.seq) < (head.epoch, head.seq):
                self._durable = acknowledged
                raise StoreError(
                    "db_damaged", f"{stream}: the stored tail ends at {now.seq}, {head.seq} was acknowledged"
                )

    def _arm(self, after: float) -> None:
        if self._loop is not None:
            self._loop.call_later(max(1.0, after), self._tick)

    def _tick(self) -> None:
        self._armed = False
        if self._writer.alive and not self._writer.fault:  # the timer may be due after the end
            self._writer.submit(self._flush_records)

    def _flush_records(self, conn: Connection) -> None:
        """Write the marks of device records down, many at a time. `committed` then also looks at the anchors."""
        places = {stream: place_of(stream, head.epoch, head.seq) for stream, head in self._durable.items()}
        conn.executemany(
            "UPDATE stream SET recorded = ? WHERE stream = ?", [(place, NUMBERS[s]) for s, place in places.items()]
        )
        self._records.flush(conn)

    def _read(self, conn: Connection) -> None:
        """Load heads and device records from the stored tail. A row that is no event still has place and hash."""
        self._unreadable.clear()
        epochs = dict(conn.execute("SELECT stream, epoch FROM stream").fetchall())
        for stream in Stream:
            rows = conn.execute(
                "SELECT place, hash, body FROM journal WHERE place BETWEEN ? AND ? ORDER BY place DESC LIMIT ?",
                (*span(stream), TAIL),
            ).fetchall()
            floor = conn.execute("SELECT floor, floor_hash FROM stream WHERE stream = ?", (NUMBERS[stream],)).fetchone()
            epoch = epochs.get(NUMBERS[stream], 1)
            head = Head(epoch, 0, ZERO)
            last = rows[0] if rows else floor
            if last is not None and split(last[0])[1] == epoch:
                head = Head(epoch, split(last[0])[2], last[1])
                if rows and readable(rows[0][2]) is None:
                    self._unreadable.add(stream)
            self._heads[stream] = head
            events = (readable(body) for _, _, body in rows)
            trusted = (event.ts for event in events if event is not None and event.clock is not ClockState.UNKNOWN)
            self._newest = max(self._newest, next(trusted, 0))
        self._durable, self._durable_newest = dict(self._heads), self._newest
        self._records.load(conn)

    # anchors

    def _begin(self, conn: Connection) -> None:
        """Before the first write of this process: compare with the anchors, open a new epoch where rows are missing.

        Sequence numbers are never used twice: a stream whose tail is gone, or is no event, goes on in the next epoch.
        A database that is older than its anchors, or lost them, does not know which uses were taken: see
        `SiteData.restored`.
        """
        fresh = not conn.execute("SELECT count(*) FROM stream").fetchone()[0]
        anchors: Anchors = {}
        found: list[str] = []
        older = False
        try:
            anchors = read_anchors(self._database.directory, self.key)
        except StoreError as error:
            if not fresh or not str(error).endswith("missing"):
                found.append(str(error))
                older = True
        if fresh and not anchors:
            self.anchor()  # nothing is stored yet: from now on, missing anchors mean that somebody took them
        conn.execute("BEGIN IMMEDIATE")
        for stream in Stream:
            head, known = self._heads[stream], anchors.get(stream, ())
            epoch, first = head.epoch, place_of(stream, head.epoch, 0)
            if stream in self._unreadable:
                epoch += 1
                found.append(f"{stream}: event {head.seq} can not be read")
            if known and (known[-1].epoch, known[-1].seq) > (head.epoch, head.seq):
                epoch = known[-1].epoch + 1
                older = True
                found.append(f"{stream}: {known[-1].seq} events were anchored, {head.seq} are stored")
            conn.execute(
                "INSERT INTO stream VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT(stream) DO UPDATE SET epoch = excluded.epoch",
                (NUMBERS[stream], epoch, first, ZERO, first, first, seal(self.key, first, ZERO)),
            )
            self._closed[stream] = tuple(h for h in known if h.epoch < epoch)
        if older:
            conn.execute("INSERT OR IGNORE INTO state VALUES ('restored', '1')")
        conn.execute("COMMIT")
        self._read(conn)
        self._begun = True
        self.anchor()
        for detail in found:
            self._on_notice(Notice.AUDIT_BROKEN, detail)

    def close(self) -> None:
        """After the last commit: anchor what it stored."""
        if self._begun and self._unanchored:
            self.anchor()

    def anchor(self) -> None:
        """Write the durable heads beside the database. A failure is logged and tried again with the next commit."""
        anchors = {s: (*self._closed.get(s, ()), h) for s, h in self._durable.items()}
        try:
            write_anchors(self._database.directory, self.key, anchors)
        except OSError as error:
            log.warning("the anchors could not be written: %s", error)
            return
        self._anchored, self._unanchored = time.monotonic(), 0
