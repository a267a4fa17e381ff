"""Keys of a keypad become a PIN: ended by #, cleared by *, forgotten after 5 s without a key. Pure."""

from typing import Final

END, CLEAR = 0x0D, 0x7F
BETWEEN_S: Final = 5.0
"""Longest pause between two keys."""
MAX_DIGITS: Final = 16

_DIGITS: Final = frozenset(b"0123456789")


class Pad:
    """The keys pressed so far at one reader. They are a secret: `repr` shows none."""

    __slots__ = ("_bad", "_digits", "_last")

    def __init__(self) -> None:
        self._digits = b""
        self._bad = False
        self._last = 0.0

    def press(self, keys: bytes, now: float) -> list[bytes | None]:
        """The PINs that these keys complete; None for one with a foreign key or more than 16 digits."""
        if now - self._last > BETWEEN_S:
            self.clear()
        self._last = now
        done: list[bytes | None] = []
        for key in keys:
            if key == CLEAR:
                self.clear()
            elif key == END:
                if self._digits or self._bad:
                    done.append(None if self._bad else self._digits)
                self.clear()
            elif key in _DIGITS and len(self._digits) < MAX_DIGITS:
                self._digits += bytes((key,))
            else:
                self._bad = True
        return done

    @property
    def empty(self) -> bool:
        """Whether nothing has been pressed."""
        return not (self._digits or self._bad)

    def clear(self) -> None:
        """Forget what was pressed."""
        self._digits, self._bad = b"", False
