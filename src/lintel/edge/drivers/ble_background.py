"""Work at one lock that is broken off where an order of another lock needs its connection."""

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any

Work = Callable[[], Coroutine[Any, Any, None]]


class Background:
    """One piece of work at a time.

    `firm` says whether it may not be broken off now, `served` whether it has what it waits for, its connection.
    """

    def __init__(self, firm: Callable[[], bool], served: Callable[[], bool]) -> None:
        self._firm, self._served = firm, served
        self._task: asyncio.Task[None] | None = None

    async def run(self, work: Work, patience: float = math.inf) -> bool:
        """Do it; raises what it raises. False where it was broken off, as what still waits after `patience` s is."""
        task = self._task = asyncio.ensure_future(work())
        try:
            if patience < math.inf:
                await asyncio.wait({task}, timeout=patience)
                if not self._served():
                    self.break_off()
            await asyncio.wait({task})
        finally:
            self._task = None
            task.cancel()
            await asyncio.wait({task})
        if task.cancelled():
            return False
        task.result()
        return True

    def break_off(self) -> None:
        """Its connection is needed."""
        if self._task is not None and not self._firm():
            self._task.cancel()
