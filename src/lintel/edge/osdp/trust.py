"""How much a reader's channel is believed: lies are counted, named, and answered with growing silence. Sans-IO."""

from collections import deque
from typing import Final

from lintel.edge.model import Notice
from lintel.edge.osdp.frames import Packet

STRIKES: Final = 3
"""Lies in a row that end a session."""
MUTE_S: Final = 60.0
"""Longest wait of a reader that lied (s)."""
STEADY_S: Final = 10.0
"""A session that was good for so long makes up for earlier trouble (s)."""


class Trust:
    """The record of one reader."""

    def __init__(self) -> None:
        self.last: Packet | None = None
        """The answer to a command that was repeated: it may come twice."""
        self._since = 0.0
        self._macs: deque[bytes] = deque(maxlen=256)
        self._strikes = self._troubles = 0

    def begin(self, now: float) -> None:
        """A session begins."""
        self._since, self._strikes, self.last = now, 0, None

    def good(self, packet: Packet, now: float, *, repeated: bool) -> None:
        """A packet was what it should be."""
        self.last, self._strikes = packet if repeated else None, 0
        self._macs.append(packet.mac)
        if self._troubles and now - self._since > STEADY_S:
            self._troubles = 0

    def name(self, packet: Packet) -> Notice:
        """What to call a packet whose MAC does not fit here: one that was heard before, or one that never was right."""
        return Notice.REPLAYED if packet.mac in self._macs else Notice.BAD_MAC

    def strike(self) -> bool:
        """Count a lie. Whether it was one too many."""
        self._strikes += 1
        return self._strikes >= STRIKES

    def wait(self, least: float) -> float:
        """How long to leave the reader alone: `least` at first, then 1, 2, 4 ... 60 s."""
        self._troubles += 1
        return max(least, min(MUTE_S, 2.0 ** (self._troubles - 2)) if self._troubles > 1 else 0.0)

    def forgive(self) -> None:
        """Begin anew: it was silent, which is an outage and no lie, or a person is in front of it."""
        self._troubles = 0
