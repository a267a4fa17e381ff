"""One keeper for every connection: run, classify the error, wait with jitter, run again.

State changes are logged once; attempts are only counted. The class of the error decides:

    Lost       waits 0.2 s, doubling with jitter up to the line's limit (0.5 s on a serial port, 4 s on a broker)
    Refused    raises an alarm, waits 60 s: a wrong password does not get better by asking often
    anything   a bug: logged with its trace, treated as Lost at the limit, so that the other lines go on

A line that flaps is not trusted: only one that stayed up for ten seconds starts again at 0.2 s, and after five losses
in a row they are told every ten seconds, with their count.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from lintel.edge.errors import Lost, Refused
from lintel.edge.model import Fact, Notice

log = logging.getLogger(__name__)

REFUSED_WAIT = 60.0
FIRST_WAIT = 0.2
STEADY_S = 10.0
"""How long a line must have been up for its next loss to count as the first again."""
FOLD_S = 10.0
BURST = 5.0
"""Losses told at once, and how often one more is told (s)."""


class State(StrEnum):
    """Where a line stands."""

    STARTING = "starting"
    UP = "up"
    LOST = "lost"
    REFUSED = "refused"


@dataclass(slots=True)
class Keeper:
    """Keeps one line running. `limit` is the longest wait between attempts, in seconds."""

    name: str
    report: Callable[[Fact], None]
    limit: float = 5.0
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    jitter: Callable[[], float] = random.random
    mono: Callable[[], float] = time.monotonic
    state: State = State.STARTING
    attempts: int = 0
    why: str = ""
    _wait: float = field(default=FIRST_WAIT, init=False)
    _up_at: float = field(default=0.0, init=False)
    _tokens: float = field(default=BURST, init=False)
    _stamp: float = field(default=0.0, init=False)
    _untold: int = field(default=0, init=False)
    _told: bool = field(default=False, init=False)

    def up(self) -> None:
        """The line is open: called by the driver's inlet, once for each run."""
        if self._told:
            log.info("%s: back after %d attempts", self.name, self.attempts)
            self.report(Fact(Notice.COMMS_RESTORED, detail=self.name))
        elif self.state is State.STARTING:
            log.info("%s: up", self.name)
        self.state, self.attempts, self.why = State.UP, 0, ""
        self._told, self._up_at = False, self.mono()

    async def keep(self, run: Callable[[], Awaitable[None]]) -> None:
        """Run for ever. Cancellation passes through at once."""
        while True:
            self.attempts += 1
            try:
                await run()
                error: Exception = Lost("the driver returned")
            except (Lost, Refused) as e:
                error = e
            except Exception as e:  # a bug in one driver must not take the other lines down
                log.exception("%s: unexpected error", self.name)
                error = e
            await self.sleep(self._failed(error))

    def _failed(self, error: Exception) -> float:
        """Note a failure, log the change of state once, and say how long to wait."""
        state = State.REFUSED if isinstance(error, Refused) else State.LOST
        self.why = str(error) or type(error).__name__
        if self.state is State.UP and self.mono() - self._up_at >= STEADY_S:
            self._wait = FIRST_WAIT
        if state is State.LOST:
            self._untold += state is not self.state
            self._tell()
        elif state is not self.state:
            log.warning("%s: %s: %s", self.name, state, self.why)
            self.report(Fact(Notice.DEVICE_FAULT, detail=f"{self.name} refused: {self.why}"))
            self._told = True
        self.state = state
        if state is State.REFUSED:
            return REFUSED_WAIT * (1 + 0.1 * self.jitter())
        if not isinstance(error, Lost):
            return self.limit
        wait = self._wait * (0.5 + self.jitter() / 2)
        self._wait = min(self.limit, self._wait * 2)
        return min(wait, self.limit)

    def _tell(self) -> None:
        """Report the losses that were not told yet, as far as the allowance goes; the rest waits for the next loss."""
        now = self.mono()
        self._tokens = min(BURST, self._tokens + (now - self._stamp) / FOLD_S)
        self._stamp = now
        if self._untold and self._tokens >= 1:
            self._tokens -= 1
            log.warning("%s: %s: %s", self.name, State.LOST, self.why)
            self.report(Fact(Notice.COMMS_LOST, detail=self.name, count=self._untold))
            self._untold, self._told = 0, True
