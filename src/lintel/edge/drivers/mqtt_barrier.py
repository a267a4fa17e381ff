"""The barrier of an MQTT connection: a message to a topic of our own, once a second, that comes back like the readings.

What arrives after a barrier was published after it, so its age bounds the age of all that follows. No I/O.
"""

import math
from typing import Final

PULSE_S: Final = 1.0
"""How often the barrier is published (s)."""

LATE_S: Final = PULSE_S + 1.0
"""A barrier older than this is overdue: readings are as old as it, orders are not sent (s)."""


class Barrier:
    """`floor` is when (monotonic s) the newest barrier that is back was published; minus infinity before the first."""

    __slots__ = ("_nonce", "_out", "floor", "topic")

    def __init__(self, client_id: str, nonce: str) -> None:
        self.topic = f"lintel/{client_id}/barrier"
        self.floor = -math.inf
        self._nonce = nonce
        self._out: dict[bytes, float] = {}

    def next(self, now: float) -> bytes:
        """The payload of a barrier that is published now."""
        payload = f"{self._nonce} {now!r}".encode()
        self._out[payload] = now
        return payload

    def back(self, payload: bytes) -> bool:
        """Take one that came in; True for the first of ours. One of an earlier connection, or forged, says nothing."""
        sent = self._out.get(payload)
        if sent is None:
            return False
        self._out = {p: s for p, s in self._out.items() if s > sent}
        first, self.floor = not self.heard, sent
        return first

    @property
    def heard(self) -> bool:
        """Whether one came back: what waited at the broker before this connection is through."""
        return self.floor > -math.inf

    def prompt(self, now: float) -> bool:
        """Whether the broker passed a message on to us within the last two seconds."""
        return now - self.floor <= LATE_S
