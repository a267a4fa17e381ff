"""A relay with a ledger: the truth of how often, when and by whom a lock was released."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from lintel.simulators.parts import Emit, JsonMap


@dataclass(frozen=True, slots=True)
class Entry:
    """One order to switch on. `fresh` is False when the relay was on already (the order extended the pulse)."""

    n: int
    t: float
    at: float
    source: str
    seconds: float | None
    fresh: bool


class Relay:
    """A relay output. `changed(on, source)` is called after it has moved."""

    def __init__(self, emit: Callable[..., None] | Emit, changed: Callable[[bool, str], None] | None = None) -> None:
        self._emit = emit
        self._changed = changed
        self._off: asyncio.TimerHandle | None = None
        self.on = False
        self.entries: list[Entry] = []
        self.on_since = 0.0
        self.pulse_s: float | None = None

    def switch_on(self, seconds: float | None, source: str) -> Entry:
        """Switch on, for `seconds` (None: until switched off). Every call is an entry in the ledger.

        A running pulse is replaced by the new one.
        """
        entry = Entry(len(self.entries) + 1, time.monotonic(), time.time(), source, seconds, fresh=not self.on)
        self.entries.append(entry)
        self._stop_timer()
        self.on, self.on_since, self.pulse_s = True, entry.at, seconds
        if seconds is not None:
            self._off = asyncio.get_running_loop().call_later(seconds, self.switch_off, "timer")
        self._emit("unlocked", t=entry.t, n=entry.n, fresh=entry.fresh, seconds=seconds, source=source)
        if entry.fresh and self._changed:
            self._changed(True, source)  # noqa: FBT003
        return entry

    def switch_off(self, source: str) -> None:
        """Switch off; nothing happens when it is off."""
        self._stop_timer()
        if not self.on:
            return
        self.on, self.pulse_s = False, None
        self._emit("locked", source=source)
        if self._changed:
            self._changed(False, source)  # noqa: FBT003

    def _stop_timer(self) -> None:
        if self._off is not None:
            self._off.cancel()
            self._off = None

    def ledger(self) -> JsonMap:
        """`orders` to switch on, `activations` (off to on), their monotonic `times` and sources."""
        return {
            "orders": len(self.entries),
            "activations": sum(e.fresh for e in self.entries),
            "times": [e.t for e in self.entries],
            "sources": [e.source for e in self.entries],
            "on": self.on,
        }
