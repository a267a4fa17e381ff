"""How long a device held a presentation back, told from its own time even where its clock is wrong. No I/O.

The clock of a device may be years off, so its time alone proves little. But its error is the same for each message:
what comes later than its messages usually come was held back, say by a terminal that had lost its network. All is
measured against monotonic time, so that a step of our own clock is none of the device's.
"""

from typing import Final

from lintel.edge.model import ClockState, Instant

RIGHT_S: Final = 15.0
"""A clock that nothing is known of and that is less than this behind is taken to be right: what is late waited."""

APART_S: Final = 5.0
"""Two messages as late as each other and this far apart: not held back, the clock is slower than it was (s)."""

ALIKE_S: Final = 2.0
"""How far such a pair may differ; clocks that tell whole seconds and a busy network make up to this (s)."""

AGREES_S: Final = 3.0
"""A clock that is less than this behind ours is right, whatever it was before: it was set. Set by us to a whole second,
it tells whole seconds, and a message is on its way (s)."""

SET_S: Final = 86_400.0
"""Later by more than this: nothing waits so long without a new connection, the clock was set (s)."""

FLUSH_S: Final = 5.0
"""How long after coming on line a device may be telling what it held back (s). What proves nothing is old then."""


class Lag:
    """What is known of one device's clock. `time` is the device's, in Unix seconds."""

    __slots__ = ("_doubt", "_online", "_usual")

    def __init__(self) -> None:
        self._usual: float | None = None  # monotonic minus device time of a message that was not held back
        self._doubt: tuple[float, float] | None = None  # a greater lag that nothing has borne out, and when it was met
        self._online = float("-inf")

    def online(self, mono: float) -> None:
        """The device said that it came on line: what it held back comes now."""
        self._online, self._doubt = mono, None

    def flushing(self, mono: float) -> bool:
        """Whether it may still be telling what it held back."""
        return mono - self._online < FLUSH_S

    def learn(self, time: float, now: Instant) -> None:
        """Take note of a message that has just arrived. Not of presentations while `flushing`: they are late alike."""
        lag, right = now.mono - time, _right(now)
        if self._usual is None:
            self._usual = right if right is not None and 0 <= lag - right < RIGHT_S else lag
        over = lag - self._usual
        if right is not None and _agrees(lag, right):
            self._usual, self._doubt = right, None
        elif over <= 0 or over >= SET_S or self._again(lag, now.mono):
            self._usual, self._doubt = lag, None
        elif over <= ALIKE_S:
            self._doubt = None  # on time, so that what was late before was held back
        elif self._doubt is None or abs(lag - self._doubt[0]) > ALIKE_S:
            self._doubt = lag, now.mono

    def age(self, time: float | None, now: Instant) -> float:
        """Seconds that a presentation was held back by the device; infinite where that can not be told."""
        flushing, right = self.flushing(now.mono), _right(now)
        usual = self._usual
        if usual is None or (time is not None and right is not None and _agrees(now.mono - time, right)):
            usual = right
        if time is None or usual is None:
            return float("inf") if flushing else 0.0
        late = now.mono - time - usual
        return float("inf") if flushing and late < -RIGHT_S else max(0.0, late)

    def _again(self, lag: float, mono: float) -> bool:
        if self._doubt is None:
            return False
        before, at = self._doubt
        return mono - at >= APART_S and abs(lag - before) <= ALIKE_S


def _agrees(lag: float, right: float) -> bool:
    return 0 <= lag - right < AGREES_S


def _right(now: Instant) -> float | None:
    """The lag of a clock that agrees with ours; None while ours is not known."""
    return None if now.state is ClockState.UNKNOWN else now.mono - now.wall
