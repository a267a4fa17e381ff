"""Identifiers: a prefix that says the kind, then a ULID (48 bits of Unix milliseconds, 80 random bits)."""

import os
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(a + b for a in _ALPHABET for b in _ALPHABET)


def new_id(prefix: str = "evt_") -> str:
    """A fresh identifier that sorts by the time of its making."""
    n = int(time.time() * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
    return prefix + "".join(_PAIRS[n >> shift & 1023] for shift in range(120, -1, -10))
