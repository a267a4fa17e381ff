"""Which records of a device are stored already: what a terminal sends again is answered and not stored twice.

The newest marks are kept in memory. `device_record` carries them over a restart; marks that were not written down yet
when the power went are read from the journal's tail.
"""

import hashlib

from lintel.edge.store.chain import STREAMS, readable, span
from lintel.edge.store.connection import Connection

RECORDS_PER_DEVICE = 1024
"""A terminal sends a record again 10 s after it was not acknowledged (mqtt/face); this is 50 s of 20 records/s."""
FLUSH_RECORDS = 512
"""Marks of device records that wait to be written down together; after a crash they are read from the journal."""

Mark = tuple[int, int]
"""64-bit names of a device and of one of its records."""


class Records:
    """Marks and the places of their events. `seen` is for the event loop, all else for the writer thread."""

    def __init__(self) -> None:
        self._stored: dict[int, dict[int, tuple[int, int]]] = {}  # device -> mark -> (n, place), durable
        self._staged: list[tuple[int, int, int, int]] = []  # (device, mark, n, place) of the present group
        self._unflushed: list[tuple[int, int, int, int]] = []  # durable, not in device_record yet
        self._flushed = 0  # how many of them the present group writes there
        self._evicted: list[tuple[int]] = []  # numbers of records that need not be kept
        self._next = 1

    def seen(self, mark: Mark) -> bool:
        """Whether this record is durably stored."""
        device, record = mark
        return record in self._stored.get(device, ())

    def place(self, mark: Mark) -> int | None:
        """Where the record's event stands, also one of the present group; None for a new record."""
        known = self._stored.get(mark[0], {}).get(mark[1])
        if known is not None:
            return known[1]
        return next((place for device, record, _, place in self._staged if (device, record) == mark), None)

    def stage(self, mark: Mark, place: int) -> None:
        """The present group stores this record."""
        self._staged.append((*mark, self._next, place))
        self._next += 1

    def committed(self) -> bool:
        """The present group is durable. True when enough marks wait to be written down."""
        for device, mark, n, place in self._staged:
            marks = self._stored.setdefault(device, {})
            marks[mark] = (n, place)
            if len(marks) > RECORDS_PER_DEVICE:
                self._evicted.append((marks.pop(next(iter(marks)))[0],))
        del self._unflushed[: self._flushed]
        self._flushed = 0
        self._unflushed += self._staged
        self._staged.clear()
        return len(self._unflushed) >= FLUSH_RECORDS

    def flush(self, conn: Connection) -> None:
        """Write the waiting marks down, inside the current transaction."""
        rows = [(n, device, mark, place) for device, mark, n, place in self._unflushed]
        conn.executemany("INSERT OR IGNORE INTO device_record VALUES (?, ?, ?, ?)", rows)
        conn.executemany("DELETE FROM device_record WHERE n = ?", self._evicted)
        self._evicted = []
        self._flushed = len(rows)

    def load(self, conn: Connection) -> None:
        """Forget what was not committed; read what is written down, then the journal behind it."""
        self._staged.clear()
        stored: dict[int, dict[int, tuple[int, int]]] = {}
        for n, device, mark, place in conn.execute("SELECT n, device, mark, place FROM device_record ORDER BY n"):
            stored.setdefault(device, {})[mark] = (n, place)
            self._next = n + 1
        self._stored = stored
        self._unflushed, self._flushed = [], 0
        for number, recorded in conn.execute("SELECT stream, recorded FROM stream").fetchall():
            for place, body in conn.execute(
                "SELECT place, body FROM journal WHERE place > ? AND place <= ? ORDER BY place",
                (recorded, span(STREAMS[number])[1]),
            ):
                event = readable(body)
                if event is not None and event.record:
                    device, mark = mark_of(event.device, event.record)
                    self._unflushed.append((device, mark, self._next, place))
                    self._stored.setdefault(device, {})[mark] = (self._next, place)
                    self._next += 1
        self._evicted = []  # what was evicted and not flushed is there again
        for marks in self._stored.values():
            while len(marks) > RECORDS_PER_DEVICE:
                self._evicted.append((marks.pop(next(iter(marks)))[0],))


def mark_of(device: str, record: str) -> Mark:
    """The names of a device and of its record."""
    name = hashlib.blake2b(device.encode(), digest_size=8).digest()
    mark = hashlib.blake2b(record.encode(), key=name, digest_size=8).digest()
    return int.from_bytes(name, "big", signed=True), int.from_bytes(mark, "big", signed=True)
