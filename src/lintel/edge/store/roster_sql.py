"""The questions that `roster` asks: who is to be sent to a terminal, who is to be deleted there, and how it stands.

`:blind` and `:old` are those of `Sight`. What `{wanted}` says depends on the door groups of the terminal's door.
"""

from dataclasses import dataclass
from typing import Final

from lintel.edge.model import Status
from lintel.edge.persons import State
from lintel.edge.store.changes import STATUSES
from lintel.edge.store.consents import GRANTED
from lintel.edge.store.faces import METHOD, REVOKED

_ACTIVE = STATUSES.index(Status.ACTIVE)
ENDLESS: Final = 9e98
"""After the end of every block that has one."""
_AHEAD = 86_400.0
"""No retry waits so long: one that does was reckoned by a clock that was ahead (s)."""
_DUE = f"(r.due <= :now OR r.due BETWEEN :now + {_AHEAD} AND 8e12)"
_NEXT = f"CASE WHEN {_DUE} THEN min(r.due, :now) ELSE r.due END"
_BLOCKED = (
    "EXISTS (SELECT 1 FROM site_item b WHERE b.type = 'block'"
    " AND b.id IN (c.person, coalesce(c.id, lower(printf('%016x', c.key) || hex(c.tail))))"
    " AND coalesce(json_extract(b.doc, '$.until'), 9e99) > :ends)"
)
_WANTED = (
    f"(f.key IS NOT NULL AND c.method = {METHOD} AND c.status = {_ACTIVE} AND c.consent = {GRANTED}"
    " AND (:blind OR (coalesce(c.valid_to, 9e99) > :now AND coalesce(c.valid_from, 0) <= :now + :lead))"
    f" AND ({{groups}}) AND NOT {_BLOCKED})"
)
_HEX = "lower(printf('%016x', r.key))"
_ENDED = (
    f"(c.status IS {REVOKED} OR r.key IN (SELECT key FROM withdrawal) OR (c.key IS NULL AND EXISTS (SELECT 1"  # noqa: S608
    f" FROM tombstone t WHERE t.type = 'credential' AND t.id BETWEEN {_HEX} AND {_HEX} || 'g'"
    " AND t.why IN ('revoked', 'erased'))))"
)
"""What no list that is merely newer takes back: all that an older one may be believed. Where a credential stands, it
came after whatever tombstone its digest still has."""
_LEAVES = f"(CASE WHEN :old THEN {_ENDED} ELSE NOT coalesce({{wanted}}, 0) END)"
_MAY_BE = "(r.held OR r.state NOT IN (:pending, :failed))"
"""Whether the terminal may hold the person: a row alone is also of one who was never sent, for want of a photo."""
_DIFFERS = "(r.mark IS NOT f.mark OR (:timed AND (r.valid_from IS NOT c.valid_from OR r.valid_to IS NOT c.valid_to)))"
# CROSS JOIN keeps this order: all three are read along their keys
_ALL = (
    " FROM face f CROSS JOIN credential c ON c.key = f.key LEFT JOIN roster r ON r.device = :device AND r.key = f.key"
    " WHERE {wanted}"
)
_THERE = (
    " FROM roster r LEFT JOIN face f ON f.key = r.key LEFT JOIN credential c ON c.key = r.key WHERE r.device = :device"
)
PUT: Final = (
    "SELECT f.key, f.name, f.shown, c.valid_from, c.valid_to, f.mark, f.photo, f.seal, coalesce(r.held, 0),"
    f" coalesce(r.tries, 0), coalesce(NOT {_DIFFERS}, 0), coalesce(r.state, 0){_ALL} AND f.key > :after"
    " AND (NOT :blind OR (c.valid_from IS NULL AND c.valid_to IS NULL))"
    f" AND (r.key IS NULL OR r.state IN (:pending, :deleting) OR (r.state = :stored AND {_DIFFERS})"
    f" OR (r.state = :failed AND ({_DIFFERS} OR {_DUE}))) ORDER BY f.key LIMIT :limit"
)
DROP: Final = (
    f"SELECT r.key, r.name, r.state, r.held, r.tries{_THERE} AND r.key > :after"
    f" AND (r.state <> :deleting OR {_DUE}) AND {_LEAVES} ORDER BY r.key LIMIT :limit"
)
COUNTS: Final = (
    f"SELECT count(*), total(r.state = :stored AND NOT {_DIFFERS}), total(r.state = :sent),"
    f" total(r.state = :failed AND NOT {_DIFFERS}), min(CASE WHEN NOT :blind THEN c.valid_to END),"
    f" min(CASE WHEN r.state = :failed AND NOT {_DIFFERS} THEN {_NEXT} END){_ALL}"
)
LEAVING: Final = (
    "SELECT total(leaves), min(CASE WHEN leaves THEN next END), min(CASE WHEN leaves THEN since END),"  # noqa: S608
    " total(leaves AND (since <= :now - :limit OR (state = :deleting AND tries >= :stubborn))),"
    " total(CASE WHEN leaves THEN since IS NULL OR since > :now ELSE since IS NOT NULL END)"
    f" FROM (SELECT {_MAY_BE} AND {_LEAVES} leaves, {_NEXT} next, r.since, r.state, r.tries{_THERE})"
    " WHERE leaves OR since IS NOT NULL"  # first: they are few, and the rest of a row need not be looked at
)
UNMARKED: Final = (
    f"SELECT key, leaves FROM (SELECT r.key, {_MAY_BE} AND {_LEAVES} leaves, r.since{_THERE})"  # noqa: S608
    " WHERE CASE WHEN leaves THEN since IS NULL OR since > :now ELSE since IS NOT NULL END"
)
ELSEWHERE: Final = f"SELECT r.device, count(*) FROM roster r WHERE {_MAY_BE} GROUP BY r.device"  # noqa: S608
TO_COME: Final = (
    f"SELECT min(c.valid_from - :lead) FROM credential c WHERE NOT :blind AND c.method = {METHOD}"  # noqa: S608
    " AND c.valid_from > :now + :lead"
)
BLOCKS_END: Final = (
    "SELECT min(json_extract(doc, '$.until')) FROM site_item WHERE NOT :blind AND type = 'block'"
    " AND json_extract(doc, '$.until') > :now"
)
PERSONS: Final = (
    "SELECT name, state, class, code, said, tries, due FROM (SELECT f.key k, f.name,"  # noqa: S608  our constants
    f" CASE WHEN r.key IS NULL OR r.state = :deleting OR (r.state IN (:stored, :failed) AND {_DIFFERS})"
    " THEN :pending ELSE r.state END state, coalesce(r.class, '') class, coalesce(r.code, '') code,"
    f" coalesce(r.said, '') said, coalesce(r.tries, 0) tries, coalesce(r.due, 0) due{_ALL}"
    " UNION ALL SELECT r.key, r.name, :deleting, r.class, r.code, r.said, r.tries, r.due"
    f"{_THERE} AND {_MAY_BE} AND {_LEAVES}) WHERE (:name = '' OR name = :name)"
    " AND (NOT :only_failed OR state = :failed OR (state = :deleting AND tries > 0)) ORDER BY k LIMIT :limit"
)
OURS: Final = (
    "SELECT f.key IS NULL FROM credential c LEFT JOIN face f ON f.key = c.key WHERE c.key = :key AND c.tail = :tail"  # noqa: S608
    f" AND c.method = {METHOD} UNION ALL SELECT 0 FROM withdrawal WHERE key = :key"
    " UNION ALL SELECT 0 FROM tombstone WHERE type = 'credential' AND id = :plain"
)
CARRY: Final = (
    "INSERT INTO main.roster SELECT device, key, name, "  # noqa: S608
    f"{int(State.PENDING)}, 1, NULL, NULL, NULL, '', '', '', 0, 0.0, since FROM live.roster"
)
"""Into a snapshot: who may be on which terminal, and since when they are to be deleted there. When it is opened nobody
knows what was sent or deleted after it, so that nothing is *stored*: whoever is wanted is sent again."""
INTO: Final = (
    "INSERT INTO roster VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL) ON CONFLICT (device, key) DO UPDATE SET"
    " state = excluded.state, held = excluded.held, mark = excluded.mark, valid_from = excluded.valid_from,"
    " valid_to = excluded.valid_to, class = excluded.class, code = excluded.code, said = excluded.said,"
    " tries = excluded.tries, due = excluded.due, since = NULL"
)
SET: Final = (
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
class Sight:
    """How far what is known may be acted on.

    `blind`: it is not known what time it is. Then nobody is deleted because of a validity, or of a block that ends some
    time, and nobody is sent who has either. `old`: the allowlist is an older one. Then only those are deleted who were
    revoked, erased or have withdrawn their consent: somebody whom it lacks may have come since.
    """

    blind: bool = False
    old: bool = False


CLEAR: Final = Sight()
STATES: Final = {s.name.lower(): int(s) for s in State}
"""The states by the names that the questions call them."""


def sql(place: Place, text: str) -> str:
    """A question about one place."""
    groups = " OR ".join(f"instr(' ' || c.groups || ' ', ' ' || :g{n} || ' ')" for n in range(len(place.groups)))
    return text.replace("{wanted}", _WANTED.replace("{groups}", groups or "0"))


def values(place: Place, now: float, sight: Sight) -> dict[str, object]:
    """What stands for the names in it. `ends`: a block that ends before is over, or may be."""
    named = {f"g{n}": group for n, group in enumerate(place.groups)}
    return {
        "device": place.device, "now": now, "ends": ENDLESS if sight.blind else now, "lead": place.lead,
        "timed": place.timed, "blind": sight.blind, "old": sight.old, **STATES, **named,
    }  # fmt: skip
