"""The store: the only SQL of the gateway. `Store` is what the daemon opens; everything else is reached through it."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import Any

from lintel.edge.digests import Digester
from lintel.edge.errors import Mistake, StoreError
from lintel.edge.model import ClockState, Instant, Notice
from lintel.edge.store import transfer
from lintel.edge.store.allowlist import Allowlist
from lintel.edge.store.care import Care
from lintel.edge.store.changes import (
    Applied,
    Change,
    CountedUse,
    CredentialPut,
    Del,
    ItemPut,
    PassPut,
    PassRow,
    PassUse,
    SiteData,
    StepUse,
    Type,
)
from lintel.edge.store.connection import fault_word, sqlite
from lintel.edge.store.database import Database, open_database
from lintel.edge.store.faces import Faces
from lintel.edge.store.files import atomic_write, derive, state_key, state_lock
from lintel.edge.store.journal import Journal
from lintel.edge.store.keys import DeviceKeys
from lintel.edge.store.recovery import open_or_recover
from lintel.edge.store.retention import Retention, pressed
from lintel.edge.store.ring import RING_FILE, Ring
from lintel.edge.store.roster import Roster
from lintel.edge.store.writer import Writer

__all__ = [
    "Allowlist",
    "Applied",
    "Change",
    "CountedUse",
    "CredentialPut",
    "Database",
    "Del",
    "ItemPut",
    "Journal",
    "PassPut",
    "PassRow",
    "PassUse",
    "SiteData",
    "StepUse",
    "Store",
    "StoreError",
    "Type",
    "Writer",
    "atomic_write",
    "derive",
    "import_audit",
    "open_database",
    "state_key",
    "state_lock",
]


def import_audit(params: Mapping[str, Any], answer: Mapping[str, Any]) -> tuple[str, str]:
    """Result and detail of the audit row about an import."""
    counts = f"put {answer['put']}, deleted {answer['deleted']}, mistakes {len(answer['mistakes'])}"
    if params.get("recovered"):
        counts += ", called the whole list after a loss"
    return "applied" if answer["put"] or answer["deleted"] else "unchanged", counts


class Store:
    """The opened store: `allowlist`, `journal`, `keys`, `faces`, `roster`, `writer`.

    `notices`: what was found while opening.
    """

    def __init__(
        self,
        database: Database,
        *,
        on_notice: Callable[[Notice, str], None],
        loop: asyncio.AbstractEventLoop,
        notices: list[tuple[Notice, str]],
    ) -> None:
        self.database = database
        self._on_notice = on_notice
        self._loop = loop
        self._opening: int | None = threading.get_ident()
        self.notices = list(notices)
        self.writer = Writer(database, loop, self._fault)
        self.journal = Journal(database, self.writer, loop=loop, on_notice=self._found)
        self.allowlist = Allowlist(
            database, self.writer, self.journal,
            on_change=self._changed, on_damage=partial(self._found, Notice.DB_DAMAGED),
        )  # fmt: skip
        self.keys = DeviceKeys(database, self.writer, self._changed)
        self.faces = Faces(database, self.writer)
        self.care = Care(database, self.writer, loop, self._found, self.allowlist.watch_again)
        self.roster = Roster(database, self.writer, self.care.later)
        self.retention = Retention(self.journal)
        self._held = False
        drained = database.reader.execute("SELECT value FROM state WHERE name = 'ring'").fetchone()
        self.ring = Ring(
            database.directory / RING_FILE, derive(database.key, "ring"), self.journal.replay,
            drained=int(drained[0]) if drained else 0, on_lost=self._lost,
        )  # fmt: skip
        self.writer.start([self.journal, self.allowlist], self.ring)
        self._remind()
        self._opening = None

    @classmethod
    def open(
        cls,
        directory: Path,
        key: bytes,
        *,
        on_notice: Callable[[Notice, str], None] = lambda _notice, _detail: None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> "Store":
        """Open the store in a state directory whose lock the caller holds. `key`: the state key.

        `on_notice(notice, detail)` runs on the loop when storing fails, and with (COMMIT_FAILED, "over") when it works
        again. Raises StoreError when no store can be opened safely (`schema_newer`, `library_refused`, ...).
        """
        database, notices = open_or_recover(directory, derive(key, "database"))
        try:
            return cls(database, on_notice=on_notice, loop=loop or asyncio.get_running_loop(), notices=notices)
        except sqlite.Error as error:
            database.close()
            raise StoreError(fault_word(error, directory), f"the store can not be read: {error}") from None

    async def tend(self, now: Instant | None = None, *, uplink: bool = False) -> None:
        """Housekeeping; call it now and then. Raises StoreError.

        A snapshot when one is due and a whole check once a day; with `now`, retention of the journal and of shown
        steps. `uplink`: a cloud listens, so that what it has not acknowledged stays.
        """
        if now is not None and not self.writer.fault:
            if now.state is ClockState.SYNCED:
                await self.allowlist.forget_steps(now.wall)
            tight = await self.writer.submit(partial(pressed, self.database.directory), now=True)
            done = await self.retention.prune(now, uplink=uplink, pressed=tight)
            if done.ahead and not self._held:
                said = f"retention: the clock is {done.ahead / 86400:.0f} days ahead; what it calls old is kept for now"
                self._found(Notice.MASS_CHANGE_HELD, said)
            self._held = bool(done.ahead)
        await self.care.tend()

    async def import_rows(
        self,
        params: Mapping[str, Any],
        digest: Digester,
        zone: tzinfo | None,
        *,
        at: float | None = None,
        trusted: bool = False,
    ) -> dict[str, Any]:
        """Apply an import file: {"text", "form": "csv" or "json", "partial", "replace", "recovered"}.

        Answers with the counts and every mistake as [where, expected]. With mistakes nothing is applied unless
        `partial`, and never a whole list: people whose row is wrong would be deleted by it. `replace` deletes only
        what the file could have named: a CSV credentials, JSON what its sections are of. `recovered`: with `replace`,
        the operator's word that this is the whole list after a loss.

        `at`: now, Unix seconds; `trusted`: the clock that says so is synced. Without it the system clock is taken,
        but never a time before the newest event.
        """
        changes, mistakes, types = await asyncio.to_thread(
            transfer.parse_whole, str(params["text"]), str(params["form"]), digest, zone
        )
        recovered = bool(params.get("recovered"))
        if recovered and not (params.get("replace") and Type.CREDENTIAL in types):
            mistakes = [*mistakes, Mistake("--recovered", "expected --replace and a file with credentials")]
        if mistakes and (not params.get("partial") or params.get("replace") or recovered):
            applied = Applied(0, 0, 0, self.allowlist.revision)
        else:
            at = at if at is not None else max(time.time(), self.journal.newest_ts() / 1000)
            applied = await self.allowlist.apply_import(
                changes, at=at, replace=bool(params.get("replace")), types=types, trusted=trusted, recovered=recovered
            )
        return {
            "put": applied.put, "deleted": applied.deleted, "kept": applied.kept, "revision": applied.revision,
            "mistakes": [[m.where, m.expected] for m in mistakes] + [list(e) for e in applied.errors],
        }  # fmt: skip

    async def close(self) -> None:
        """Commit what is pending and close. No look-up after it."""
        self.database.still.close()  # else the last check-point could not empty the log
        await self.roster.close()
        await self.writer.close()
        await self.care.close()
        self.journal.close()
        self.ring.close()
        self.database.close()

    def _remind(self) -> None:
        """A loss stands until a whole list ends it, also after another start."""
        with contextlib.suppress(StoreError):  # an unreadable list says so at every look-up
            site, said = self.allowlist.site(), {notice for notice, _ in self.notices}
            if site.fault and Notice.DB_DAMAGED not in said:
                self.notices.append((Notice.DB_DAMAGED, "the list was lost earlier and no whole one came since"))
            if site.restored and Notice.DB_RESTORED not in said:
                self.notices.append((Notice.DB_RESTORED, "the list is an older one and no whole one came since"))

    def _found(self, notice: Notice, detail: str) -> None:
        """While opening: for whoever opens. Later, as when a disk came back: told as it comes."""
        if threading.get_ident() == self._opening:
            self.notices.append((notice, detail))
        else:
            self._loop.call_soon_threadsafe(self._on_notice, notice, detail)

    def _changed(self) -> None:
        self._loop.call_soon_threadsafe(self.care.changed)

    def _lost(self, count: int) -> None:
        said = f"{count} events in the emergency ring could not be read"
        self._loop.call_soon_threadsafe(self._on_notice, Notice.GAP, said)

    def _fault(self, word: str, detail: str) -> None:
        if word:
            notice = Notice(word) if word in set(Notice) else Notice.COMMIT_FAILED
            self._on_notice(notice, detail)
        else:
            self._on_notice(Notice.COMMIT_FAILED, "over")
            self.allowlist.watch_again()
            if self.allowlist.lockdown.waiting():
                self.allowlist.lockdown.store()
