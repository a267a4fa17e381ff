"""Reading stored events in their order, also beside a running gateway."""

from collections.abc import Iterator
from dataclasses import dataclass

from lintel.edge.model import Event, Stream
from lintel.edge.store.chain import decode, place_of, span, split, unpack
from lintel.edge.store.connection import Connection


@dataclass(frozen=True, slots=True)
class Row:
    """A stored event with its place, for export and upload."""

    stream: Stream
    epoch: int
    seq: int
    hash: bytes
    body: bytes

    @property
    def event(self) -> Event:
        """The event itself."""
        return decode(self.body)


def read_rows(conn: Connection, stream: Stream, since: tuple[int, int] = (0, 0)) -> Iterator[Row]:
    """Rows of one stream after (epoch, seq), in batches, so that no read lock is held for long."""
    after, last = place_of(stream, *since), span(stream)[1]
    while True:
        rows = conn.execute(
            "SELECT place, body, hash FROM journal WHERE place > ? AND place <= ? ORDER BY place LIMIT 512",
            (after, last),
        ).fetchall()
        for place, body, digest in rows:
            _, epoch, seq = split(place)
            yield Row(stream, epoch, seq, digest, unpack(body))
        if not rows:
            return
        after = rows[-1][0]


def newest_rows(conn: Connection, stream: Stream, count: int) -> list[Row]:
    """The newest rows of one stream, oldest of them first."""
    rows = conn.execute(
        "SELECT place, body, hash FROM journal WHERE place BETWEEN ? AND ? ORDER BY place DESC LIMIT ?",
        (*span(stream), count),
    ).fetchall()
    return [Row(stream, *split(place)[1:], digest, unpack(body)) for place, body, digest in reversed(rows)]
