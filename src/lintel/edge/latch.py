"""What fire released, in a file of its own: written as long as that fails, read whatever it holds.

The latch is in force in memory; nobody waits here for the disk, except who asks whether a restart will know it.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lintel.edge.store import atomic_write

log = logging.getLogger(__name__)

SAVE_S: Final = 5.0
"""Between attempts to write it down (s)."""

Lock = tuple[str, int]
"""The device that unlocks a door, and its channel there."""


@dataclass(frozen=True, slots=True)
class Latch:
    """What outlives a run. `doors`: those released -> the input that did it ("" where that is not known).

    `held`: the locks that were told to hold, and have not had their release.
    """

    doors: Mapping[str, str]
    held: frozenset[Lock] = frozenset()


NOTHING: Final = Latch({})


@dataclass(slots=True)
class LatchFile:
    """The file; without a `path` nothing is kept. `now` tells the latch as it is."""

    path: Path | None
    now: Callable[[], Latch]
    _written: Latch | None = field(default=NOTHING, init=False)
    """What it says; None where nobody knows, as while it is written."""
    _saver: "asyncio.Task[None] | None" = field(default=None, init=False)
    _saved: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    """One attempt was good, and no other has begun."""

    def read(self) -> Latch | None:
        """The latch of the last run. None: it can not be read, so it may be one of every door."""
        if self.path is not None:
            self._written = _read(self.path)
        return self._written

    def save(self) -> None:
        """Write the latch down, beside the orders, if the file says something else."""
        if self.path is None or (self._written == self.now() and not self._saving()):
            return
        if not self._saving():
            self._saved.clear()
            self._saver = asyncio.create_task(self._save(self.path), name="fire latch")

    async def saved(self, limit: float) -> bool:
        """Whether the doors that are released now are written down within `limit` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while self._saving() and not self._kept():
                    await self._saved.wait()
        return self._kept()

    async def close(self) -> None:
        """End all work."""
        if self._saver is not None:
            self._saver.cancel()
            await asyncio.gather(self._saver, return_exceptions=True)

    def _kept(self) -> bool:
        return self.path is not None and self._written is not None and self._written.doors == self.now().doors

    def _saving(self) -> bool:
        return self._saver is not None and not self._saver.done()

    async def _save(self, path: Path) -> None:
        why = ""
        while True:
            latch, self._written = self.now(), None
            self._saved.clear()
            try:
                await asyncio.to_thread(_write, path, latch)
            except Exception as error:  # noqa: BLE001  the disk, or no memory for a thread: it is tried again
                if why != (why := repr(error)):
                    log.warning("fire: the latch is in force, but can not be written down: %s", why)
                await asyncio.sleep(SAVE_S)
                continue
            if why:
                log.warning("fire: the latch is written down again")
            why, self._written = "", latch
            self._saved.set()
            if latch == self.now():
                return


def _write(path: Path, latch: Latch) -> None:
    """Keep the latch, or that there is none. Raises OSError."""
    atomic_write(path, json.dumps({"at": int(time.time()), "doors": latch.doors, "held": sorted(latch.held)}).encode())


def _read(path: Path) -> Latch | None:
    try:
        table = json.loads(path.read_bytes())
        doors = {str(door): str(source) for door, source in table["doors"].items()}
        return Latch(doors, frozenset((str(device), int(channel)) for device, channel in table.get("held", ())))
    except (FileNotFoundError, NotADirectoryError):
        return NOTHING
    except Exception as error:  # noqa: BLE001  nested too deep, too large: a start that fails would release no door
        log.error("fire: %s can not be read, so every door is released until a reset: %r", path, error)  # noqa: TRY400
        return None
