"""Who may pass, as cached from the cloud or imported: applied atomically, looked up by credential digest.

Look-ups run on the event loop over the read-only connection; changes and uses run on the writer thread.
"""

import asyncio
import json
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType

from lintel.edge.errors import StoreError
from lintel.edge.model import Credential, Event, Reason, Status
from lintel.edge.passes import STEP_S
from lintel.edge.schedules import Schedule
from lintel.edge.store.apply import Applier
from lintel.edge.store.chain import encode
from lintel.edge.store.changes import (
    CONSENTS,
    CREDENTIAL_SPACE,
    KINDS,
    METHODS,
    PASS_SPACE,
    STATUSES,
    Applied,
    Change,
    PassRow,
    SiteData,
    Type,
    check_item,
)
from lintel.edge.store.connection import Connection, fault_word, sqlite
from lintel.edge.store.database import Database
from lintel.edge.store.journal import Journal
from lintel.edge.store.lockdown import Lockdown
from lintel.edge.store.names import pass_name
from lintel.edge.store.uses import STEPS_KEPT, Use, split_digest, take, why_spent
from lintel.edge.store.writer import Writer

_FIND = (
    "SELECT tail, id, person, kind, method, status, groups, valid_from, valid_to, schedule, use_limit, duress,"
    " consent FROM credential WHERE key = ?"
)


@lru_cache(4096)
def groups_of(text: str) -> frozenset[str]:
    """Door groups of their stored form: a few combinations serve a whole community."""
    return frozenset(text.split())


