"""One keeper for every connection: run, classify the error, wait with jitter, run again.

State changes are logged once; attempts are only counted. The class of the error decides:

    Lost       waits 0.2 s, doubling with jitter up to the line's limit (0.5 s on a serial port, 5 s on a broker)
    Refused    raises an alarm, waits 60 s: a wrong password does not get better by asking often
    anything   a bug: logged with its trace, treated as Lost at the limit, so that the other lines go on
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from lintel.edge.errors import Lost, Refused
from lintel.edge.model import Fact, Notice

log = logging.getLogger(__name__)

REFUSED_WAIT = 60.0
FIRST_WAIT = 0.2


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
    state: State = State.STARTING
    attempts: int = 0
    why: str = ""
    _wait: float = field(default=FIRST_WAIT, init=False)

    def up(self) -> None:
        """The line is open: called by the driver's inlet, once for each run."""
        if self.state in (State.LOST, State.REFUSED):
            log.info("%s: back after %d attempts", self.name, self.attempts)
            self.report(Fact(Notice.COMMS_RESTORED, detail=self.name))
        elif self.state is State.STARTING:
            log.info("%s: up", self.name)
        self.state, self.attempts, self.why, self._wait = State.UP, 0, "", FIRST_WAIT

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
        if state is not self.state:
            log.warning("%s: %s: %s", self.name, state, self.why)
            if state is State.REFUSED:
                self.report(Fact(Notice.DEVICE_FAULT, detail=f"{self.name} refused: {self.why}"))
            else:
                self.report(Fact(Notice.COMMS_LOST, detail=self.name))
            self.state = state
        if state is State.REFUSED:
            return REFUSED_WAIT * (1 + 0.1 * self.jitter())
        if not isinstance(error, Lost):
            return self.limit
        wait = self._wait * (0.5 + self.jitter() / 2)
        self._wait = min(self.limit, self._wait * 2)
        return min(wait, self.limit)
