"""Find out whether somebody touched the journal: edits, deletions, insertions, reordering, a cut tail, a roll-back.

The chain finds what was changed inside; only heads that are kept outside the database find a cut or a roll-back.
"""

from dataclasses import dataclass

from lintel.edge.errors import StoreError
from lintel.edge.model import Stream
from lintel.edge.store.chain import NUMBERS, ZERO, Anchors, Head, link, place_of, read_anchors, seal, split, unpack
from lintel.edge.store.connection import Connection, sqlite
from lintel.edge.store.database import Database
from lintel.edge.store.files import derive

MAX_BREAKS = 100


@dataclass(frozen=True, slots=True)
class Break:
    """One place where the journal is not what was written."""

    stream: str
    epoch: int
    seq: int
    what: str


@dataclass(frozen=True, slots=True)
class Report:
    """`rows` checked; `breaks` empty when nothing was touched; `heads` are the newest rows found."""

    rows: int
    heads: tuple[tuple[str, int, int], ...]
    breaks: tuple[Break, ...]

    @property
    def ok(self) -> bool:
        """Whether the journal is as it was written."""
        return not self.breaks


def verify(database: Database) -> Report:
    """Walk every stream in one read transaction and compare with the anchors, which are read first."""
    key = derive(database.key, "anchor")
    breaks: list[Break] = []
    anchors: Anchors = {}
    try:
        anchors = read_anchors(database.directory, key)
    except StoreError as error:
        breaks.append(Break("", 0, 0, str(error)))
    conn = database.reader
    rows, heads = 0, []
    conn.execute("BEGIN")
    try:
        for stream in Stream:
            walk = _Walk(conn, key, stream, anchors.get(stream, ()))
            walk.run()
            rows += walk.rows
            heads.append((str(stream), walk.head.epoch, walk.head.seq))
            breaks += walk.breaks
    except sqlite.Error as error:
        breaks.append(Break("", 0, 0, f"the database can not be read: {error}"))
    finally:
        conn.execute("ROLLBACK")
    return Report(rows, tuple(heads), tuple(breaks[:MAX_BREAKS]))


class _Walk:
    def __init__(self, conn: Connection, key: bytes, stream: Stream, anchors: tuple[Head, ...]) -> None:
        self._conn = conn
        self._key = key
        self._stream = stream
        self._anchors = anchors
        self.rows = 0
        self.breaks: list[Break] = []
        self.head = Head(1, 0, ZERO)

    def run(self) -> None:
        """Check the floor, each link, and each anchored head."""
        number = NUMBERS[self._stream]
        row = self._conn.execute("SELECT floor, floor_hash, seal FROM stream WHERE stream = ?", (number,)).fetchone()
        floor, floor_hash = (row[0], row[1]) if row else (place_of(self._stream, 1, 0), ZERO)
        if row and row[2] != seal(self._key, floor, floor_hash):
            self._found(*split(floor)[1:], "where the stream begins was changed by hand")
        _, epoch, seq = split(floor)
        self.head = Head(epoch, seq, floor_hash)
        ends: dict[int, Head] = {epoch: self.head}
        anchored = {(h.epoch, h.seq): h.hash for h in self._anchors}
        for place, stored, digest in self._conn.execute(
            "SELECT place, body, hash FROM journal WHERE place >= ? AND place < ? ORDER BY place",
            (number << 56, number + 1 << 56),
        ):
            self._row(place, stored, digest)
            ends[self.head.epoch] = self.head
            expected = anchored.get((self.head.epoch, self.head.seq))
            if expected is not None and expected != digest:
                self._found(self.head.epoch, self.head.seq, "is not the row that was anchored")
        for anchor in self._anchors:
            end = ends.get(anchor.epoch, Head(anchor.epoch, 0, ZERO))
            if end.seq < anchor.seq and (anchor.epoch, anchor.seq) > (epoch, seq):
                self._found(anchor.epoch, end.seq + 1, f"cut: {anchor.seq} events were anchored, {end.seq} are stored")

    def _row(self, place: int, stored: bytes, digest: bytes) -> None:
        self.rows += 1
        _, epoch, seq = split(place)
        before = self.head
        if epoch > before.epoch:
            before = Head(epoch, 0, ZERO)
        if seq != before.seq + 1:
            self._found(epoch, before.seq + 1, f"missing: the next row is {seq}")
        else:
            try:
                if link(before.hash, place, unpack(stored)) != digest:
                    self._found(epoch, seq, "edited, inserted or reordered: its hash does not follow")
            except ValueError:
                self._found(epoch, seq, "edited: its body can not be read")
        self.head = Head(epoch, seq, digest)

    def _found(self, epoch: int, seq: int, what: str) -> None:
        if len(self.breaks) < MAX_BREAKS:
            self.breaks.append(Break(str(self._stream), epoch, seq, what))
