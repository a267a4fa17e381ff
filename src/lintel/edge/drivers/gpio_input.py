"""One input of a chip: which of its levels are told, and when. Sans-IO; times are monotonic seconds, as the kernel's.

An edge counts from the moment at which it happened, however late it is read: what held long enough is told, also when
it is over by then. Of a contact that chatters so many changes are told and no more; fire never waits for that.
"""

from dataclasses import dataclass, field
from typing import Final

from lintel.edge.contacts import Debounce

BURST: Final = 20
"""Changes that are told as they come."""
PER_S: Final = 10.0
"""Changes a second that are told of an input that goes on like that."""
EXIT_S: Final = 2.0
"""An exit button that was pressed longer ago, and let go, opens nothing: who pressed it then has gone (s)."""


@dataclass(slots=True)
class Input:
    """`urgent`: that it is active is told at once, always. `stale_s`: what was active longer ago is told no more."""

    line: Debounce
    urgent: bool = False
    stale_s: float = float("inf")
    told: bool | None = None
    held_back: int = 0
    """Changes that could not be told when they came."""
    _active_at: float | None = field(default=None, init=False)
    """When it became active, as long as that is not told."""
    _tokens: float = field(default=float(BURST), init=False)
    _filled_at: float = field(default=float("-inf"), init=False)

    def start(self, level: bool) -> None:  # noqa: FBT001  a level is a truth value
        """The level when the line was opened, which the caller tells."""
        self.line.start(level)
        self.told = level

    def edge(self, level: bool, at: float, now: float) -> list[bool]:  # noqa: FBT001  a level is a truth value
        """The line has this level since `at`; `now` is when that was read. The levels to tell, in this order."""
        told = self._settle(at, now)
        self.line.edge(level, at)
        return told + self._settle(at, now)

    def look(self, now: float) -> list[bool]:
        """The levels to tell now, once all edges up to now have been given."""
        return self._settle(now, now) + self._say(now)

    @property
    def deadline(self) -> float | None:
        """When to `look`; None while nothing is on its way."""
        settled = self.line.deadline
        if self.told == self.line.level and self._active_at is None:
            return settled
        free = self._filled_at + max(0.0, 1 - self._tokens) / PER_S
        return free if settled is None else min(free, settled)

    def _settle(self, until: float, now: float) -> list[bool]:
        since = self.line.deadline
        if since is None or not self.line.due(until):
            return []
        if self.line.level and not self.told:
            if self.urgent:
                self.told = True
                return [True]
            if now - since > self.stale_s:
                return []  # if it is active still, `look` tells it
            self._active_at = since
        told = self._say(now)
        self.held_back += self._next() is not None
        return told

    def _say(self, now: float) -> list[bool]:
        said: list[bool] = []
        if self._active_at is not None and now - self._active_at > self.stale_s:
            self._active_at = None
        while (level := self._next()) is not None and self._take(now):
            self._active_at = None
            self.told = level
            said.append(level)
        return said

    def _next(self) -> bool | None:
        if self._active_at is not None:
            return True
        return self.line.level if self.line.level != self.told else None

    def _take(self, now: float) -> bool:
        """One token, if there is one."""
        self._tokens = min(float(BURST), self._tokens + max(0.0, now - self._filled_at) * PER_S)
        self._filled_at = max(self._filled_at, now)
        if self._tokens < 1 - 1e-6:  # at `deadline` it is one but for rounding
            return False
        self._tokens -= 1
        return True
