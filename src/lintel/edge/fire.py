"""Doors that fire has released: held open from the moment of the input until an operator resets it.

Nothing here waits for a queue, looks into the store or asks what time it is: a lockdown, a full disk, a damaged
database and an unknown clock change nothing. The orders leave first; what is written down comes after.

    input active       every door of the input: hold; where a lock knows no hold, open again before each pulse ends
    lock comes back    hold again, within a quarter of a second of its line
    input inactive     nothing: the doors stay released
    reset              by an operator, and only with the input inactive: release, until the lock has it
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lintel.edge.clock import Clock
from lintel.edge.ids import new_id
from lintel.edge.ledger import Ledger
from lintel.edge.model import EVERY_DOOR, Action, Contact, Door, Fact, Notice, Order, Outcome, Reason
from lintel.edge.store import atomic_write

log = logging.getLogger(__name__)

Execute = Callable[[Order], Awaitable[Outcome]]

FILE: Final = "fire.json"
"""Which doors are released, beside the database and without it."""
RENEW_S: Final = 10.0
"""How often a hold is ordered again: a lock may have restarted unnoticed (s)."""
AGAIN_S: Final = 0.25
"""After an order that did not reach its lock (s)."""
UNCLEAR_S: Final = 1.0
"""After one that the lock refused, or whose outcome is not known (s)."""
SAVE_S: Final = 5.0
"""Between attempts to write the latch down (s)."""


@dataclass(frozen=True, slots=True)
class Reset:
    """What became of a reset: the doors that are normal again, and those that are not: door -> input."""

    doors: tuple[str, ...]
    active: Mapping[str, str]
    unknown: Mapping[str, str]


@dataclass(slots=True)
class Fire:
    """The latch of all doors. `execute` carries an order to its lock; `file` is where the latch outlives a restart."""

    doors: Mapping[str, Door]
    execute: Execute
    ledger: Ledger
    clock: Clock
    order_s: float = 3.0
    file: Path | None = None
    latched: dict[str, str] = field(default_factory=dict, init=False)
    over: set[str] = field(default_factory=set, init=False)
    """Doors that an operator has reset in this run."""
    """Door -> the input that released it."""
    _inputs: dict[str, Contact] = field(default_factory=dict, init=False)
    _wake: dict[str, asyncio.Event] = field(default_factory=dict, init=False)
    _tasks: dict[str, "asyncio.Task[None]"] = field(default_factory=dict, init=False)
    _saver: "asyncio.Task[None] | None" = field(default=None, init=False)
    _unsaved: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _saved: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def __post_init__(self) -> None:
        if self.file is not None:
            self.latched = _load(self.file, self.doors)

    def released(self, door: str) -> bool:
        """Whether fire has released this door."""
        return door in self.latched

    def frees(self, lock: str) -> bool:
        """Whether fire has released a door that this device unlocks."""
        return any(self.doors[door].lock == lock for door in self.latched)

    def resume(self) -> None:
        """Go on where the last run ended: call once, when orders can leave."""
        for door in self.latched:
            self._keep(door)
        if self.latched:
            log.warning("fire: %s were released before the start, and stay so", ", ".join(sorted(self.latched)))
            self.ledger.report(Fact(Notice.FIRE, detail="released before the start"))

    def input(self, contact: Contact) -> None:
        """A fire input says what it is. Only active does something, and that lasts."""
        self._inputs[contact.device] = contact
        new = [door for door in self._zone(contact) if door not in self.latched] if contact.active else []
        for door in new:
            self.latched[door] = contact.device
        for door in new:
            self._keep(door)
        if new:
            log.warning("fire: input %s: %s released", contact.device, ", ".join(new))
            self._save()
            self.ledger.report(Fact(Notice.FIRE, contact.device, detail=" ".join(new)))

    def line_up(self) -> None:
        """A line is there again: locks on it get their order now."""
        for wake in self._wake.values():
            wake.set()

    def reset(self, *, unseen: bool = False) -> Reset:
        """An operator says that it is over. A door whose input is active stays released.

        So does one whose input is not heard (its line is down), unless `unseen`: the operator has looked at the panel.
        """
        active, unknown, done = {}, {}, []
        for door, source in self.latched.items():
            of_door = {c.device: c.active for c in self._inputs.values() if door in self._zone(c)}
            if source:
                of_door.setdefault(source, None)
            on = [device for device, state in of_door.items() if state]
            dark = [device for device, state in of_door.items() if state is None]
            if on:
                active[door] = on[0]
            elif dark and not unseen:
                unknown[door] = dark[0]
            else:
                done.append(door)
        for door in done:
            del self.latched[door]
            self.over.add(door)
            self._keep(door)
        if done:
            log.warning("fire: reset of %s", ", ".join(done))
            self._save()
        if not self.latched:
            self.ledger.health.cleared([Notice.FIRE])
        self.ledger.audit("fire.reset", "done" if done else "refused", " ".join(done or [*active, *unknown]))
        return Reset(tuple(done), active, unknown)

    async def saved(self, limit: float) -> bool:
        """Whether the latch as it is now is written down within `limit` seconds."""
        if self.file is not None and self._unsaved.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    await self._saved.wait()
        return self.file is not None and not self._unsaved.is_set()

    async def close(self) -> None:
        """End all work. Locks stay as they are."""
        tasks = [*self._tasks.values(), *([self._saver] if self._saver else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _zone(self, contact: Contact) -> list[str]:
        return list(self.doors) if contact.door == EVERY_DOOR else [d for d in self.doors if d == contact.door]

    # orders

    def _keep(self, door: str) -> None:
        """See that the lock of a door is as the latch says, at once."""
        self._wake.setdefault(door, asyncio.Event()).set()
        if door not in self._tasks:
            self._tasks[door] = asyncio.create_task(self._work(self.doors[door]), name=f"fire {door}")

    async def _work(self, door: Door) -> None:
        wake, told = self._wake[door.id], None
        while True:
            wake.clear()
            released = door.id in self.latched
            order, outcome, wait = await self._once(door, Action.HOLD if released else Action.RELEASE)
            if (released, outcome) != told:
                told = (released, outcome)
                self._told(order, outcome)
            over = outcome in (Outcome.EXECUTED, Outcome.REFUSED_BY_DEVICE)  # refused: what knows no hold needs no end
            if over and not released and door.id not in self.latched:
                del self._tasks[door.id], self._wake[door.id]
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await wake.wait()

    async def _once(self, door: Door, action: Action) -> tuple[Order, Outcome, float]:
        """One order and how long it lasts; a lock that knows no hold gets an opening instead."""
        order = self._order(door, action)
        outcome = await self._execute(order)
        wait = RENEW_S
        if outcome is Outcome.REFUSED_BY_DEVICE and action is Action.HOLD:
            order = self._order(door, Action.OPEN)
            outcome, wait = await self._execute(order), door.open_s / 2
            if outcome is Outcome.UNKNOWN_OUTCOME:
                return order, outcome, wait  # a lock that never answers
        if outcome in (Outcome.NOT_SENT, Outcome.ORDER_EXPIRED):
            wait = AGAIN_S
        elif outcome is not Outcome.EXECUTED:
            wait = UNCLEAR_S
        return order, outcome, wait

    async def _execute(self, order: Order) -> Outcome:
        try:
            return await self.execute(order)
        except Exception:  # whatever broke: the door is still to be released
            log.exception("door %s: order %s failed unexpectedly", order.door, order.id)
            return Outcome.NOT_SENT

    def _order(self, door: Door, action: Action) -> Order:
        deadline = self.clock.now().mono + self.order_s
        return Order(new_id("ord_"), door.id, door.lock, action, deadline, door.channel, door.open_s)

    def _told(self, order: Order, outcome: Outcome) -> None:
        self.ledger.health.ordered(order.door, outcome)
        self.ledger.acted(order, outcome, Reason.FIRE_RELEASE)

    # the file

    def _save(self) -> None:
        """Write the latch down, beside the orders; as long as that fails it is tried again."""
        if self.file is None:
            return
        self._unsaved.set()
        self._saved.clear()
        if self._saver is None or self._saver.done():
            self._saver = asyncio.create_task(self._saving(self.file), name="fire latch")

    async def _saving(self, file: Path) -> None:
        while True:
            latched = dict(self.latched)
            try:
                await asyncio.to_thread(_store, file, latched)
            except OSError as error:
                log.warning("fire: the latch is in force, but can not be written down: %s", error)
                await asyncio.sleep(SAVE_S)
                continue
            if latched == self.latched:
                self._unsaved.clear()
                self._saved.set()
                return


def _store(file: Path, latched: Mapping[str, str]) -> None:
    """Keep the latch, or that there is none. Raises OSError."""
    atomic_write(file, json.dumps({"at": int(time.time()), "doors": latched}).encode())


def _load(file: Path, doors: Mapping[str, Door]) -> dict[str, str]:
    """The latch of the last run. A file that can not be read may be a latch: then every door is released."""
    try:
        latched = json.loads(file.read_bytes())["doors"]
        return {str(door): str(latched[door]) for door in doors if door in latched}
    except FileNotFoundError:
        return {}
    except NotADirectoryError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.error("fire: %s can not be read, so every door is released until a reset: %s", file, error)  # noqa: TRY400
        return dict.fromkeys(doors, "")
