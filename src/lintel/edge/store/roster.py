"""Who is to be on a terminal, and what it is known to hold: the SQL of the person lists.

*Wanted* at a device: a face whose credential is active, consented to, valid now, not blocked, and whose door groups
contain one of the device's door. One row of `roster` for each person that was ever sent to a device and is not known to
be gone: what was sent last (mark, validity) and what became of it. A row is written before its person is sent, so that
whatever a terminal may hold of ours is known here after any power cut. `held`: whether it held the person before.

Look-ups run on a thread of their own with a connection of their own, one after the other: neither the event loop nor
the writer waits for a scan of 20,000 persons.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from lintel.edge.errors import StoreError
from lintel.edge.persons import State
from lintel.edge.store import roster_sql as ask
from lintel.edge.store.connection import Connection, fault_word, sqlite
from lintel.edge.store.database import Database
from lintel.edge.store.faces import Sealed
from lintel.edge.store.roster_sql import CLEAR, Place, Sight
from lintel.edge.store.uses import split_digest
from lintel.edge.store.writer import Writer

__all__ = ["BEGIN", "CLEAR", "Counts", "Entry", "Place", "Roster", "Sight", "Turn", "Wanted"]

T = TypeVar("T")

CHUNK: Final = 250
"""Rows of one write: a door's commit waits behind at most so many (3 ms)."""
BEGIN: Final = -(1 << 63)
"""Before every key."""
OVERDUE_S: Final = 60.0
"""Persons are off a terminal, and that is read back, within so long: F2 of the abuse cases."""
STUBBORN: Final = 3
"""So many deletions without effect are as bad."""


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
    """A device's list in numbers. `next`: when time alone changes something (Unix seconds), None: nothing does.

    `overdue`: how many of `deleting` should be gone by now. `since`: from when on the first of them was to be deleted,
    as far as that is noted; `unmarked`: where `mark` has something to note.
    """

    wanted: int = 0
    stored: int = 0
    sent: int = 0
    failed: int = 0
    deleting: int = 0
    next: float | None = None
    overdue: int = 0
    since: float | None = None
    unmarked: int = 0

    @property
    def pending(self) -> int:
        """Wanted, and neither stored, nor sent, nor failed."""
        return self.wanted - self.stored - self.sent - self.failed


