"""Fragments of the Lintel lock: a message of up to 512 bytes in writes or notifications of any size.

The first byte of a fragment is its index (bits 0 to 6), bit 7 marks the last one; the rest is data.
"""

from typing import Final

from lintel.edge.errors import BadFrame

MAX_MESSAGE: Final = 512
_LAST: Final = 0x80
_INDEX: Final = 0x7F


def cut(message: bytes, size: int) -> list[bytes]:
    """A message as fragments of at most `size` bytes each, index byte included; `size` is at least 6.

    Raises BadFrame when the message is too long.
    """
    if not 0 < len(message) <= MAX_MESSAGE:
        raise BadFrame("a message of more than 512 bytes")
    parts = [message[at : at + size - 1] for at in range(0, len(message), size - 1)]
    return [bytes([n | (_LAST if n == len(parts) - 1 else 0)]) + part for n, part in enumerate(parts)]


class Assembler:
    """Fragments in, whole messages out. Holds at most one message; a wrong index clears it."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._next = 0

    def feed(self, fragment: bytes) -> bytes | None:
        """The message that this fragment completes, or None. Raises BadFrame; what was held is gone then."""
        if len(fragment) < 2:
            raise self._broken("a fragment without data")
        index = fragment[0] & _INDEX
        if index == 0:
            self._held.clear()
        elif index != self._next:
            raise self._broken("a fragment out of order")
        if len(self._held) + len(fragment) - 1 > MAX_MESSAGE:
            raise self._broken("a message of more than 512 bytes")
        self._held += fragment[1:]
        self._next = index + 1
        if not fragment[0] & _LAST:
            return None
        message = bytes(self._held)
        self._held.clear()
        self._next = 0
        return message

    def _broken(self, what: str) -> BadFrame:
        self._held.clear()
        self._next = 0
        return BadFrame(what)
