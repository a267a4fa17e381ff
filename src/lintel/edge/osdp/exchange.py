"""One command and its answer: sequence numbers, how long to wait, byte-identical repeats. Sans-IO.

The sequence is 0 for the first command after a start and then 1, 2, 3, 1, ...; a repeat keeps its number and all its
bytes, and a reader answers it from memory: so it is safe, and the only thing that keeps a MAC chain whole.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from lintel.edge.model import Outcome
from lintel.edge.osdp.events import Job
from lintel.edge.osdp.messages import Code, Command, Nak, Outputs, Plain, Reply

ANSWER_S: Final = 0.2
"""Within this after the end of a command a reader begins to answer (OSDP 2.2, 5.7)."""
HASTE_S: Final = 0.12
"""Least time that is waited for an answer that usually comes at once; a later one is still taken."""
PROBE_HASTE_S: Final = 0.06
"""The same where most likely nobody is."""
PERIOD_S: Final = 0.04
"""Shortest time from poll to poll of one reader: keeps a fast line from burning the processor for nothing."""
PROBE_S: Final = 1.0
"""About how often a reader that is not there is asked."""
AGAIN_S: Final = 0.05
"""Before the next key is tried, or a reader that a person set to install mode is met again (s)."""
REPEATS_S: Final = (0.05, 0.2, 0.5)
"""Pauses before the same frame is sent again."""
BUSY_S: Final = 3.0
"""A reader that says BUSY for longer counts as one that does not answer."""
_BUSY_PAUSE_S: Final = 0.05


@dataclass(slots=True)
class Sent:
    """A command on its way: no answer was taken yet."""

    frame: bytes = field(repr=False)
    sequence: int
    code: int
    job: Job | None
    tries: int = 1
    busy_since: float | None = None
    unheard: bool = False
    """A copy of it was not answered: what became of that one nobody knows."""

    def outcome(self, reply: Reply, *, sealed: bool) -> Outcome:
        """What an answer says of the order: carried out only by the answer that is meant for it.

        In a session an answer fits one command. In the clear a reader may refuse a repeat, having obeyed the first.
        """
        if isinstance(reply, Nak):
            return Outcome.REFUSED_BY_DEVICE if sealed or not self.unheard else Outcome.UNKNOWN_OUTCOME
        obeyed = isinstance(reply, Plain) and reply.code == Code.ACK
        obeyed = obeyed or (self.code == Command.OUT and isinstance(reply, Outputs))
        return Outcome.EXECUTED if obeyed else Outcome.UNKNOWN_OUTCOME


class Exchange:
    """What one reader was sent last. `sent` is None when it was answered."""

    def __init__(self) -> None:
        self.sent: Sent | None = None
        self.retry_at = 0.0
        self.latency = 0.0
        self.probes = 0
        """Commands with sequence 0 that were not answered, one after another."""
        self._sequence = 0
        self._met = False

    def send(self, code: int, job: Job | None, frame: Callable[[int], bytes]) -> Sent:
        """The next command; `frame` makes its bytes for a sequence number."""
        sequence = self._sequence
        self._sequence = sequence % 3 + 1
        self.sent = Sent(frame(sequence), sequence, code, job)
        return self.sent

    def reset(self) -> None:
        """Begin again with 0: that tells the reader to forget its session."""
        self.sent, self._sequence = None, 0

    def window(self, *, present: bool) -> float:
        """How long to wait for the first byte of the answer, from the end of what was sent (s).

        Hasty where silence is likely or an answer usually quick: a missing reader must not hold its neighbours up.
        """
        sent = self.sent
        if sent is None:
            return 0.0
        if present:
            hasty, least = sent.code == Command.POLL and sent.tries != 3, HASTE_S
        else:
            hasty, least = self._met or self.probes % 4 != 0, PROBE_HASTE_S
        return min(ANSWER_S, max(least, 3 * self.latency)) if hasty else ANSWER_S

    def answered_after(self, seconds: float) -> None:
        """The first byte of an answer came so long after the end of the command."""
        self.latency, self._met = max(seconds, self.latency * 0.98), True
        self.probes = 0

    def wait(self, now: float) -> bool:
        """Plan the next repeat; False when there were enough of them."""
        sent = self.sent
        if sent is None:
            return False
        sent.unheard = True
        if sent.tries > len(REPEATS_S):
            return False
        self.retry_at = now + REPEATS_S[max(0, sent.tries - 1)]
        return True

    def busy(self, now: float) -> bool:
        """The reader said BUSY: the same again soon, without counting it; False when it has been busy too long."""
        sent = self.sent
        if sent is None:
            return True
        if sent.busy_since is None:
            sent.busy_since = now
        sent.tries = max(0, sent.tries - 1)  # anybody can say BUSY many times at once
        self.retry_at = now + _BUSY_PAUSE_S
        return now - sent.busy_since < BUSY_S
