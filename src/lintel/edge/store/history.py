"""What outlives the rows of a list: deletions, uses, withdrawn consents, lockdown.

How a document carries them to another box and back.
"""

from typing import Any

from lintel.edge.store import fields
from lintel.edge.store.changes import CREDENTIAL_SPACE, PASS_SPACE, Del, Locked, Type, Uses, Why, Withdrawn
from lintel.edge.store.connection import Connection
from lintel.edge.store.fields import WrongField

SECTIONS = ("deleted", "uses", "withdrawn", "lockdown")
"""Sections of a document that say what happened, not what is: a list that replaces sweeps nothing by them."""
DELETED_KEYS = ("type", "id", "rev", "why")
WITHDRAWN_KEYS = ("face", "rev", "id")


def export_history(conn: Connection) -> dict[str, object]:
    """Tombstones but those of a replaced list; uses and withdrawals that no exported row carries; lockdown."""
    graves = conn.execute("SELECT type, id, rev, why FROM tombstone ORDER BY type, id")
    uses = conn.execute(
        "SELECT space, id, uses FROM use_count u WHERE uses > 0"
        " AND NOT (space = 0 AND EXISTS (SELECT 1 FROM credential WHERE key = u.id))"
        " AND NOT (space = 1 AND EXISTS (SELECT 1 FROM visitor_pass WHERE pass_id = u.id))"
    )
    withdrawn = conn.execute(
        "WITH named AS (SELECT key, rev, id FROM withdrawn_id i"
        " WHERE NOT EXISTS (SELECT 1 FROM credential WHERE key = i.key AND id = i.id)"
        " AND NOT EXISTS (SELECT 1 FROM credential WHERE id = i.id AND consent = 1 AND consent_rev > i.rev))"
        " SELECT key, rev, id FROM named UNION ALL SELECT key, rev, NULL FROM withdrawal w"
        " WHERE NOT EXISTS (SELECT 1 FROM credential WHERE key = w.key)"
        " AND NOT EXISTS (SELECT 1 FROM named WHERE key = w.key AND rev = w.rev) ORDER BY 1, 2, 3"
    )
    return {
        "deleted": [dict(zip(DELETED_KEYS, row, strict=True)) for row in graves if row[3] in set(Why)],
        "uses": {_name(space, number): count for space, number, count in uses},
        "withdrawn": [{"face": _hex(key), "rev": rev} | ({"id": name} if name else {}) for key, rev, name in withdrawn],
        "lockdown": [group for (group,) in conn.execute("SELECT door_group FROM lockdown ORDER BY door_group")],
    }


def read_deleted(row: dict[str, Any]) -> Del:
    """A row of `deleted`. Raises WrongField."""
    fields.only_known(row, DELETED_KEYS)
    return Del(
        fields.word(row, "type", tuple(Type)),
        fields.text(row, "id", needed=True),
        fields.whole_number(row, "rev", 1),
        fields.word(row, "why", tuple(Why), Why.DELETED),
    )


def read_uses(name: str, value: object) -> Uses:
    """An entry of `uses`: vp_<number of the pass>, or the first 16 hex digits of a digest. Raises WrongField."""
    count = fields.whole_number({"uses": value}, "uses", 0)
    if count is None:
        raise WrongField("uses", "expected a whole number, 0 or more")
    number = name.removeprefix("vp_")
    if number != name and number.isascii() and number.isdigit() and len(number) < 11 and int(number) < 1 << 32:
        return Uses(PASS_SPACE, int(number), count)
    key = fields.hex_bytes({"name": name}, "name", 8)
    return Uses(CREDENTIAL_SPACE, int.from_bytes(key or b"", "big", signed=True), count)


def read_withdrawn(row: dict[str, Any]) -> Withdrawn:
    """A row of `withdrawn`; `face`: the first 16 hex digits of its digest. Raises WrongField."""
    fields.only_known(row, WITHDRAWN_KEYS)
    key = fields.hex_bytes(row, "face", 8)
    if key is None:
        raise WrongField("face", "expected 16 hex digits")
    rev = fields.whole_number(row, "rev", 0) or 0
    return Withdrawn(int.from_bytes(key, "big", signed=True), rev, fields.text(row, "id"))


def read_group(value: object) -> Locked:
    """An entry of `lockdown`. Raises WrongField."""
    (group,) = fields.door_groups({"groups": [value]})
    return Locked(group)


def _name(space: int, number: int) -> str:
    return f"vp_{number}" if space == PASS_SPACE else _hex(number)


def _hex(key: int) -> str:
    return int(key).to_bytes(8, "big", signed=True).hex()
