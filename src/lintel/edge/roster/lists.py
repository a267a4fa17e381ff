"""The person lists of all terminals, each kept by a task of its own; and the photos that nobody needs any more."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from lintel.edge.clock import Clock
from lintel.edge.digests import Digester
from lintel.edge.errors import StoreError
from lintel.edge.model import Fact, Method, Notice
from lintel.edge.persons import KeepsPersons
from lintel.edge.roster.keeper import ListKeeper
from lintel.edge.store import Store

log = logging.getLogger(__name__)

SWEEP_S: Final = 10.0
"""A photo whose person lost the credential or the consent is off the disk so many seconds later."""


class Lists:
    """`run` keeps them all. `keepers` by device."""

    def __init__(
        self,
        devices: Sequence[tuple[str, Sequence[str], KeepsPersons]],
        *,
        store: Store,
        clock: Clock,
        digest: Digester,
        report: Callable[[Fact], None],
    ) -> None:
        """`devices`: the id, the door groups of its door, and the driver, of each that may keep a list."""
        self._store, self._digest, self._report = store, digest, report
        self.keepers: Mapping[str, ListKeeper] = {
            device: ListKeeper(device, groups, driver=driver, keeping=keeping, store=store, clock=clock,
                               report=report, digest=self._of)
            for device, groups, driver in devices
            if (keeping := driver.keeping(device)) is not None
        }  # fmt: skip

    def _of(self, name: str) -> bytes:
        """The digest of somebody's id on a terminal: that of the face which such a person has, or would have."""
        try:
            return self._digest(Method.FACE, name)
        except ValueError:  # no credential can be called so
            return self._digest(Method.FACE, name.encode().hex()[:128] or "-")

    async def left(self) -> dict[str, int]:
        """Devices that have a list no more, and how many persons may still be on each. Raises StoreError."""
        return await self._store.roster.elsewhere(self.keepers)

    async def forget(self, device: str) -> int:
        """An operator has wiped or destroyed such a device: how many persons are forgotten. Raises StoreError."""
        count = (await self.left()).get(device, 0)
        if count:
            await self._store.roster.forget(device)
        return count

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tell_left(), name="lists of other devices")
            tasks.create_task(self._sweep(), name="photos")
            for device, keeper in self.keepers.items():
                tasks.create_task(keeper.run(), name=f"persons {device}")

    async def _tell_left(self) -> None:
        """Once: nobody deletes there who loses the right, for a device of this name is not in the configuration."""
        while True:
            try:
                left = await self.left()
            except StoreError:  # nothing can be stored for now
                await asyncio.sleep(SWEEP_S)
            else:
                for device, count in left.items():
                    said = f"not in the configuration with a person list: {count} persons may still be on it"
                    self._report(Fact(Notice.DEVICE_FAULT, device, said, count))
                return

    async def _sweep(self) -> None:
        """At the start, and after each change of the allowlist or of a photo."""
        seen = (-1, -1)
        while True:
            revision = (self._store.allowlist.revision, self._store.faces.turn)
            if revision != seen:
                try:
                    await self._store.roster.read(self._store.faces.sweep)
                    seen = revision
                except (StoreError, OSError) as error:
                    log.warning("photos that nobody needs could not be removed: %s", error)
            await asyncio.sleep(SWEEP_S)
