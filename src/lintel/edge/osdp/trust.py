"""How much a reader's channel is believed: lies are counted, named, and answered with growing silence. Sans-IO."""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from lintel.edge.model import Notice
from lintel.edge.osdp.exchange import Sent
from lintel.edge.osdp.frames import Packet
from lintel.edge.osdp.messages import Code, Error
from lintel.edge.osdp.secure import PLAIN_REPLY, Session

STRIKES: Final = 3
"""Lies in a row that end a session."""
MUTE_S: Final = 60.0
"""Longest wait of a reader that lied (s)."""
STEADY_S: Final = 10.0
"""A session that was good for so long makes up for earlier trouble (s)."""


PRESENTATIONS: Final = frozenset({Code.RAW, Code.FMT, Code.KEYPAD})
GONE: Final = frozenset({Error.SEQUENCE, Error.CHANNEL, Error.CONDITIONS})
"""What a reader says that has no session."""


@dataclass(frozen=True, slots=True)
class Lie:
    """What was said can not be the reader's, or not now. `presented`: it looked like a card or keys."""

    notice: Notice
    presented: bool = False


class Other(StrEnum):
    """What is no content and no lie: the reader has no session, or the packet can be passed over."""

    NO_SESSION = "no session"
    NOTHING = "nothing"


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

    def judge(self, packet: Packet, sent: Sent | None, session: Session | None, now: float) -> bytes | Lie | Other:
        """What a packet of a reader in session is: the data of the answer that is awaited, or something else."""
        if not packet.scb:
            error = packet.data[0] if packet.code == Code.NAK and packet.data else 0
            if sent is not None and error in GONE:
                return Other.NO_SESSION
            if error == Error.CHECK:
                return Other.NOTHING  # our command was garbled on the way, and is repeated
            return Lie(Notice.CLEARTEXT_REFUSED, packet.code in PRESENTATIONS)
        if packet == self.last:
            return Other.NOTHING  # the answer to our own repeat comes twice where the first one was late
        if packet.block == PLAIN_REPLY and packet.data:
            return Lie(Notice.CLEARTEXT_REFUSED)
        data = session.open(packet) if session and sent and packet.sequence == sent.sequence else None
        if data is None or sent is None:
            return Lie(Notice.REPLAYED if packet.mac in self._macs else Notice.BAD_MAC)
        self._good(packet, now, repeated=sent.tries > 1)
        return data

    def _good(self, packet: Packet, now: float, *, repeated: bool) -> None:
        """A packet was what it should be."""
        self.last, self._strikes = packet if repeated else None, 0
        self._macs.append(packet.mac)
        if self._troubles and now - self._since > STEADY_S:
            self._troubles = 0

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
