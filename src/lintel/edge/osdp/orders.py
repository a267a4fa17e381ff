"""Orders that wait for the line: bounded, in order, each finished exactly once. Sans-IO."""

from collections import deque
from typing import Final

from lintel.edge.model import Outcome
from lintel.edge.osdp.events import Job

MAX_JOBS: Final = 16
"""Orders that may wait at one reader."""


class Orders:
    """The waiting orders of one reader."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def add(self, job: Job, now: float) -> None:
        """Queue an order whose time is not over; too many are not sent."""
        if now >= job.deadline:
            job.finish(Outcome.ORDER_EXPIRED)
        elif len(self._jobs) >= MAX_JOBS:
            job.finish(Outcome.NOT_SENT)
        else:
            self._jobs.append(job)

    def take(self, now: float) -> Job | None:
        """The next order that may still leave."""
        while self._jobs:
            job = self._jobs.popleft()
            if now < job.deadline:
                return job
            job.finish(Outcome.ORDER_EXPIRED)
        return None

    def expire(self, now: float) -> None:
        """Finish the orders whose time is over."""
        if any(now >= job.deadline for job in self._jobs):
            waiting, self._jobs = self._jobs, deque()
            for job in waiting:
                self.add(job, now)

    def flush(self) -> None:
        """Finish all: they are not sent."""
        while self._jobs:
            self._jobs.popleft().finish(Outcome.NOT_SENT)
