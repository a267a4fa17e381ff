"""Identifiers: a prefix that says the kind, then a ULID (48 bits of Unix milliseconds, 80 further bits).

The 80 bits are 40 random ones of this process and a counter of 40 bits that starts at a random place: unique without
asking the system for randomness each time, and no secret.
"""

import itertools
import secrets
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(a + b for a in _ALPHABET for b in _ALPHABET)


def _text(n: int, pairs: int) -> str:
    """The lowest 10 bits times `pairs` of a number in Crockford's base32."""
    return "".join([_PAIRS[n >> shift & 1023] for shift in range(10 * pairs - 10, -1, -10)])


_PROCESS = _text(secrets.randbits(40), 4)
_counter = itertools.count(secrets.randbits(40))


def new_id(prefix: str = "evt_") -> str:
    """A fresh identifier that sorts by the time of its making."""
    return prefix + _text(int(time.time() * 1000), 5) + _PROCESS + _text(next(_counter), 4)
