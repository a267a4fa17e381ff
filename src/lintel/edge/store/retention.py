"""What the journal may forget, and when. Nothing goes while the clock is not synced.

A row goes when it is older than its stream's time and, where a cloud listens, was acknowledged. Under pressure (a disk
95 % full) access rows go earlier, acknowledged ones first; unacknowledged ones leave a `gap` row behind.
"""

import time
from dataclasses import dataclass

from lintel.edge.model import ClockState, Event, Instant, Stream
from lintel.edge.store.chain import NUMBERS, decode, encode, place_of, seal, split, unpack
from lintel.edge.store.connection import Connection
from lintel.edge.store.journal import Journal

DAY = 86400.0
KEEP = {
    Stream.ALARM: 180 * DAY,
    Stream.AUDIT: 3 * 365 * DAY,
    Stream.ACCESS: 180 * DAY,
    Stream.WORK: 7 * DAY,
    Stream.TELEMETRY: 7 * DAY,
}
"""Seconds each stream is kept at least: half a year for disputes, three years for who changed what."""
PRESSED = 7 * DAY
"""Access rows younger than this stay even when the disk fills, unless nothing was acknowledged."""
STEP = 2000
"""Rows of one commit: events must not wait behind a large deletion."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """Rows deleted per stream, and how many of them no cloud had acknowledged."""

    rows: dict[str, int]
    unacknowledged: int = 0


async def prune(journal: Journal, now: Instant, *, uplink: bool, pressed: bool = False) -> Pruned:
    """Delete what may go. `uplink`: a cloud listens, so unacknowledged rows stay. `pressed`: the disk is 95 % full."""
    if now.state is not ClockState.SYNCED:
        return Pruned({})
    rows: dict[str, int] = {}
    lost = 0
    for stream, keep in KEEP.items():
        bound = uplink and stream is not Stream.TELEMETRY
        rows[stream] = await _prune_stream(journal, stream, now.wall - keep, bound=bound)
        if pressed and stream is Stream.ACCESS:
            rows[stream] += await _prune_stream(journal, stream, now.wall - PRESSED, bound=uplink)
            if uplink and not rows[stream]:
                lost = await _drop_unacknowledged(journal, now)
                rows[stream] += lost
    return Pruned({s: n for s, n in rows.items() if n}, lost)


async def _prune_stream(journal: Journal, stream: Stream, before: float, *, bound: bool) -> int:
    """Delete rows from the front that are older than `before`; `bound`: only acknowledged ones."""
    total = 0
    while True:
        gone: int = await journal.submit(lambda conn: _step(conn, journal.key, stream, before, bound=bound), now=True)
        total += gone
        if gone < STEP:
            break
    if total:
        journal.anchor_soon()
    return total


def _step(conn: Connection, key: bytes, stream: Stream, before: float, *, bound: bool) -> int:
    number = NUMBERS[stream]
    floor, acked = conn.execute("SELECT floor, acked FROM stream WHERE stream = ?", (number,)).fetchone()
    limit = acked if bound else place_of(stream, 0xFFFF, 0)
    rows = conn.execute(
        "SELECT place, hash, body FROM journal WHERE place > ? AND place <= ? ORDER BY place LIMIT ?",
        (floor, limit, STEP),
    ).fetchall()
    count = 0
    for _, _, body in rows:
        if decode(unpack(body)).ts / 1000 >= before:
            break
        count += 1
    if count:
        _cut(conn, key, number, rows[count - 1][0], rows[count - 1][1])
    return count


def _cut(conn: Connection, key: bytes, number: int, floor: int, digest: bytes) -> None:
    """Delete up to and including `floor`; the chain goes on from its hash."""
    conn.execute("DELETE FROM journal WHERE place >= ? AND place <= ?", (number << 56, floor))
    conn.execute(
        "UPDATE stream SET floor = ?, floor_hash = ?, acked = max(acked, ?), recorded = max(recorded, ?), seal = ?"
        " WHERE stream = ?",
        (floor, digest, floor, floor, seal(key, floor, digest), number),
    )


async def _drop_unacknowledged(journal: Journal, now: Instant) -> int:
    """The last resort: the oldest access rows go although no cloud has them; a gap row says which."""

    def work(conn: Connection) -> int:
        number = NUMBERS[Stream.ACCESS]
        floor = conn.execute("SELECT floor FROM stream WHERE stream = ?", (number,)).fetchone()[0]
        rows = conn.execute(
            "SELECT place, hash FROM journal WHERE place > ? AND place < ? ORDER BY place LIMIT ?",
            (floor, number + 1 << 56, STEP),
        ).fetchall()
        if len(rows) < STEP:
            return 0
        first, last = split(rows[0][0]), split(rows[-1][0])
        _cut(conn, journal.key, number, *rows[-1])
        detail = f"from {first[1]}.{first[2]} to {last[1]}.{last[2]}, {len(rows)} events"
        gap = Event(
            f"gap_{first[1]}_{first[2]}_{time.time_ns()}", Stream.ACCESS, "gap", int(now.wall * 1000), now.mono,
            now.state, reason="gap", detail=detail, count=len(rows),
        )  # fmt: skip
        journal.write(conn, encode(gap), gap)
        return len(rows)

    return await journal.submit(work, now=True)
