"""Who is to be on a terminal, and what it is known to hold: the SQL of the person lists.

*Wanted* at a device: a face whose credential is active, consented to, valid now, not blocked, and whose door groups
contain one of the device's door. One row of `roster` for each person that was ever sent to a device and is not known to
be gone: what was sent last (mark, validity) and what became of it. A row is written before its person is sent, so that
whatever a terminal may hold of ours is known here after any power cut. `held`: whether it held the person before.

Look-ups run on a thread of their own with a connection of their own, one after the other: neither the event loop nor
the writer waits for a scan of 20,000 persons.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from lintel.edge.errors import StoreError
from lintel.edge.persons import State
from lintel.edge.store.changes import STATUSES
from lintel.edge.store.connection import Connection, fault_word, sqlite
from lintel.edge.store.database import Database
from lintel.edge.store.faces import GRANTED, METHOD, Sealed
from lintel.edge.store.writer import Writer

T = TypeVar("T")

CHUNK: Final = 250
"""Rows of one write: a door's commit waits behind at most so many (3 ms)."""
BEGIN: Final = -(1 << 63)
"""Before every key."""

_ACTIVE = 0
assert STATUSES[_ACTIVE] == "active"  # noqa: S101  its place stands in the database
_BLOCKED = (
    "EXISTS (SELECT 1 FROM site_item b WHERE b.type = 'block'"
    " AND b.id IN (c.person, coalesce(c.id, lower(printf('%016x', c.key) || hex(c.tail))))"
    " AND coalesce(json_extract(b.doc, '$.until'), 9e99) > :now)"
)
_WANTED = (
    f"(f.key IS NOT NULL AND c.method = {METHOD} AND c.status = {_ACTIVE} AND c.consent = {GRANTED}"
    " AND coalesce(c.valid_to, 9e99) > :now AND coalesce(c.valid_from, 0) <= :now + :lead"
    f" AND ({{groups}}) AND NOT {_BLOCKED})"
)
_DIFFERS = "(r.mark IS NOT f.mark OR (:timed AND (r.valid_from IS NOT c.valid_from OR r.valid_to IS NOT c.valid_to)))"
# CROSS JOIN keeps this order: all three are read along their keys
_ALL = (
    " FROM face f CROSS JOIN credential c ON c.key = f.key LEFT JOIN roster r ON r.device = :device AND r.key = f.key"
    " WHERE {wanted}"
)
_THERE = (
    " FROM roster r LEFT JOIN face f ON f.key = r.key LEFT JOIN credential c ON c.key = r.key WHERE r.device = :device"
)
_PUT = (
    "SELECT f.key, f.name, f.shown, c.valid_from, c.valid_to, f.mark, f.photo, f.seal, coalesce(r.held, 0),"
    f" coalesce(r.tries, 0), coalesce(NOT {_DIFFERS}, 0), coalesce(r.state, 0){_ALL} AND f.key > :after"
    f" AND (r.key IS NULL OR r.state IN (:pending, :deleting) OR (r.state = :stored AND {_DIFFERS})"
    f" OR (r.state = :failed AND ({_DIFFERS} OR r.due <= :now))) ORDER BY f.key LIMIT :limit"
)
_DROP = (
    f"SELECT r.key, r.name, r.state, r.held, r.tries{_THERE} AND r.key > :after"
    " AND (r.state <> :deleting OR r.due <= :now) AND NOT coalesce({wanted}, 0) ORDER BY r.key LIMIT :limit"
)
_COUNTS = (
    f"SELECT count(*), total(r.state = :stored AND NOT {_DIFFERS}), total(r.state = :sent),"
    f" total(r.state = :failed AND NOT {_DIFFERS}), min(c.valid_to),"
    f" min(CASE WHEN r.state = :failed AND NOT {_DIFFERS} THEN r.due END){_ALL}"
)
_LEAVING = f"SELECT count(*), min(r.due){_THERE} AND NOT coalesce({{wanted}}, 0)"
_TO_COME = (
    f"SELECT min(c.valid_from - :lead) FROM credential c WHERE c.method = {METHOD} AND c.valid_from > :now + :lead"  # noqa: S608  our constants
)
_BLOCKS_END = (
    "SELECT min(json_extract(doc, '$.until')) FROM site_item WHERE type = 'block'"
    " AND json_extract(doc, '$.until') > :now"
)
_PERSONS = (
    "SELECT name, state, class, code, said, tries, due FROM (SELECT f.key k, f.name,"  # noqa: S608  our constants
    f" CASE WHEN r.key IS NULL OR r.state = :deleting OR (r.state IN (:stored, :failed) AND {_DIFFERS})"
    " THEN :pending ELSE r.state END state, coalesce(r.class, '') class, coalesce(r.code, '') code,"
    f" coalesce(r.said, '') said, coalesce(r.tries, 0) tries, coalesce(r.due, 0) due{_ALL}"
    " UNION ALL SELECT r.key, r.name, :deleting, r.class, r.code, r.said, r.tries, r.due"
    f"{_THERE} AND NOT coalesce({{wanted}}, 0)) WHERE (:name = '' OR name = :name)"
    " AND (NOT :only_failed OR state = :failed OR (state = :deleting AND tries > 0)) ORDER BY k LIMIT :limit"
)
_INTO = (
    "INSERT INTO roster VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (device, key) DO UPDATE SET"
    " state = excluded.state, held = excluded.held, mark = excluded.mark, valid_from = excluded.valid_from,"
    " valid_to = excluded.valid_to, class = excluded.class, code = excluded.code, said = excluded.said,"
    " tries = excluded.tries, due = excluded.due"
)
_SET = (
    "UPDATE roster SET state = ?, held = ?, class = ?, code = ?, said = ?, tries = ?, due = ?"
    " WHERE device = ? AND key = ?"
)


