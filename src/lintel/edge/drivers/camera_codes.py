"""Which sightings of codes are presentations: one for each code and window, and not too many. Sans-IO."""

from typing import Final

_REMEMBERED: Final = 64


class Presentations:
    """Frames tell the codes on them, many times a second; a person holds one before the camera, once.

    A sighting slides the window: a phone held before the camera is one presentation, however long. What the rate
    refuses is not remembered, so that it is presented when there is room again. `dropped` counts refusals.
    """

    def __init__(self, window_s: float, rate: float, burst: int) -> None:
        self.dropped = 0
        self._window, self._rate, self._burst = window_s, rate, float(burst)
        self._seen: dict[bytes, float] = {}
        self._tokens, self._stamp = float(burst), float("-inf")

    def new(self, key: bytes, at: float) -> bool:
        """Whether the code `key`, seen on a picture of the time `at` (monotonic s), is a presentation."""
        last = self._seen.pop(key, None)
        if last is not None and at - last < self._window:
            self._seen[key] = max(last, at)
            return False
        self._tokens = min(self._burst, self._tokens + self._rate * max(0.0, at - self._stamp))
        self._stamp = max(self._stamp, at)
        if self._tokens < 1:
            self.dropped += 1
            return False
        self._tokens -= 1
        while len(self._seen) >= _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = at
        return True
