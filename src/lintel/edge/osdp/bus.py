"""One RS-485 line with up to eight readers: who speaks next. Sans-IO; one command at a time is on the line.

The owner writes what `step` gives, feeds what comes in, and calls `step` again after each and at `deadline`. Orders go
to the head of the line, before any poll; polls go round by who has waited longest; a reader that is not there is asked
about once a second, hastily, and never so often that the others lose more than a third of the line by it.
"""

from collections.abc import Callable, Sequence
from typing import Final

from lintel.edge.osdp.events import Heard, Job
from lintel.edge.osdp.exchange import ANSWER_S
from lintel.edge.osdp.frames import MARK, MAX_LENGTH, Packet, Receiver
from lintel.edge.osdp.messages import Keypad, RawCard, TextCard
from lintel.edge.osdp.panel import Peripheral

MAX_READERS: Final = 8
GRACE_S: Final = 0.004
"""After a presentation the line waits so long for the order that it leads to: a poll would hold that order up more."""
_SHARE: Final = 2
"""Time that the others have for each second spent on a reader that is not there."""
_GAP_S: Final = 0.08
"""Longest pause inside an answer: the latency timer of a USB adapter (16 ms), and a box that is busy."""


class Bus:
    """The panel of one line. `baud` as on the line: 10 bits a character."""

    def __init__(self, peripherals: Sequence[Peripheral], baud: int) -> None:
        self.peripherals = {p.address: p for p in peripherals}
        self.strangers = 0
        """Frames of readers that nobody configured."""
        self.on_turn: Callable[[int, float], None] | None = None
        """For measuring: called with address and time whenever a reader's turn begins."""
        self._byte_s = 10 / baud
        self._receiver = Receiver()
        self._asked: Peripheral | None = None
        self._sent_end = self._deadline = self._limit = 0.0
        self._answering = False
        self._quiet_until = self._probe_at = 0.0

    @property
    def errors(self) -> int:
        """Frames that did not check, and stretches of bytes that belonged to none, since the line was opened."""
        return self._receiver.errors

    def submit(self, address: int, job: Job, now: float) -> None:
        """Give an order to a reader of this bus."""
        self.peripherals[address].submit(job, now)

    def open(self) -> None:
        """The line was opened anew: nothing of before counts."""
        self._receiver = Receiver()
        self._asked = None
        self._quiet_until = self._probe_at = 0.0

    def close(self, now: float) -> None:
        """The line broke."""
        self._asked = None
        for peripheral in self.peripherals.values():
            peripheral.gone(now)

    def feed(self, data: bytes, now: float) -> None:
        """Take in bytes from the line."""
        self._take(self._receiver.feed(data), now)
        asked = self._asked
        if asked is not None and (missing := self._receiver.missing):
            if not self._answering:
                self._answering = True
                asked.exchange.answered_after(max(0.0, now - self._sent_end - len(data) * self._byte_s))
            self._deadline = min(self._limit, max(self._deadline, now + missing * self._byte_s * 1.3 + _GAP_S))

    def step(self, now: float) -> bytes | None:
        """What to write now; None while an answer is awaited or nothing is due."""
        asked = self._asked
        if asked is not None:
            if now < self._deadline:
                return None
            self._take(self._receiver.cut(), now)
            if self._asked is not None:
                self._asked = None
                asked.missed(now)
                if not asked.present:
                    self._probe_at = now + _SHARE * (now - self._sent_end)
        chosen = self._choose(now)
        if chosen is None:
            return None
        probing = not chosen.present
        frame = MARK + chosen.frame(now)
        if self.on_turn is not None and not probing:
            self.on_turn(chosen.address, now)
        self._asked, self._answering = chosen, False
        self._sent_end = now + len(frame) * self._byte_s
        self._deadline = self._sent_end + chosen.window
        self._limit = self._sent_end + ANSWER_S + MAX_LENGTH * self._byte_s
        return frame

    def deadline(self, now: float) -> float:
        """When to call `step` again at the latest (monotonic seconds)."""
        if self._asked is not None:
            return self._deadline
        return max(self._quiet_until, min(self._due(p) for p in self.peripherals.values()), now)

    def _due(self, peripheral: Peripheral) -> float:
        """When a reader may have the line: one that is not there waits also for its share, unless all are gone."""
        if peripheral.present or not any(p.present for p in self.peripherals.values()):
            return peripheral.due
        return max(peripheral.due, self._probe_at)

    def _choose(self, now: float) -> Peripheral | None:
        best, first = None, now
        for peripheral in self.peripherals.values():
            peripheral.expire(now)
            if peripheral.urgent:
                return peripheral
            if (due := self._due(peripheral)) <= first:
                best, first = peripheral, due
        return best if now >= self._quiet_until else None

    def _take(self, packets: list[Packet], now: float) -> None:
        for packet in packets:
            if not packet.reply:
                continue  # our own echo, or another panel
            peripheral = self.peripherals.get(packet.address)
            if peripheral is None:
                self.strangers += 1
                continue
            before = len(peripheral.events)
            if peripheral.heard(packet, now) and peripheral is self._asked:
                if not self._answering:
                    length = len(packet.covered) + len(packet.mac) + 2
                    peripheral.exchange.answered_after(max(0.0, now - self._sent_end - length * self._byte_s))
                self._asked = None
            if any(_presented(e) for e in list(peripheral.events)[before:]):
                self._quiet_until = now + GRACE_S


def _presented(event: object) -> bool:
    return isinstance(event, Heard) and event.trusted and isinstance(event.reply, RawCard | TextCard | Keypad)