@dataclass(frozen=True, slots=True)
class Place:
    """A terminal as its list sees it: the door groups of its door, and what of validity it keeps by itself.

    `lead` (s): how long before its validity begins a person is sent.
    """

    device: str
    groups: tuple[str, ...]
    timed: bool
    lead: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """One person to be sent. `held`: the terminal may hold something of it; `tries`: of just this, without success."""

    key: int
    name: str
    shown: str = field(repr=False)
    valid_from: float | None
    valid_to: float | None
    mark: int
    photo: Sealed | None
    held: bool
    tries: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a device's list."""

    key: int
    name: str
    state: State
    held: bool
    tries: int


@dataclass(frozen=True, slots=True)
class Turn:
    """What is to be stored about one person at a device. `gone`: the row goes."""

    key: int
    state: State = State.PENDING
    held: bool = False
    why: str = ""
    code: str = ""
    said: str = ""
    tries: int = 0
    due: float = 0.0
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """A device's list in numbers. `next`: when time alone changes something (Unix seconds), None: nothing does."""

    wanted: int = 0
    stored: int = 0
    sent: int = 0
    failed: int = 0
    deleting: int = 0
    next: float | None = None

    @property
    def pending(self) -> int:
        """Wanted, and neither stored, nor sent, nor failed."""
        return self.wanted - self.stored - self.sent - self.failed


