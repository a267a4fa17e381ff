"""Under which names the things of an allowlist stand: their own ids, or what they are called without one."""

from lintel.edge.store.changes import CredentialPut, PassPut, Put, Type


def pass_name(pass_id: int) -> str:
    """The id of a visitor pass that came without one; the same as in `model.Credential.id`."""
    return f"vp_{pass_id}"


def names_of(put: Put) -> tuple[tuple[str, str], tuple[str, str]]:
    """(type, name) of its own, and without an id."""
    if isinstance(put, CredentialPut):
        kind, plain = str(Type.CREDENTIAL), put.digest.hex()
    elif isinstance(put, PassPut):
        kind, plain = str(Type.VISITOR_PASS), pass_name(put.pass_id)
    else:
        kind, plain = str(put.type), put.id
    return (kind, put.id or plain), (kind, plain)


def _digest_key(name: str) -> int:
    """The key of a credential without an id; -1 (never a digest's hex) finds nothing useful for other names."""
    try:
        return int.from_bytes(bytes.fromhex(name)[:8], "big", signed=True) if len(name) == 32 else -1
    except ValueError:
        return -1


def stored_sql(kind: Type, name: str) -> tuple[str, tuple[object, ...]]:
    """The question for (revision, name without an id, status) of what stands under a name."""
    if kind is Type.CREDENTIAL:
        return (
            "SELECT rev, lower(printf('%016x', key) || hex(tail)), status FROM credential"  # noqa: ISC004
            " WHERE id = ? OR (key = ? AND id IS NULL)",
            (name, _digest_key(name)),
        )
    if kind is Type.VISITOR_PASS:
        return "SELECT rev, 'vp_' || pass_id, status FROM visitor_pass WHERE id = ?", (name,)
    return "SELECT rev, id, 0 FROM site_item WHERE type = ? AND id = ?", (str(kind), name)


def remove(kind: Type, name: str) -> tuple[str, tuple[object, ...]]:
    """The statement that deletes what stands under a name."""
    if kind is Type.CREDENTIAL:
        return "DELETE FROM credential WHERE id = ? OR (key = ? AND id IS NULL)", (name, _digest_key(name))
    if kind is Type.VISITOR_PASS:
        return "DELETE FROM visitor_pass WHERE id = ?", (name,)
    return "DELETE FROM site_item WHERE type = ? AND id = ?", (str(kind), name)
