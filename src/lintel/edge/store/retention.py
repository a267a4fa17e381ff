"""What the journal may forget, and when. Nothing goes while the clock is not synced.

A row goes when it is older than its stream's time and, where a cloud listens, was acknowledged. Under pressure (see
`pressed`) acknowledged access rows go after 7 days; where none is left, the oldest others of that age go and leave a
`gap` row. Younger ones never go: they are what is asked for, and where they fill a disk something else is wrong.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from lintel.edge.model import ClockState, Event, Instant, Stream
from lintel.edge.store.chain import NUMBERS, encode, place_of, readable, seal, span, split
from lintel.edge.store.connection import PAGE_SIZE, Connection
from lintel.edge.store.journal import Journal

DAY = 86400.0
KEEP = {
    Stream.ALARM: 180 * DAY,
    Stream.AUDIT: 3 * 365 * DAY,
    Stream.ACCESS: 180 * DAY,
    Stream.WORK: 7 * DAY,
    Stream.TELEMETRY: 7 * DAY,
}
"""Seconds each stream is kept at least: what a dispute needs; audit three years."""
PRESSED = 7 * DAY
"""Access rows younger than this, in seconds, stay even when the disk fills."""
TIGHT = 0.05
"""The part of a disk below which its free space is too little."""
STEP = 2000
"""Rows of one commit: events must not wait behind a large deletion."""
CATCH_UP = 2.0
"""So many times faster than the monotonic clock retention's own time follows a wall clock that is ahead of it."""
AHEAD = 2 * DAY
"""Seconds that a wall clock is ahead of retention's own time when it is told that rows are held."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """Rows deleted per stream, and how many of them no cloud had acknowledged.

    `ahead`: seconds that the wall clock is ahead of retention's time, where rows are held for it; else 0.
    """

    rows: dict[str, int]
    unacknowledged: int = 0
    ahead: float = 0.0


def pressed(directory: Path, conn: Connection) -> bool:
    """Whether less than 5 % of the disk is free. Pages that were freed in the file count: SQLite fills them first."""
    disk = os.statvfs(directory)
    freed = conn.execute("PRAGMA freelist_count").fetchone()[0] * PAGE_SIZE
    return bool(disk.f_bavail * disk.f_frsize + freed < TIGHT * disk.f_blocks * disk.f_frsize)


class Retention:
    """Goes by a time of its own, kept in the database: a wall clock that jumps, synced or not, deletes nothing at once.

    After months without power it lags behind for as long; the rows then stay that much longer.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._start = journal.newest_ts() / 1000  # what an earlier run knew of the time
        self._mono: float | None = None

    async def prune(self, now: Instant, *, uplink: bool, pressed: bool = False) -> Pruned:
        """Delete what may go. `uplink`: a cloud listens, what it lacks stays. `pressed`: see the function."""
        if now.state is not ClockState.SYNCED:
            return Pruned({})
        journal = self._journal
        at: float = await journal.submit(lambda conn: self._advance(conn, now), now=True)
        self._mono = now.mono
        rows: dict[str, int] = {}
        lost = 0
        for stream, keep in KEEP.items():
            bound = uplink and stream is not Stream.TELEMETRY
            rows[stream] = await _prune_stream(journal, stream, at, keep, bound=bound)
            if pressed and stream is Stream.ACCESS:
                rows[stream] += await _prune_stream(journal, stream, at, PRESSED, bound=True)
                if not rows[stream]:
                    lost = await _drop_unacknowledged(journal, now, at)
                    rows[stream] += lost
        held = now.wall - at > AHEAD and await journal.submit(lambda conn: _holds(conn, now.wall))
        return Pruned({s: n for s, n in rows.items() if n}, lost, now.wall - at if held else 0.0)

    def _advance(self, conn: Connection, now: Instant) -> float:
        """Retention's time now, Unix seconds."""
        row = conn.execute("SELECT value FROM state WHERE name = 'retention'").fetchone()
        if row is not None:
            elapsed = 0.0 if self._mono is None else now.mono - self._mono
            at = min(now.wall, float(row[0]) + CATCH_UP * elapsed)
        else:
            at = min(now.wall, self._start + AHEAD) if self._start else now.wall
        conn.execute(
            "INSERT INTO state VALUES ('retention', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (repr(at),),
        )
        return at


