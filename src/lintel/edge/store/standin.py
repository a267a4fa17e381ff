"""What stands in for the store while that can not be opened: a database in memory, with a key that nobody keeps.

Nobody is known in it, and it says so: every presentation is a `storage_fault`. It is there so that a gateway whose disk
is gone still runs its exit buttons and fire inputs, and has somewhere to note what happened until the store is back.
"""

import asyncio
import contextlib
import logging
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from lintel.edge.errors import StoreError
from lintel.edge.model import Event, Notice, Stream
from lintel.edge.store import Store
from lintel.edge.store.connection import sqlite
from lintel.edge.store.database import FILE, create_database
from lintel.edge.store.files import KEY_BYTES, derive, state_key

log = logging.getLogger(__name__)

KEPT: Final = 10_000
"""Events of a stream that are carried over into the store."""


@contextlib.contextmanager
def place() -> Iterator[Path]:
    """A folder in memory where there is one, else among the temporary files; gone afterwards. Raises OSError."""
    memory = Path("/dev/shm")  # noqa: S108  mkdtemp makes a directory of our own there, mode 0700
    folder = Path(tempfile.mkdtemp(prefix="lintel-", dir=memory if memory.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def open_in(folder: Path, on_notice: Callable[[Notice, str], None], why: str) -> tuple[Store, bytes]:
    """The stand-in and its key. Raises StoreError where not even that can be made."""
    key = secrets.token_bytes(KEY_BYTES)
    try:
        create_database(folder / FILE, derive(key, "database"), fault=True)
    except (OSError, sqlite.Error) as error:
        raise StoreError("storage_read_only", f"there is no store, and none can stand in for it: {error}") from None
    store = Store.open(folder, key, on_notice=on_notice)
    store.notices = [(Notice.COMMIT_FAILED, f"no store: {why}")]
    return store, key


def events(store: Store) -> list[Event]:
    """What a stand-in was told, without what only counts: to be stored when there is a store."""
    return [row.event for s in Stream if s is not Stream.TELEMETRY for row in list(store.journal.export(s))[-KEPT:]]


def found(directory: Path) -> list[tuple[Notice, str]] | None:
    """None while the store can not be opened; else what there is to tell of it, such as that it had to be restored.

    Opens it whole and closes it again, so it is not for the loop's own thread. Raises what no disk explains.
    """

    async def attempt() -> list[tuple[Notice, str]]:
        store = Store.open(directory, state_key(directory))
        await store.close()
        return store.notices

    try:
        return asyncio.run(attempt())
    except (StoreError, OSError) as error:
        log.info("there is no store yet: %s", error)
        return None
