"""Records of a `mqtt/face` terminal: numbered, pushed, pushed again until the platform says PushAck (reference 2.6)."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from lintel.simulators.parts import JsonMap

LIVE_SECONDS = 10.0
RECORD, SNAP = 2, 1
"""PushAckType: identification record, stranger."""

_BURST = 20


@dataclass(slots=True)
class Entry:
    """A stored record or snap. `at` is device time, `mono` monotonic time of its making."""

    kind: int
    number: int
    at: float
    info: JsonMap
    mono: float = field(default_factory=time.monotonic)
    push_type: int = 0
    pushed: float = float("-inf")
    waiting: bool = True
    count: int = 0


class Outbox:
    """What the terminal has to tell. `send(entry, sendintime)` publishes and says whether it could."""

    def __init__(self, send: Callable[[Entry, int], bool], first: int, keep: int = 5000) -> None:
        self._send = send
        self._first = first
        self._next = {RECORD: first, SNAP: first}
        self._history: deque[Entry] = deque(maxlen=keep)
        self._replays: list[Entry] = []

    def add(self, kind: int, at: float, info: JsonMap, *, resume: bool) -> Entry:
        """Number and store a record and push it if possible. Without `resume` it is pushed once and not repeated."""
        entry = Entry(kind, self._next[kind], at, info)
        self._next[kind] += 1
        self._history.append(entry)
        self._push(entry)
        entry.waiting = resume
        return entry

    def next_number(self, kind: int) -> int:
        """The number that the next record or snap will have."""
        return self._next[kind]

    def replay(self, kind: int, begin: float, end: float) -> int:
        """Push a time range again as manual replay; returns how many."""
        again = [
            Entry(e.kind, e.number, e.at, e.info, e.mono, push_type=2)
            for e in self._history
            if e.kind == kind and begin <= int(e.at) <= end
        ]
        self._replays = again
        return len(again)

    def again(self, kind: int) -> bool:
        """Push the last record once more at once: a duplicate."""
        last = next((e for e in reversed(self._history) if e.kind == kind), None)
        return last is not None and self._push(last)

    def tick(self, interval: float, *, resume: bool) -> None:
        """Push what is due: unconfirmed for `interval` seconds, or not yet pushed."""
        now = time.monotonic()
        due = [e for e in self._history if e.waiting and resume] + [e for e in self._replays if e.waiting]
        for entry in [e for e in due if now - e.pushed >= interval][:_BURST]:
            if not self._push(entry):
                return
            if entry.push_type and not resume:
                entry.waiting = False

    def confirm(self, kind: int, number: int) -> bool:
        """The platform has it. False when no such number was ever given. Kind 3 is either."""
        kinds = (RECORD, SNAP) if kind not in (RECORD, SNAP) else (kind,)
        for entry in (*self._history, *self._replays):
            if entry.kind in kinds and entry.number == number:
                entry.waiting = False
        return any(self._first <= number < self._next[k] for k in kinds)

    def forget(self) -> None:
        """Delete all records; the numbers go on."""
        self._history.clear()
        self._replays.clear()

    def reset(self) -> None:
        """Factory default: the numbers begin anew."""
        self.forget()
        self._next = {RECORD: 1, SNAP: 1}
        self._first = 1

    def waiting(self) -> list[int]:
        """Numbers of the records that the platform has not confirmed."""
        return [e.number for e in (*self._history, *self._replays) if e.waiting]

    def _push(self, entry: Entry) -> bool:
        live = time.monotonic() - entry.mono <= LIVE_SECONDS and entry.push_type == 0
        if not self._send(entry, int(live)):
            return False
        entry.pushed = time.monotonic()
        entry.count += 1
        return True