class Roster:
    """For the event loop. Reads fail with StoreError where the store can not be written: nothing could be kept then."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database, self._writer = database, writer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lintel-roster")
        self._conn: Connection = None

    async def read(self, look: Callable[[Connection], T]) -> T:
        """Run `look` on the reading thread. Raises StoreError."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, look)

    def _read(self, look: Callable[[Connection], T]) -> T:
        try:
            if not self._database.writable:
                raise StoreError("storage_read_only", "person lists rest while nothing can be stored")
            if self._conn is None:
                self._conn = self._database.connect_reader()
            return look(self._conn)
        except sqlite.Error as error:
            self._hang_up()
            raise StoreError(
                fault_word(error, self._database.directory), f"the person lists can not be read: {error}"
            ) from None

    def _hang_up(self) -> None:
        if self._conn is not None:
            self._conn.close()
        self._conn = None

    async def close(self) -> None:
        """Close the connection and end the thread."""
        await asyncio.to_thread(self._thread.shutdown)
        self._hang_up()

    # what is to be done

    async def to_put(self, place: Place, now: float, after: int, limit: int) -> list[Wanted]:
        """The next persons to send, in the order of their keys, after one key."""
        rows = await self._rows(place, _PUT, now, after=after, limit=limit)
        return [
            Wanted(key, name, shown, since, until, mark, Sealed(key, photo, seal) if photo else None,
                   bool(held) or state in (State.SENT, State.DELETING), tries if same else 0)
            for key, name, shown, since, until, mark, photo, seal, held, tries, same, state in rows
        ]  # fmt: skip

    async def to_drop(self, place: Place, now: float, after: int, limit: int) -> list[Entry]:
        """The next rows of persons who are not wanted there any more."""
        rows = await self._rows(place, _DROP, now, after=after, limit=limit)
        return [Entry(key, name, State(state), bool(held), tries) for key, name, state, held, tries in rows]

    async def counts(self, place: Place, now: float) -> Counts:
        """The list in numbers, and when time alone changes it next."""

        def look(conn: Connection) -> Counts:
            values = _values(place, now)
            wanted, stored, sent, failed, until, due = conn.execute(_sql(place, _COUNTS), values).fetchone()
            leaving, drop_due = conn.execute(_sql(place, _LEAVING), values).fetchone()
            times = [until, due, drop_due]  # a retry may have become due while a pass went on
            times += [conn.execute(sql, values).fetchone()[0] for sql in (_TO_COME, _BLOCKS_END)]
            known = [t for t in times if t is not None]
            return Counts(wanted, int(stored), int(sent), int(failed), leaving, min(known, default=None))

        return await self.read(look)

    async def persons(
        self, place: Place, now: float, *, name: str = "", only_failed: bool = False, limit: int = 1000
    ) -> list[dict[str, object]]:
        """The state of each person at a device, as an operator sees it."""
        rows = await self._rows(place, _PERSONS, now, name=name, only_failed=only_failed, limit=limit)
        return [
            {"person": name, "state": State(state).name.lower(), "class": why, "code": code, "said": said,
             "tries": tries, "retry_at": due or None}
            for name, state, why, code, said, tries, due in rows
        ]  # fmt: skip

    async def entries(self, device: str) -> list[Entry]:
        """Every row of a device."""

        def look(conn: Connection) -> list[Entry]:
            rows = conn.execute("SELECT key, name, state, held, tries FROM roster WHERE device = ?", (device,))
            return [Entry(key, name, State(state), bool(held), tries) for key, name, state, held, tries in rows]

        return await self.read(look)

    async def names(self) -> dict[str, int]:
        """The key of every face, by its id on terminals."""
        return await self.read(lambda conn: dict(conn.execute("SELECT name, key FROM face").fetchall()))

    async def _rows(self, place: Place, sql: str, now: float, **values: object) -> list[tuple]:  # type: ignore[type-arg]
        return await self.read(lambda conn: conn.execute(_sql(place, sql), _values(place, now) | values).fetchall())

    # what is known of it

    async def sending(self, device: str, persons: Sequence[Wanted]) -> None:
        """These are about to be sent. Durable when this returns."""
        rows = [
            (device, p.key, p.name, State.SENT, p.held, p.mark, p.valid_from, p.valid_to, "", "", "", p.tries, 0.0)
            for p in persons
        ]
        await self._write(lambda conn, part: conn.executemany(_INTO, part), rows)

    async def failed(self, device: str, persons: Sequence[Wanted], turns: Sequence[Turn]) -> None:
        """These can not be sent at all."""
        rows = [
            (device, p.key, p.name, t.state, t.held, p.mark, p.valid_from, p.valid_to, t.why, t.code, t.said, t.tries,
             t.due)
            for p, t in zip(persons, turns, strict=True)
        ]  # fmt: skip
        await self._write(lambda conn, part: conn.executemany(_INTO, part), rows)

    async def enter(self, device: str, persons: Iterable[tuple[int, str, State]]) -> None:
        """Rows for what a terminal was found to hold, of unknown content."""
        rows = [(device, key, name, state, 1, None, None, None, "", "", "", 0, 0.0) for key, name, state in persons]
        await self._write(lambda conn, part: conn.executemany(_INTO, part), rows)

    async def turn(self, device: str, turns: Iterable[Turn]) -> None:
        """Note what became of persons."""

        def note(conn: Connection, part: Sequence[Turn]) -> None:
            gone = [(device, t.key) for t in part if t.gone]
            conn.executemany("DELETE FROM roster WHERE device = ? AND key = ?", gone)
            conn.executemany(_SET, [
                (t.state, t.held, t.why, t.code[:32], t.said[:200], t.tries, t.due, device, t.key)
                for t in part if not t.gone
            ])  # fmt: skip

        await self._write(note, list(turns))

    async def doubt(self, device: str) -> None:
        """Nothing that was stored at a device is taken for granted any more: each is sent again."""
        sql = (
            f"UPDATE roster SET state = {State.PENDING} WHERE device = ?1 AND key IN (SELECT key FROM roster"  # noqa: S608
            f" WHERE device = ?1 AND state IN ({State.STORED}, {State.SENT}) LIMIT {CHUNK})"
        )
        while await self._writer.submit(lambda conn: int(conn.execute(sql, (device,)).rowcount)):
            pass

    async def retry(self, device: str, why: str = "") -> None:
        """What failed at a device, and failed so, is due at once."""
        sql = "UPDATE roster SET due = 0 WHERE device = ?1 AND state IN (?2, ?3) AND (?4 = '' OR class = ?4)"
        values = (device, State.FAILED, State.DELETING, why)
        await self._writer.submit(lambda conn: conn.execute(sql, values), now=True)

    async def _write(self, note: Callable[[Connection, Sequence[T]], object], rows: Sequence[T]) -> None:
        for start in range(0, len(rows), CHUNK):
            await self._writer.submit(partial(_noted, note, rows[start : start + CHUNK]), now=True)


def _noted(note: Callable[[Connection, Sequence[T]], object], part: Sequence[T], conn: Connection) -> None:
    note(conn, part)


def _sql(place: Place, sql: str) -> str:
    groups = " OR ".join(f"instr(' ' || c.groups || ' ', ' ' || :g{n} || ' ')" for n in range(len(place.groups)))
    return sql.replace("{wanted}", _WANTED.replace("{groups}", groups or "0"))


def _values(place: Place, now: float) -> dict[str, object]:
    states = {s.name.lower(): int(s) for s in State}
    named = {f"g{n}": group for n, group in enumerate(place.groups)}
    return {"device": place.device, "now": now, "lead": place.lead, "timed": place.timed, **states, **named}
