"""Wrong tries at one reader: after five in a row, one alarm and a growing back-off for what can be guessed."""

from dataclasses import dataclass, field

from lintel.edge.model import Method, Reading, Reason

TRIES = 5
LONGEST = 60.0
GUESSABLE = frozenset({Method.PIN, Method.CARD})
"""What is held back. Signed passes and opaque codes are always checked: a vandal must not lock residents out."""
WATCHED = GUESSABLE | {Method.QR}
"""What raises the alarm."""


@dataclass(slots=True)
class _Reader:
    wrong: int = 0
    until: float = 0.0


@dataclass(slots=True)
class Guessing:
    """Back-off per reader (1, 2, 4 ... 60 s of monotonic time). Other readers are not affected."""

    _readers: dict[str, _Reader] = field(default_factory=dict)

    def limited(self, reading: Reading, mono: float) -> bool:
        """Whether this reader is in back-off for this method."""
        reader = self._readers.get(reading.device)
        return reader is not None and mono < reader.until and reading.method in GUESSABLE

    def judge(self, reading: Reading, reason: Reason, mono: float) -> bool:
        """Take note of a decision; True once when guessing begins, for the alarm."""
        if reading.method not in WATCHED:
            return False
        if reason is Reason.UNKNOWN_CREDENTIAL:
            reader = self._readers.setdefault(reading.device, _Reader())
            reader.wrong += 1
            if reader.wrong >= TRIES:
                reader.until = mono + min(LONGEST, 2.0 ** min(reader.wrong - TRIES, 6))
            return reader.wrong == TRIES
        if reason is Reason.GRANTED:
            self._readers.pop(reading.device, None)
        return False
