"""Uses are taken with one conditional statement each: of two that race, the second finds nothing left."""

from lintel.edge.model import Direction, Reason
from lintel.edge.store.changes import CREDENTIAL_SPACE, PASS_SPACE, CountedUse, PassUse, StepUse
from lintel.edge.store.connection import Connection

STEPS_KEPT = 20
"""Shown steps of rotating passes are remembered for 20 x 30 s; a code is accepted for three steps at most."""
_WAYS = {Direction.IN: 0, Direction.OUT: 1}
Use = CountedUse | PassUse | StepUse


def split_digest(digest: bytes) -> tuple[int, bytes]:
    """(key, tail) under which a 16-byte digest is stored."""
    return int.from_bytes(digest[:8], "big", signed=True), digest[8:]


def take(conn: Connection, use: Use) -> bool:
    """Whether one use was left, and is taken now."""
    if isinstance(use, CountedUse):
        key, tail = split_digest(use.digest)
        return _count(conn, CREDENTIAL_SPACE, key, conn.execute(
            "SELECT coalesce(use_limit, 1 << 62) FROM credential WHERE key = ? AND tail = ? AND status = 0", (key, tail)
        ).fetchone())  # fmt: skip
    if isinstance(use, PassUse):
        return _count(conn, PASS_SPACE, use.pass_id, (use.limit,))
    way = _WAYS[use.direction]
    conn.execute("DELETE FROM pass_step WHERE pass_id = ? AND step < ?", (use.pass_id, use.step - STEPS_KEPT))
    done = conn.execute("INSERT OR IGNORE INTO pass_step VALUES (?, ?, ?)", (use.pass_id, use.step, way))
    if done.rowcount != 1:
        return False
    if use.limit is None or _count(conn, PASS_SPACE, use.pass_id, (use.limit,)):
        return True
    conn.execute("DELETE FROM pass_step WHERE pass_id = ? AND step = ? AND direction = ?", (use.pass_id, use.step, way))
    return False  # for want of a use: the step was not shown


def why_spent(conn: Connection, use: Use) -> Reason:
    """`replayed` for a code of a rotating pass that was shown, else `already_used`."""
    shown = (
        isinstance(use, StepUse)
        and conn.execute(
            "SELECT 1 FROM pass_step WHERE pass_id = ? AND step = ? AND direction = ?",
            (use.pass_id, use.step, _WAYS[use.direction]),
        ).fetchone()
    )
    return Reason.REPLAYED if shown else Reason.ALREADY_USED


def _count(conn: Connection, space: int, name: int, limit: tuple[int] | None) -> bool:
    if limit is None or limit[0] < 1:
        return False
    done = conn.execute(
        "INSERT INTO use_count (space, id, uses) VALUES (?, ?, 1)"
        " ON CONFLICT (space, id) DO UPDATE SET uses = uses + 1 WHERE uses < ?",
        (space, name, limit[0]),
    )
    return bool(done.rowcount == 1)
