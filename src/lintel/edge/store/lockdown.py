"""Lockdown is in force at once: what an operator wishes holds in memory until the disk has it."""

import asyncio
import logging
from collections.abc import Callable, Collection

from lintel.edge.store.connection import Connection
from lintel.edge.store.writer import Writer

log = logging.getLogger(__name__)


class Lockdown:
    """Wishes that are not stored yet, over what is stored. For the event loop.

    `on_change` runs on the writer thread, in the transaction that stores wishes. `turn` rises when one comes or goes.
    """

    def __init__(self, writer: Writer, on_change: Callable[[], None]) -> None:
        self._writer = writer
        self._on_change = on_change
        self._wishes: dict[str, tuple[int, bool]] = {}  # door group -> (turn of the wish, locked)
        self.turn = 0
        self.said: dict[str, bool] = {}
        """What an operator said last of each group in this run: what stands in for a store has to pass it on."""

    def set(self, groups: Collection[str], *, on: bool) -> "asyncio.Future[bool]":
        """Lock door groups or lift it, now. The future: whether a restart will know it; if not, it is tried again."""
        self.turn += 1
        self._wishes.update((group, (self.turn, on)) for group in groups)
        self.said |= dict.fromkeys(groups, on)
        return self.store()

    def over(self, stored: frozenset[str]) -> frozenset[str]:
        """The groups that are locked down, given those that are stored."""
        lifted = {group for group, (_, on) in self._wishes.items() if not on}
        return (stored | self._wishes.keys()) - lifted

    def store(self) -> "asyncio.Future[bool]":
        """Write down every wish that is not stored yet; call it again when writing works again."""
        wishes = dict(self._wishes)
        kept: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def work(conn: Connection) -> None:
            for group, (_, on) in wishes.items():
                sql = "INSERT OR IGNORE INTO lockdown VALUES (?)" if on else "DELETE FROM lockdown WHERE door_group = ?"
                conn.execute(sql, (group,))
            self._on_change()

        def done(stored: "asyncio.Future[None]") -> None:
            error = None if stored.cancelled() else stored.exception()
            if error is not None:
                log.warning("a lockdown holds in memory only: %s", error)
            elif not stored.cancelled():
                self._forget(wishes)
            if not kept.done():
                kept.set_result(error is None and not stored.cancelled())

        self._writer.submit(work, now=True).add_done_callback(done)
        return kept

    def waiting(self) -> bool:
        """Whether a wish is not stored yet."""
        return bool(self._wishes)

    def _forget(self, wishes: dict[str, tuple[int, bool]]) -> None:
        """These are stored; one that was wished otherwise meanwhile stays."""
        self._wishes = {group: wish for group, wish in self._wishes.items() if wishes.get(group) != wish}
        self.turn += 1
