"""A lockdown holds at once, also while nothing can be written, and the last wish is what a restart knows."""

import asyncio
import time
from pathlib import Path

from lintel.edge.errors import StoreError
from lintel.edge.store import Store

from .helpers import card, opened, run


def _broken(store: Store) -> None:
    """Writing fails from now on, and is not tried again."""
    store.writer._fault = StoreError("disk_full", "as if the disk were full")
    store.writer._attempt = time.monotonic() + 3600


async def _mended(store: Store) -> None:
    store.writer._attempt = 0.0
    async with asyncio.timeout(30):
        while store.writer.fault or store.allowlist.lockdown.waiting():
            await asyncio.sleep(0.02)


def _locked(store: Store) -> set[str]:
    return set(store.allowlist.site().lockdown)


def test_a_lockdown_holds_while_nothing_can_be_written_and_is_stored_later(tmp_path: Path) -> None:
    async def first(store: Store) -> None:
        lists = store.allowlist
        assert await lists.set_lockdown({"north", "pool"}, on=True), "durable"
        _broken(store)
        wish = lists.set_lockdown({"south"}, on=True)
        assert _locked(store) == {"north", "pool", "south"}, "before anything is written"
        assert not await wish, "said: not durable yet"
        assert not await lists.set_lockdown({"pool"}, on=False)
        assert _locked(store) == {"north", "south"}, "lifting holds at once too"
        assert not await lists.set_lockdown({"east"}, on=True)
        assert not await lists.set_lockdown({"east"}, on=False)
        assert store.database.reader.execute("SELECT count(*) FROM lockdown").fetchone() == (2,), "nothing is stored"
        await _mended(store)
        assert _locked(store) == {"north", "south"}

    async def again(store: Store) -> None:
        assert _locked(store) == {"north", "south"}
        await store.allowlist.apply_import([card(1)], at=1.0, replace=False)
        assert _locked(store) == {"north", "south"}

    run(tmp_path, first)
    run(tmp_path, again)


def test_a_wish_that_came_later_is_not_undone_by_one_that_is_stored_late(tmp_path: Path) -> None:
    async def main() -> None:
        store = opened(tmp_path)
        busy = store.writer.submit(lambda _: time.sleep(0.3), now=True, lone=True)
        on = store.allowlist.set_lockdown({"north"}, on=True)
        off = store.allowlist.set_lockdown({"north"}, on=False)
        assert _locked(store) == set()
        seen = set()
        while not off.done():
            seen |= _locked(store)
            await asyncio.sleep(0)
        assert (await on, await off, seen) == (True, True, set())
        await busy
        assert _locked(store) == set()
        assert not store.allowlist.lockdown.waiting()
        await store.close()

    async def again(store: Store) -> None:
        assert _locked(store) == set()

    asyncio.run(main())
    run(tmp_path, again)
