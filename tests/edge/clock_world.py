"""A simulated world with a true time, a box with a wrong clock, and 10,000 passes."""

import random

import pytest

from lintel.edge.clock import Clock
from lintel.edge.model import ClockState, Notice

NOW = 1_790_000_000.0
DAY = 86_400.0
YEAR = 365 * DAY
SYNCED, KEPT, UNKNOWN = ClockState.SYNCED, ClockState.HOLDOVER, ClockState.UNKNOWN


def near(wall: float) -> object:
    return pytest.approx(wall, rel=0, abs=0.01)


class World:
    """True time, and a box whose system clock is `error` seconds off."""

    def __init__(self, truth: float = NOW, error: float = 0.0, synced: bool = True) -> None:
        self.truth, self.error, self.synced = truth, error, synced
        self.mono, self.boot = 100.0, "boot-1"

    def wall(self) -> float:
        return self.truth + self.error

    def clock(self, **more) -> Clock:
        return Clock(self.wall, lambda: self.mono, synced=lambda: self.synced, boot_id=lambda: self.boot, **more)

    def run(self, seconds: float, clock: Clock | None = None, every: float = 600.0) -> None:
        """Let time pass; the box looks at its clock now and then."""
        every = every if clock else seconds
        while seconds > 0:
            step = min(every, seconds)
            self.truth += step
            self.mono += step
            seconds -= step
            if clock:
                clock.now()

    def reboot(self, off: float = 0.0) -> None:
        self.truth += off
        self.mono, self.boot = 3.0, self.boot + "x"


def expired_granted(world: World, wall: float, state: ClockState, seed: int = 1) -> int:
    """How many of 10,000 random passes that are over in truth would be let in."""
    rng = random.Random(seed)
    wrong = 0
    for n in range(10_000):
        end = world.truth - rng.choice((0.0, 1.0, rng.uniform(0, 600), rng.uniform(0, 2 * DAY), rng.uniform(0, YEAR)))
        start = 0.0 if n % 2 else end - rng.uniform(60, 45 * DAY)
        wrong += state is not UNKNOWN and start <= wall < end
    return wrong


def bar(world: World, clock: Clock) -> None:
    at = clock.now()
    assert expired_granted(world, at.wall, at.state) == 0


def notices(clock: Clock) -> list[Notice]:
    return [n for n, _ in clock.take_notices()]