async def _prune_stream(journal: Journal, stream: Stream, at: float, keep: float, *, bound: bool) -> int:
    """Delete rows from the front that are older than `keep` seconds; `bound`: only acknowledged ones."""
    total = 0
    while True:
        gone: int = await journal.submit(lambda conn: _step(conn, journal.key, stream, at, keep, bound=bound), now=True)
        total += gone
        if gone < STEP:
            break
    if total:
        journal.anchor_soon()
    return total


def _step(conn: Connection, key: bytes, stream: Stream, at: float, keep: float, *, bound: bool) -> int:
    number = NUMBERS[stream]
    floor, acked = conn.execute("SELECT floor, acked FROM stream WHERE stream = ?", (number,)).fetchone()
    limit = acked if bound else place_of(stream, 0xFFFF, 0)
    rows = conn.execute(
        "SELECT place, hash, body FROM journal WHERE place > ? AND place <= ? ORDER BY place LIMIT ?",
        (floor, limit, STEP),
    ).fetchall()
    count = _old(rows, at, keep)
    if count:
        _cut(conn, key, number, rows[count - 1][0], rows[count - 1][1])
    return count


def _old(rows: list[tuple[int, bytes, bytes]], at: float, keep: float) -> int:
    """How many of these rows, from the first on, are older than `keep` seconds."""
    count = 0
    for n, (_, _, body) in enumerate(rows, 1):
        moment = _moment(body, at)
        if moment is not None and moment >= at - keep:
            break
        count = n if moment is not None else count
    return count


def _moment(body: bytes, at: float) -> float | None:
    """When a row was written, Unix seconds. None where nobody knows: it goes with the row behind it."""
    event = readable(body)
    known = event is not None and event.clock is not ClockState.UNKNOWN and event.ts / 1000 <= at + AHEAD
    return event.ts / 1000 if event is not None and known else None


def _holds(conn: Connection, wall: float) -> bool:
    """Whether rows would go if the wall clock were believed."""
    for stream, keep in KEEP.items():
        rows = conn.execute("SELECT body FROM journal WHERE place BETWEEN ? AND ? ORDER BY place LIMIT 1", span(stream))
        if any((moment := _moment(body, wall)) is not None and moment < wall - keep for (body,) in rows):
            return True
    return False


def _cut(conn: Connection, key: bytes, number: int, floor: int, digest: bytes) -> None:
    """Delete up to and including `floor`; the chain goes on from its hash."""
    conn.execute("DELETE FROM journal WHERE place >= ? AND place <= ?", (number << 56, floor))
    conn.execute(
        "UPDATE stream SET floor = ?, floor_hash = ?, acked = max(acked, ?), recorded = max(recorded, ?), seal = ?"
        " WHERE stream = ?",
        (floor, digest, floor, floor, seal(key, floor, digest), number),
    )


async def _drop_unacknowledged(journal: Journal, now: Instant, at: float) -> int:
    """The last resort: the oldest access rows past `PRESSED` go although no cloud has them; a gap row says which."""

    def work(conn: Connection) -> int:
        number = NUMBERS[Stream.ACCESS]
        floor = conn.execute("SELECT floor FROM stream WHERE stream = ?", (number,)).fetchone()[0]
        rows = conn.execute(
            "SELECT place, hash, body FROM journal WHERE place > ? AND place < ? ORDER BY place LIMIT ?",
            (floor, number + 1 << 56, STEP),
        ).fetchall()
        if _old(rows, at, PRESSED) < STEP:
            return 0
        first, last = split(rows[0][0]), split(rows[-1][0])
        _cut(conn, journal.key, number, *rows[-1][:2])
        detail = f"from {first[1]}.{first[2]} to {last[1]}.{last[2]}, {len(rows)} events"
        gap = Event(
            f"gap_{first[1]}_{first[2]}_{time.time_ns()}", Stream.ACCESS, "gap", int(now.wall * 1000), now.mono,
            now.state, reason="gap", detail=detail, count=len(rows),
        )  # fmt: skip
        journal.write(conn, encode(gap), gap)
        return len(rows)

    return await journal.submit(work, now=True)
