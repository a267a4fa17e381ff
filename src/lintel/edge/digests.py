"""The one form of a credential value, and its keyed digest: what the allowlist holds instead of the value."""

import hashlib

from lintel.edge.model import Method

MAX_CREDENTIAL = 128
"""Longest credential value in bytes: a signed pass is 122 characters, terminals store fewer than 128."""

_OPAQUE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:")
_BASE45 = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 $%*+-./:")


def credential_bytes(method: Method, value: str | bytes) -> bytes:
    """The one form of a credential value that is digested, the same for readers and for imports.

    1 to 128 characters: base45 for a visitor pass (a token may begin or end with a space), else letters, digits and
    `- _ . :`, checked on bytes before any look-up. Card numbers and plates lose their case, nothing else is changed.
    Raises ValueError without quoting the value.
    """
    raw = value if isinstance(value, bytes) else value.encode("ascii") if value.isascii() else b""
    alphabet = _BASE45 if method is Method.PASS else _OPAQUE
    if not 1 <= len(raw) <= MAX_CREDENTIAL or not alphabet.issuperset(raw):
        raise ValueError("1 to 128 letters, digits and - _ . : (a visitor pass: base45)")
    return raw.upper() if method in (Method.CARD, Method.PLATE) else raw


class Digester:
    """Keyed digest of credential values: what the allowlist is searched by. The values themselves are never kept."""

    __slots__ = ("_keyed",)

    def __init__(self, key: bytes) -> None:
        self._keyed = {m: hashlib.blake2b(key=key, digest_size=16, person=m.encode()) for m in Method}

    def __call__(self, method: Method, value: str | bytes) -> bytes:
        """16-byte digest of a well-formed value; raises ValueError as `credential_bytes` does."""
        h = self._keyed[method].copy()
        h.update(credential_bytes(method, value))
        return h.digest()