class Roster:
    """For the event loop. Reads fail with StoreError where the store can not be written: nothing could be kept then.

    `on_more` is called when persons go to a terminal who were not there before.
    """

    def __init__(self, database: Database, writer: Writer, on_more: Callable[[], None]) -> None:
        self._database, self._writer, self._on_more = database, writer, on_more
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

    async def to_put(self, place: Place, now: float, after: int, limit: int, sight: Sight = CLEAR) -> list[Wanted]:
        """The next persons to send, in the order of their keys, after one key."""
        ends = {"ends": -ask.ENDLESS} if sight.blind else {}  # a block that may be over may also hold
        rows = await self._rows(place, ask.PUT, now, sight, after=after, limit=limit, **ends)
        return [
            Wanted(key, name, shown, since, until, mark, Sealed(key, photo, seal) if photo else None,
                   bool(held) or state in (State.SENT, State.DELETING), tries if same else 0)
            for key, name, shown, since, until, mark, photo, seal, held, tries, same, state in rows
        ]  # fmt: skip

    async def to_drop(self, place: Place, now: float, after: int, limit: int, sight: Sight = CLEAR) -> list[Entry]:
        """The next rows of persons who are not wanted there any more."""
        rows = await self._rows(place, ask.DROP, now, sight, after=after, limit=limit)
        return [Entry(key, name, State(state), bool(held), tries) for key, name, state, held, tries in rows]

    async def counts(self, place: Place, now: float, sight: Sight = CLEAR) -> Counts:
        """The list in numbers, and when time alone changes it next."""

        def look(conn: Connection) -> Counts:
            values = ask.values(place, now, sight) | {"limit": OVERDUE_S, "stubborn": STUBBORN}
            wanted, stored, sent, failed, until, due = conn.execute(ask.sql(place, ask.COUNTS), values).fetchone()
            leaving, drop_due, since, overdue, unmarked = conn.execute(ask.sql(place, ask.LEAVING), values).fetchone()
            times = [until, due, drop_due]  # a retry may have become due while a pass went on
            times += [conn.execute(sql, values).fetchone()[0] for sql in (ask.TO_COME, ask.BLOCKS_END)]
            known = [t for t in times if t is not None]
            return Counts(wanted, int(stored), int(sent), int(failed), int(leaving), min(known, default=None),
                          int(overdue), since, int(unmarked))  # fmt: skip

        return await self.read(look)

    async def mark(self, place: Place, now: float, sight: Sight = CLEAR) -> None:
        """Note since when persons are to be deleted there. Who is wanted again is to be deleted since never."""
        rows = await self._rows(place, ask.UNMARKED, now, sight)
        marks = [(now if leaves else None, place.device, key) for key, leaves in rows]
        sql = "UPDATE roster SET since = ? WHERE device = ? AND key = ?"
        await self._write(lambda conn, part: conn.executemany(sql, part), marks)

    async def persons(
        self, place: Place, now: float, sight: Sight = CLEAR, *,
        name: str = "", only_failed: bool = False, limit: int = 1000,
    ) -> list[dict[str, object]]:  # fmt: skip
        """The state of each person at a device, as an operator sees it."""
        rows = await self._rows(place, ask.PERSONS, now, sight, name=name, only_failed=only_failed, limit=limit)
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

    async def elsewhere(self, devices: Collection[str]) -> dict[str, int]:
        """Devices that are none of these and may hold persons of ours: how many each."""
        rows = await self.read(lambda conn: conn.execute(ask.ELSEWHERE, ask.STATES).fetchall())
        return {device: count for device, count in rows if device not in devices}

    async def forget(self, device: str) -> None:
        """Nobody is on a device any more, as somebody who knows it says."""
        sql = "DELETE FROM roster WHERE device = ?1 AND key IN (SELECT key FROM roster WHERE device = ?1 LIMIT ?2)"
        while await self._writer.submit(lambda conn: int(conn.execute(sql, (device, CHUNK)).rowcount), now=True):
            pass

    async def ours(self, digests: Mapping[str, bytes]) -> tuple[dict[str, int], dict[str, int]]:
        """Which of these ids on terminals are faces of the allowlist, or faces that it had: their keys.

        The latter are known by a withdrawn consent, or by the tombstone of their digest. And of them those whose id
        was not known here: faces that were imported by their digests.
        """

        def look(conn: Connection) -> tuple[dict[str, int], dict[str, int]]:
            ours, unknown = {}, {}
            for name, digest in digests.items():
                key, tail = split_digest(digest)
                row = conn.execute(ask.OURS, {"key": key, "tail": tail, "plain": digest.hex()}).fetchone()
                if row is not None:
                    ours[name] = key
                    if row[0]:
                        unknown[name] = key
            return ours, unknown

        return await self.read(look)

    async def _rows(self, place: Place, text: str, now: float, sight: Sight, **values: object) -> list[tuple[Any, ...]]:
        sql, named = ask.sql(place, text), ask.values(place, now, sight) | values
        return await self.read(lambda conn: conn.execute(sql, named).fetchall())

    # what is known of it

    async def sending(self, device: str, persons: Sequence[Wanted]) -> None:
        """These are about to be sent. Durable when this returns."""
        rows = [
            (device, p.key, p.name, State.SENT, p.held, p.mark, p.valid_from, p.valid_to, "", "", "", p.tries, 0.0)
            for p in persons
        ]
        await self._write(lambda conn, part: conn.executemany(ask.INTO, part), rows)
        if not all(p.held or p.tries for p in persons):
            self._on_more()

    async def failed(self, device: str, persons: Sequence[Wanted], turns: Sequence[Turn]) -> None:
        """These can not be sent at all."""
        rows = [
            (device, p.key, p.name, t.state, t.held, p.mark, p.valid_from, p.valid_to, t.why, t.code, t.said, t.tries,
             t.due)
            for p, t in zip(persons, turns, strict=True)
        ]  # fmt: skip
        await self._write(lambda conn, part: conn.executemany(ask.INTO, part), rows)

    async def enter(self, device: str, persons: Iterable[tuple[int, str, State]]) -> None:
        """Rows for what a terminal was found to hold, of unknown content."""
        rows = [(device, key, name, state, 1, None, None, None, "", "", "", 0, 0.0) for key, name, state in persons]
        await self._write(lambda conn, part: conn.executemany(ask.INTO, part), rows)
        if rows:
            self._on_more()

    async def turn(self, device: str, turns: Iterable[Turn]) -> None:
        """Note what became of persons."""

        def note(conn: Connection, part: Sequence[Turn]) -> None:
            gone = [(device, t.key) for t in part if t.gone]
            conn.executemany("DELETE FROM roster WHERE device = ? AND key = ?", gone)
            conn.executemany(ask.SET, [
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
