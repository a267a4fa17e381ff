"""Read the store of a state directory from another process, also while the gateway runs. Nothing is written."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from lintel.edge.errors import StoreError
from lintel.edge.store.connection import fault_word, sqlite
from lintel.edge.store.database import FILE, SCHEMA, Database, open_reader
from lintel.edge.store.files import derive, state_key


@contextlib.contextmanager
def reading(state: Path) -> Iterator[Database]:
    """The database with its reader only. Raises StoreError: there is none, it is newer, it can not be read."""
    path = state / FILE
    if not path.exists():
        raise StoreError("no_store", f"there is no store in {state} (no {FILE}); is --state right?")
    database = open_reader(path, derive(state_key(state), "database"))
    try:
        version = database.reader.execute("PRAGMA user_version").fetchone()[0]
        if version != SCHEMA:
            raise StoreError("schema_newer" if version > SCHEMA else "schema_older", f"{path} has schema {version}")
        yield database
    except sqlite.Error as error:
        raise StoreError(fault_word(error, state), f"{path}: {error}") from None
    finally:
        database.close()
