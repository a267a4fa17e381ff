"""What has only two levels: when an input's new level counts, and how long a lock is unlocked.

Times are monotonic seconds. Lengths and limits: libgpiod and the Linux GPIO documentation know levels and edges only,
so that what a bounce and a pulse are is ours.
"""

from dataclasses import dataclass, field
from typing import Final

SHORTEST: Final = 0.2
LONGEST: Final = 255.0
"""Bounds of one pulse (s): shorter moves no strike, longer is a hold."""


@dataclass(slots=True)
class Debounce:
    """One input whose new level counts once it held for `period` seconds. `level` None: not known yet."""

    period: float
    level: bool | None = None
    _since: float | None = field(default=None, init=False)

    def start(self, level: bool) -> None:  # noqa: FBT001  a level is a truth value
        """The level that was read when the line was opened: edges only tell of changes."""
        self.level, self._since = level, None

    def edge(self, level: bool, at: float) -> None:  # noqa: FBT001  a level is a truth value
        """The line has another level since `at`, or the same again: what fell back within `period` was nothing.

        An edge may come after a look that saw its level already.
        """
        if level == self.level:
            self._since = None
        elif self._since is None or at < self._since:
            self._since = at

    @property
    def deadline(self) -> float | None:
        """When to ask `due`; None while nothing is on its way."""
        return None if self._since is None else self._since + self.period

    def due(self, now: float) -> bool:
        """Whether the level has changed by now; `level` is the new one then."""
        if (deadline := self.deadline) is None or now < deadline:
            return False
        self.level, self._since = not self.level, None
        return True


@dataclass(slots=True)
class Pulse:
    """How long one lock is unlocked. A second pulse lengthens the first and never shortens it."""

    held: bool = False
    until: float = float("-inf")

    def open(self, seconds: float, now: float) -> None:
        """Unlocked for so long from now, or for the rest of the pulse that runs, whichever is longer."""
        self.until = max(self.until, now + min(max(seconds, SHORTEST), LONGEST))

    def hold(self) -> None:
        """Unlocked until `release`."""
        self.held = True

    def release(self) -> None:
        """The hold is over; a pulse that somebody was granted meanwhile runs to its end."""
        self.held = False

    def opened(self, after: float, now: float) -> None:
        """The door was opened: the pulse that runs ends `after` seconds from now, if it does not end sooner."""
        if now < self.until:
            self.until = min(self.until, now + after)

    def unlocked(self, now: float) -> bool:
        """Whether the lock is to be unlocked."""
        return self.held or now < self.until

    def deadline(self, now: float) -> float | None:
        """When to look again; None while nothing ends by itself."""
        return self.until if not self.held and now < self.until else None
