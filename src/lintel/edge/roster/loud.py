"""Persons whom a command may still put on a terminal although nobody waits for its answer any more."""

from collections.abc import Iterable
from typing import Final

from lintel.edge.model import Instant
from lintel.edge.persons import State
from lintel.edge.store.roster import Entry

QUIET_S: Final = 60.0
"""A command without an answer may still be at work so long; until then nobody's absence is proven who stands in it."""


class Loud:
    """Keys of persons, each until a moment of the steady clock."""

    def __init__(self) -> None:
        self._until: dict[int, float] = {}
        self._begun = False

    def begin(self, rows: Iterable[Entry], now: Instant) -> None:
        """At the first look of this run: what the run before asked for may have been at work up to its end."""
        if not self._begun:
            self._begun = True
            self.note((row.key for row in rows if row.state is not State.STORED), now)

    def note(self, keys: Iterable[int], now: Instant) -> None:
        """A command about these persons was not answered."""
        self._until |= dict.fromkeys(keys, now.mono + QUIET_S)

    def keys(self, now: Instant) -> frozenset[int]:
        """Whom it is about by now."""
        self._until = {key: until for key, until in self._until.items() if until > now.mono}
        return frozenset(self._until)

    def until(self, key: int, now: Instant) -> float | None:
        """Until when for one of them (Unix seconds); None: nothing is at work."""
        left = self._until.get(key, now.mono) - now.mono
        return now.wall + left if left > 0 else None

    def end(self, now: Instant) -> float:
        """When nothing is at work any more (Unix seconds)."""
        return now.wall + max(0.0, max(self._until.values(), default=now.mono) - now.mono)
