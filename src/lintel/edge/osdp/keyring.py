"""Which keys a reader may be met with: its own, for ever; the printed default one in an install window only. Pure."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from lintel.edge.osdp.secure import DEFAULT_KEY, patterned

MAX_WINDOW_S: Final = 600.0
"""Longest install window."""


class Which(StrEnum):
    """What kind of key a channel stands on."""

    CURRENT = "current"
    FRESH = "fresh"
    DEFAULT = "default"


@dataclass(slots=True)
class Keyring:
    """The keys of one reader. `fresh` was made for it, and stays beside the current one until it is proven.

    A reader with any key of its own is provisioned: from then on it is never talked to without one.
    """

    current: bytes | None = field(default=None, repr=False)
    fresh: bytes | None = field(default=None, repr=False)
    delivered: bool = False
    """The reader acknowledged the fresh key in this run, so that it is tried first."""
    _until: float = field(default=float("-inf"), init=False)

    @property
    def provisioned(self) -> bool:
        """Whether the reader was ever given a key."""
        return self.current is not None or self.fresh is not None

    @property
    def weak(self) -> bool:
        """Whether a stored key can be guessed; such a key is never used."""
        return any(key is not None and patterned(key) for key in (self.current, self.fresh))

    def arm(self, now: float, seconds: float) -> None:
        """Open the install window for so long, at most ten minutes."""
        self._until = now + min(seconds, MAX_WINDOW_S)

    def close(self) -> None:
        """Close the install window."""
        self._until = float("-inf")

    def armed(self, now: float) -> bool:
        """Whether the install window is open."""
        return now < self._until

    def candidates(self, now: float) -> list[tuple[Which, bytes]]:
        """The keys to try, best first; none that can be guessed but the default one, in an open window."""
        own = [(Which.CURRENT, self.current), (Which.FRESH, self.fresh)]
        if self.delivered:
            own.reverse()
        found = [(which, key) for which, key in own if key is not None and not patterned(key)]
        return [*found, (Which.DEFAULT, DEFAULT_KEY)] if self.armed(now) else found

    def prove(self) -> None:
        """The fresh key opened a channel: it is the current one."""
        self.current, self.fresh, self.delivered = self.fresh, None, False
