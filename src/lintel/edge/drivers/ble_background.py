"""Work at one lock that is broken off where an order of another lock needs its connection."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

Work = Callable[[], Coroutine[Any, Any, None]]


class Background:
    """One piece of work at a time. `firm` says whether it may not be broken off now."""

    def __init__(self, firm: Callable[[], bool]) -> None:
        self._firm = firm
        self._task: asyncio.Task[None] | None = None

    async def run(self, work: Work) -> bool:
        """Do it; raises what it raises. False where it was broken off."""
        task = self._task = asyncio.ensure_future(work())
        try:
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