class Allowlist:
    """`revision` rises with every committed change; `site()` is one frozen snapshot per revision.

    `on_change()` runs on the writer thread after such a commit; `on_damage(detail)` when a look-up can not read, once
    until `watch_again`.
    """

    def __init__(
        self,
        database: Database,
        writer: Writer,
        journal: Journal,
        *,
        on_change: Callable[[], None] = lambda: None,
        on_damage: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._on_change = on_change
        self._on_damage = on_damage
        self._damaged = False
        self._database = database
        self._writer = writer
        self._journal = journal
        self.revision = 1
        self._changed = self._used = False  # writer thread: this group changed the list, took a use
        self._takings = 0  # commits that took uses
        self._counted = 0  # writer thread: how many credentials it has then
        self._site: tuple[tuple[int, int], SiteData] = ((0, 0), SiteData())
        self.lockdown = Lockdown(writer, self._touch)
        # kept by the writer, where there is one: counting on the loop would read the whole list through its small cache
        self._count = 0 if database.writable else count(database.reader)

    # on the event loop

    def find(self, digest: bytes) -> Credential | None:
        """The credential with this 16-byte digest. Raises StoreError when the list can not be read."""
        if len(digest) != 16:
            return None
        try:
            key, tail = split_digest(digest)
            look = self._look()
            row = look.execute(_FIND, (key,)).fetchone()
            if row is None or row[0] != tail:
                return None
            uses = 0 if row[10] is None else _uses(look, CREDENTIAL_SPACE, key)
        except sqlite.Error as error:
            raise self._unreadable(error) from None
        _, name, person, kind, method, status, groups, valid_from, valid_to, schedule, limit, duress, consent = row
        return Credential(
            name or digest.hex(), person, KINDS[kind], METHODS[method], STATUSES[status], groups_of(groups),
            valid_from, valid_to, schedule, limit, uses, duress == 1,
            consent=CONSENTS[consent],
        )  # fmt: skip

    def visitor_pass(self, pass_id: int) -> PassRow | None:
        """What is known here about a visitor pass: its row, or only its uses. Raises StoreError."""
        try:
            look = self._look()
            row = look.execute(
                "SELECT id, status, secret, groups, valid_from, valid_to, use_limit, person FROM visitor_pass"
                " WHERE pass_id = ?",
                (pass_id,),
            ).fetchone()
            gone = (
                row is None
                and look.execute(
                    "SELECT 1 FROM tombstone WHERE type = 'visitor_pass' AND id = ?", (pass_name(pass_id),)
                ).fetchone()
            )
            uses = _uses(look, PASS_SPACE, pass_id)
        except sqlite.Error as error:
            raise self._unreadable(error) from None
        if row is None:
            if not uses and not gone:
                return None
            status = Status.REVOKED if gone else Status.ACTIVE
            return PassRow(pass_id, status, None, frozenset(), None, None, None, uses, "", pass_name(pass_id))
        name, status, secret, groups, valid_from, valid_to, limit, person = row
        return PassRow(
            pass_id, STATUSES[status], secret, groups_of(groups), valid_from, valid_to, limit, uses, person, name
        )

    def site(self) -> SiteData:
        """Schedules, holidays, blocks, lockdown and the age of the list. Raises StoreError."""
        known, site = self._site
        now = self.revision, self.lockdown.turn  # before the rows: a commit in between makes it stale, not wrong
        if known != now:
            try:
                stored = read_site(self._database.reader)
            except (sqlite.Error, ValueError) as error:
                raise self._unreadable(error) from None
            site = replace(stored, lockdown=self.lockdown.over(stored.lockdown))
            self._site = now, site
        return site

    def count(self) -> int:
        """Number of credentials as of the last commit that changed the list."""
        return self._count

    def mask(self, person: str) -> str:
        """The display mask of a person, "" when there is none."""
        row = self._database.reader.execute("SELECT mask FROM person WHERE id = ?", (person,)).fetchone()
        return str(row[0]) if row else ""

    def watch_again(self) -> None:
        """The file was found whole, or was opened anew: what can not be read from now on is told again."""
        self._damaged = False

    def apply_checkpoint(
        self,
        changes: Iterable[Change],
        *,
        epoch: int,
        seq: int,
        synced_at: float,
        fresh_until: float | None = None,
        full: bool = False,
    ) -> "asyncio.Future[Applied]":
        """Apply a checkpoint whole, cursor included, in one transaction. `full`: what it does not name is deleted.

        Fails with StoreError("version_rollback") when (epoch, seq) is below the stored cursor; nothing is changed.
        """
        held = list(changes)

        def work(conn: Connection) -> Applied:
            applier = Applier(conn, synced_at)
            if (epoch, seq) < applier.cursor():
                raise StoreError("version_rollback", f"checkpoint ({epoch}, {seq}) is older than the stored one")
            applier.apply(held, full=full)
            applier.note({"epoch": epoch, "seq": seq, "synced_at": synced_at, "fresh_until": fresh_until})
            return self._finish(applier, whole=full)

        return self._writer.submit(work, now=True, lone=True)

    def apply_import(
        self,
        changes: Iterable[Change],
        *,
        at: float,
        replace: bool,
        types: Collection[Type] = tuple(Type),
        trusted: bool = False,
        recovered: bool = False,
    ) -> "asyncio.Future[Applied]":
        """Apply an operator's file in one transaction; the cursor stays. `replace`: it is everything of these `types`.

        `at`: Unix seconds; `trusted`: they are surely not too late, so that old tombstones may go. They become the
        list's age when the file is all credentials: it replaces them, or is the first list of a new store.
        `recovered`: an operator's word that this is the whole list after a loss; nothing else local ends a loss.
        """
        held = list(changes)

        def work(conn: Connection) -> Applied:
            applier = Applier(conn, at, local=True, trusted=trusted)
            first = not (count(conn) or applier.lost())
            applier.apply(held, full=replace, types=types)
            if Type.CREDENTIAL in types and (replace or first):
                applier.note({"synced_at": at})
            return self._finish(applier, whole=recovered)

        return self._writer.submit(work, now=True, lone=True)

    def set_lockdown(self, groups: Collection[str], on: bool) -> "asyncio.Future[bool]":  # noqa: FBT001
        """Lock door groups down, or lift it: in force at once. False: not durable yet, a restart would not know it."""
        return self.lockdown.set(groups, on=on)

    def consume(
        self,
        use: Use,
        granted: Event,
        refused: Event,
        *,
        deadline: float | None = None,
    ) -> "asyncio.Future[bool]":
        """Take one use, if there is one, and journal what came of it: one transaction, committed at once.

        True: the use is durably taken, the door may open. `refused` is journaled with the reason that `spent` gives.
        Fails with StoreError when nothing could be stored; never goes to the ring, because a use that is not in the
        database could be taken twice. So does what is reached only after the `deadline` (monotonic seconds), behind a
        long import: nobody waits for that door any more.
        """

        def work(conn: Connection) -> bool:
            if deadline is not None and time.monotonic() > deadline:
                raise StoreError("commit_failed", "too late: the writer was busy, no use was taken")
            won = take(conn, use)
            self._used = True
            event = granted if won else replace(refused, reason=why_spent(conn, use))
            self._journal.write(conn, encode(event), event)
            return won

        return self._writer.submit(work, now=True)

    def spent(self, use: Use) -> Reason:
        """Why a use can not be taken: this very code was shown before, or none is left. Raises StoreError."""
        try:
            return why_spent(self._database.reader, use)
        except sqlite.Error as error:
            raise self._unreadable(error) from None

    async def forget_steps(self, wall: float) -> None:
        """Forget shown steps that no door accepts any more at this trusted time. Raises StoreError."""
        first = int(wall // STEP_S) - STEPS_KEPT

        def work(conn: Connection) -> None:
            conn.execute("DELETE FROM pass_step WHERE step < ?", (first,))

        await self._writer.submit(work, now=True)

    # told by the writer
    def committed(self) -> None:
        """Raise the revision when the last commit changed the list."""
        if self._used:
            self._used = False
            self._takings += 1
        if self._changed:
            self._changed = False
            self._count = self._counted
            self.revision += 1
            self._on_change()

    def reset(self, conn: Connection) -> None:
        """Nothing of the last group was stored."""
        self._changed = self._used = False
        self._count = self._counted = count(conn)
        self.revision += 1  # whatever was read meanwhile is read again

    def _touch(self) -> None:
        self._changed = True

    def _finish(self, applier: Applier, *, whole: bool) -> Applied:
        if whole:
            applier.note({"fault": None, "restored": None})
        self._changed = True
        self._counted = count(applier.conn)
        return applier.report(self.revision + 1)

    def _look(self) -> Connection:
        """Where look-ups read: it stands still between commits that change what they find."""
        return self._database.look((self.revision, self._takings))

    def _unreadable(self, error: Exception) -> StoreError:
        word = fault_word(error, self._database.directory)
        self._database.still.close()  # the next look-up begins anew
        if not self._damaged:
            self._damaged = True
            self._on_damage(f"the allowlist can not be read: {error}")
        return StoreError(word, f"the allowlist can not be read: {error}")


def _uses(conn: Connection, space: int, name: int) -> int:
    row = conn.execute("SELECT uses FROM use_count WHERE space = ? AND id = ?", (space, name)).fetchone()
    return int(row[0]) if row else 0


def count(conn: Connection) -> int:
    """Number of credentials."""
    return int(conn.execute("SELECT count(*) FROM credential").fetchone()[0])


def read_site(conn: Connection) -> SiteData:
    """The site's data in one read transaction."""
    conn.execute("BEGIN")
    try:
        items = conn.execute("SELECT type, id, doc FROM site_item").fetchall()
        lockdown = frozenset(group for (group,) in conn.execute("SELECT door_group FROM lockdown"))
        state = dict(conn.execute("SELECT name, value FROM state").fetchall())
    finally:
        conn.execute("ROLLBACK")
    schedules: dict[str, Schedule] = {}
    blocks: dict[str, float | None] = {}
    holidays = frozenset[object]()
    for kind, name, text in items:
        value = check_item(Type(kind), name, json.loads(text))
        if isinstance(value, Schedule):
            schedules[name] = value
        elif isinstance(value, frozenset):
            holidays |= value
        else:
            blocks[name] = value
    number: Callable[[str], float | None] = lambda name: float(state[name]) if name in state else None  # noqa: E731
    return SiteData(
        MappingProxyType(schedules), holidays, MappingProxyType(blocks), lockdown,  # type: ignore[arg-type]
        number("synced_at"), number("fresh_until"), int(state.get("epoch", 0)), int(state.get("seq", 0)),
        "fault" in state, "restored" in state,
    )  # fmt: skip
