"""The store: the only SQL of the gateway. `Store` is what the daemon opens; everything else is reached through it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from lintel.edge.errors import StoreError
from lintel.edge.model import Notice
from lintel.edge.store.allowlist import Allowlist
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
from lintel.edge.store.database import FILE, Database, atomic_write, derive, open_database, state_key, state_lock
from lintel.edge.store.journal import Journal
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
    "open_database",
    "state_key",
    "state_lock",
]


class Store:
    """The opened store: `allowlist`, `journal`, `writer`, and `notices`, what was found while opening."""

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
        self.writer = Writer(database, loop, self._fault)
        self.journal = Journal(database, self.writer, loop=loop)
        self.allowlist = Allowlist(database, self.writer, self.journal)
        self.writer.start([self.journal, self.allowlist], None)
        self.notices = [*notices, *self.journal.notices]

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
        database = open_database(directory / FILE, derive(key, "database"))
        return cls(database, on_notice=on_notice, loop=loop or asyncio.get_running_loop(), notices=[])

    async def close(self) -> None:
        """Commit what is pending and close. No look-up after it."""
        await self.writer.close()
        self.database.close()

    def _fault(self, word: str, detail: str) -> None:
        if word:
            notice = Notice(word) if word in set(Notice) else Notice.COMMIT_FAILED
            self._on_notice(notice, detail)
        else:
            self._on_notice(Notice.COMMIT_FAILED, "over")
