"""How old what a reader says may be. Readers keep what nobody fetches, without a time of its own. Sans-IO.

What comes after a gap in the polls is from before it, until a poll finds nothing: then it is of now.
"""

from typing import Final

from lintel.edge.osdp.messages import Keypad, RawCard, TextCard

Presented = RawCard | TextCard | Keypad
"""What a reader keeps."""

GAP_S: Final = 1.0
"""Without a poll for longer, what a reader says next may be old (s)."""
_NEVER: Final = float("-inf")


class Backlog:
    """The polls of one reader."""

    def __init__(self) -> None:
        self._polled_at = _NEVER
        self._since: float | None = _NEVER

    @property
    def empty(self) -> bool:
        """Whether a poll found nothing since the last gap."""
        return self._since is None

    def answered(self, now: float, *, nothing: bool) -> float:
        """A poll was answered; returns how old the answer may be (s), infinite where none came before it."""
        if now - self._polled_at > GAP_S and self._since is None:
            self._since = self._polled_at
        self._polled_at = now
        if nothing:
            self._since = None
        return 0.0 if self._since is None else now - self._since
