"""How old a frame is: a stream that stood still arrives late, and a code on it must not open a door late. Pure."""

import math
from typing import Final

WINDOW_S: Final = 60.0
"""Time over which the quickest frame is looked for; a camera's clock that drifts by 100 ppm is off by 6 ms in it."""
JUMP_S: Final = 2.0
"""A camera's clock that moves so much more or less than ours has been set, or began anew."""


class Lag:
    """Compares the camera's own time of each frame with when it arrived, both in seconds of clocks that know no date.

    The quickest frame of the last minute or two counts as new; what came later than it by the camera's clock is older
    by that much. A camera that is slow from its first frame on can not be found out this way.
    """

    def __init__(self) -> None:
        self._best = self._before = float("inf")
        self._since = self._stamp = self._at = float("nan")

    def of(self, stamp: float, at: float) -> float:
        """The lag in seconds of a frame of the camera's time `stamp` that arrived at `at`."""
        ours, theirs = at - self._at, stamp - self._stamp
        self._at, self._stamp = at, stamp
        offset = at - stamp
        # The first frame, no time at all, or a clock that was set. Ours that ran on alone is a stream that hung.
        if math.isnan(ours) or theirs <= 0 or theirs - ours > JUMP_S:
            self._best, self._before, self._since = offset, float("inf"), at
            return 0.0
        if at - self._since >= WINDOW_S:
            self._before, self._best, self._since = self._best, offset, at
        self._best = min(self._best, offset)
        return max(0.0, offset - min(self._best, self._before))
