"""The schema, step by step. A step is never edited once released: add the next one and raise `database.SCHEMA`.

Read from top to bottom this is the schema. Each step runs in one transaction together with its version number, so
a power cut leaves the old schema or the new one.
"""

from collections.abc import Callable

from lintel.edge.store.bare import sqlite_utils
from lintel.edge.store.connection import Connection


def _first(db: sqlite_utils.Database) -> None:
    """Everything a gateway keeps."""
    # `key` is the first 8 bytes of the credential's 16-byte digest (signed), `tail` the other 8: one b-tree, no index.
    # `id` is empty where it is only the digest again (local imports). kind, method, status: places in their enums.
    db.table("credential").create(
        {
            "key": int, "tail": bytes, "id": str, "person": str, "kind": int, "method": int, "status": int,
            "groups": str, "valid_from": float, "valid_to": float, "schedule": str, "use_limit": int,
            "duress": int, "rev": int,
        },
        pk="key", not_null={"tail", "person", "kind", "method", "status", "groups", "schedule", "duress", "rev"},
        strict=True,
    )  # fmt: skip
    db.execute("CREATE UNIQUE INDEX credential_id ON credential(id) WHERE id IS NOT NULL")
    db.table("person").create({"id": str, "mask": str, "rev": int}, pk="id", not_null={"mask", "rev"}, strict=True)
    db.table("visitor_pass").create(
        {
            "pass_id": int, "id": str, "status": int, "secret": bytes, "groups": str, "valid_from": float,
            "valid_to": float, "use_limit": int, "person": str, "rev": int,
        },
        pk="pass_id", not_null={"id", "status", "groups", "person", "rev"}, strict=True,
    )  # fmt: skip
    db.execute("CREATE UNIQUE INDEX visitor_pass_id ON visitor_pass(id)")
    # schedules, holiday sets and blocks as the JSON they came in, validated before they are stored
    db.table("site_item").create(
        {"type": str, "id": str, "rev": int, "doc": str}, pk=("type", "id"), not_null={"rev", "doc"}, strict=True
    )
    db.table("tombstone").create(
        {"type": str, "id": str, "rev": int, "why": str, "at": float},
        pk=("type", "id"), not_null={"rev", "why", "at"}, strict=True,
    )  # fmt: skip
    # uses only grow, whatever happens to the row they belong to; space 0: credential key, 1: pass id
    db.table("use_count").create(
        {"space": int, "id": int, "uses": int, "until": float}, pk=("space", "id"), not_null={"uses"}, strict=True
    )
    db.table("pass_step").create(
        {"pass_id": int, "step": int, "direction": int}, pk=("pass_id", "step", "direction"), strict=True
    )
    db.table("lockdown").create({"door_group": str}, pk="door_group", strict=True)
    db.table("state").create({"name": str, "value": str}, pk="name", not_null={"value"}, strict=True)
    # place = stream << 56 | epoch << 40 | seq: the journal is one b-tree in order, without an index
    db.table("journal").create(
        {"place": int, "body": bytes, "hash": bytes}, pk="place", not_null={"body", "hash"}, strict=True
    )
    db.table("stream").create(
        {"stream": int, "epoch": int, "floor": int, "floor_hash": bytes, "acked": int, "recorded": int, "seal": bytes},
        pk="stream", not_null={"epoch", "floor", "floor_hash", "acked", "recorded", "seal"}, strict=True,
    )  # fmt: skip
    # which device records the journal already holds up to `stream.recorded`; what came later is read from the journal
    db.table("device_record").create(
        {"n": int, "device": int, "mark": int, "place": int},
        pk="n", not_null={"device", "mark", "place"}, strict=True,
    )  # fmt: skip


def _second(db: sqlite_utils.Database) -> None:
    """The keys that were agreed with readers and locks."""
    db.table("device_key").create(
        {"device": str, "name": str, "secret": bytes}, pk=("device", "name"), not_null={"secret"}, strict=True
    )


def _third(db: sqlite_utils.Database) -> None:
    """Faces that may be put on terminals, and what each terminal is known to hold."""
    # 0: none is known, 1: granted, 2: withdrawn
    db.execute("ALTER TABLE credential ADD COLUMN consent INTEGER NOT NULL DEFAULT 0")
    # `name`: the person's id on terminals; `photo` is the file of the sealed photo, `seal` its key, `print` its digest;
    # `mark` changes with the photo and with what the terminal shows. Gone with its credential, and never without one.
    db.execute(
        "CREATE TABLE face (key INTEGER PRIMARY KEY REFERENCES credential(key) ON DELETE CASCADE, name TEXT NOT NULL,"
        " shown TEXT NOT NULL, photo TEXT, seal BLOB, print BLOB, mark INTEGER NOT NULL) STRICT"
    )
    # what was last sent of a person to a device, and what became of it: see `store.roster`
    db.execute(
        "CREATE TABLE roster (device TEXT NOT NULL, key INTEGER NOT NULL, name TEXT NOT NULL, state INTEGER NOT NULL,"
        " held INTEGER NOT NULL, mark INTEGER, valid_from REAL, valid_to REAL, class TEXT NOT NULL, code TEXT NOT NULL,"
        " said TEXT NOT NULL, tries INTEGER NOT NULL, due REAL NOT NULL, PRIMARY KEY (device, key)) STRICT,"
        " WITHOUT ROWID"
    )


def _fourth(db: sqlite_utils.Database) -> None:
    """What became of consents, whatever becomes of their rows; and since when persons are to be deleted."""
    # the revision of the last grant: at most that of its row, and nothing older than the row was heard until now
    db.execute("ALTER TABLE credential ADD COLUMN consent_rev INTEGER NOT NULL DEFAULT 0")
    db.execute("UPDATE credential SET consent_rev = rev WHERE consent = 1")
    # consents that were taken back; see `store.consents`
    db.execute("CREATE TABLE withdrawn_id (id TEXT PRIMARY KEY, key INTEGER NOT NULL, rev INTEGER NOT NULL) STRICT")
    if "withdrawal" in db.table_names():  # the third step had one while it was being made, and `since`
        db.execute("INSERT OR IGNORE INTO withdrawn_id SELECT id, key, rev FROM withdrawal WHERE id > '' ORDER BY -rev")
        db.execute("ALTER TABLE withdrawal DROP COLUMN id")
    else:
        db.execute("CREATE TABLE withdrawal (key INTEGER PRIMARY KEY, rev INTEGER NOT NULL) STRICT")
        db.execute("INSERT INTO withdrawal SELECT key, rev FROM credential WHERE consent = 2")
        db.execute("INSERT INTO withdrawn_id SELECT id, key, rev FROM credential WHERE consent = 2 AND id > ''")
    if "since" not in db.table("roster").columns_dict:
        # from when on the person was to be deleted there, Unix seconds
        db.execute("ALTER TABLE roster ADD COLUMN since REAL")


STEPS: tuple[Callable[[sqlite_utils.Database], None], ...] = (_first, _second, _third, _fourth)


def migrate(conn: Connection, version: int, to: int) -> None:
    """Run the steps after `version` up to `to`; each is one transaction and may be interrupted at any point."""
    db = sqlite_utils.Database(conn, recursive_triggers=False, execute_plugins=False)
    for number in range(version + 1, to + 1):
        conn.execute("BEGIN IMMEDIATE")
        try:
            STEPS[number - 1](db)
            conn.execute(f"PRAGMA user_version = {number}")  # pragmas take no bound parameters
            conn.execute("COMMIT")
        except BaseException:
            if conn.in_transaction:
                conn.execute("ROLLBACK")
            raise
