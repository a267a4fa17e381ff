"""Doors that fire has released: held open from the moment of the input until an operator resets it.

Nothing here waits for a queue, looks into the store or asks what time it is: a lockdown, a full disk, a damaged
database and an unknown clock change nothing. The orders leave first; what is written down comes after.

    input active       every door of the input: hold, also while another order is under way, and once more when that is
                       void; where a lock knows no hold, open again before each pulse ends
    lock comes back    hold again, within a quarter of a second of its line
    input inactive     nothing: the doors stay released
    reset              by an operator, and only with the input inactive: release, until the lock has it
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lintel.edge.clock import Clock
from lintel.edge.ids import new_id
from lintel.edge.latch import Latch, LatchFile, Lock
from lintel.edge.ledger import Ledger
from lintel.edge.model import EVERY_DOOR, Action, Contact, Door, Fact, Notice, Order, Outcome, Reason

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
REACH_S: Final = 20.0
"""How long a lock that is dialled first may take to be reached (s): an order of fire that comes late is not void."""


@dataclass(frozen=True, slots=True)
class Reset:
    """What became of a reset: the doors that are normal again, and those that are not: door -> input."""

    doors: tuple[str, ...]
    active: Mapping[str, str]
    unknown: Mapping[str, str]


@dataclass(slots=True)
class Fire:
    """The latch of all doors. `execute` carries an order to its lock; `file` is where the latch outlives a restart.

    `order_s`: seconds after which every order of others is void.
    """

    doors: Mapping[str, Door]
    execute: Execute
    ledger: Ledger
    clock: Clock
    order_s: float = 3.0
    file: Path | None = None
    latched: dict[str, str] = field(default_factory=dict, init=False)
    """Door -> the input that released it."""
    far: set[str] = field(default_factory=set, init=False)
    """Locks that have to be dialled first. Their driver forgets an order that nobody waits for any more."""
    over: set[str] = field(default_factory=set, init=False)
    """Doors that an operator has reset in this run."""
    _held: set[Lock] = field(default_factory=set, init=False)
    """Those that were told to hold and have not had their release, except where it is known that they hold nothing."""
    _took: set[Lock] = field(default_factory=set, init=False)
    """Those of them that hold, or may: from these no refusal of a release is believed."""
    _inputs: dict[tuple[str, int], Contact] = field(default_factory=dict, init=False)
    """By device and its input."""
    _file: LatchFile = field(init=False)
    _wake: dict[str, asyncio.Event] = field(default_factory=dict, init=False)
    _tasks: dict[str, "asyncio.Task[None]"] = field(default_factory=dict, init=False)
    _leaving: set["asyncio.Task[None]"] = field(default_factory=set, init=False)
    """Work that a new release took the place of."""

    def __post_init__(self) -> None:
        self._file = LatchFile(self.file, lambda: self.latch)
        self._take(self._file.read() or Latch(dict.fromkeys(self.doors, "")))

    def _take(self, latch: Latch) -> None:
        """Have what this configuration knows of a latch, over what there is already."""
        locks = {_lock(door) for door in self.doors.values()}
        self.latched |= {door: source for door, source in latch.doors.items() if door in self.doors}
        self._held |= latch.held & locks
        self._took |= latch.held & locks
        gone = [*(latch.doors.keys() - self.doors.keys()), *(device for device, _ in latch.held - locks)]
        if gone:
            log.warning("fire: released, but no longer a door or its lock: %s; look at it", ", ".join(sorted(gone)))

    def released(self, door: str) -> bool:
        """Whether fire has released this door."""
        return door in self.latched

    def frees(self, lock: str) -> bool:
        """Whether fire has released a door that this device unlocks."""
        return any(self.doors[door].lock == lock for door in self.latched)

    def expect(self, inputs: Iterable[Contact]) -> None:
        """These fire inputs are wired; what they say is not known before they say it."""
        for contact in inputs:
            self._inputs.setdefault((contact.device, contact.input), contact)

    @property
    def latch(self) -> Latch:
        """What another run has to know."""
        return Latch(dict(self.latched), frozenset(self._held))

    def carry(self, before: Latch, over: Iterable[str]) -> None:
        """Go on from a run without a store. `over`: the doors that an operator reset in it.

        Any other that the file names was released before, and it may be that the file could not be read until now.
        """
        self.over |= set(over)
        self.latched = {door: source for door, source in self.latched.items() if door not in self.over}
        self._take(before)

    def resume(self) -> None:
        """Go on where the last run ended: call once, when orders can leave.

        A lock that holds for no door any more (the door was reset, or has another lock now) is told to release.
        """
        for door in self.doors.values():
            if door.id in self.latched or _lock(door) in self._held:
                self._keep(door.id)
        self._file.save()
        if self.latched:
            log.warning("fire: %s were released before the start, and stay so", ", ".join(sorted(self.latched)))
            self.ledger.report(Fact(Notice.FIRE, detail="released before the start"))

    def input(self, contact: Contact) -> None:
        """A fire input says what it is. Only active does something, and that lasts."""
        self._inputs[contact.device, contact.input] = contact
        new = [door for door in self._zone(contact) if door not in self.latched] if contact.active else []
        for door in new:
            self.latched[door] = contact.device
        for door in new:
            self._keep(door, anew=True)
        if new:
            log.warning("fire: input %s: %s released", contact.device, ", ".join(new))
            self._file.save()
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
            of_door = [(c.device, c.active) for c in self._inputs.values() if door in self._zone(c)]
            if source and source not in {device for device, _ in of_door}:
                of_door.append((source, None))
            on = [device for device, state in of_door if state]
            dark = [device for device, state in of_door if state is None]
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
            self._file.save()
        if not self.latched:
            self.ledger.health.cleared([Notice.FIRE])
        self.ledger.audit("fire.reset", "done" if done else "refused", " ".join(done or [*active, *unknown]))
        return Reset(tuple(done), active, unknown)

    async def saved(self, limit: float) -> bool:
        """Whether the latch as it is now is written down within `limit` seconds."""
        return await self._file.saved(limit)

    async def close(self) -> None:
        """End all work. Locks stay as they are."""
        tasks = [*self._tasks.values(), *self._leaving]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._file.close()

    def _zone(self, contact: Contact) -> list[str]:
        return list(self.doors) if contact.door == EVERY_DOOR else [d for d in self.doors if d == contact.door]

    # orders

    def _keep(self, door: str, *, anew: bool = False) -> None:
        """See that the lock of a door is as the latch says: at once, or after the order that is under way.

        `anew`: in its place. A driver takes the orders of a lock one after another, and drops one that has not begun
        when nobody waits for it, so that the last is the one that counts.
        """
        self._wake.setdefault(door, asyncio.Event()).set()
        if door in self.latched:
            self._held.add(_lock(self.doors[door]))
        if anew and (old := self._tasks.pop(door, None)) is not None:
            old.cancel()
            self._leaving.add(old)
            old.add_done_callback(self._leaving.discard)
        if door not in self._tasks:
            self._tasks[door] = asyncio.create_task(self._work(self.doors[door]), name=f"fire {door}")

    async def _work(self, door: Door) -> None:
        wake, told, me = self._wake[door.id], None, asyncio.current_task()
        longest = self.order_s  # whatever was ordered before is void then, and has not had the last word
        while True:
            wake.clear()
            released = door.id in self.latched
            order, outcome, wait = await self._once(door, Action.HOLD if released else Action.RELEASE)
            if self._tasks.get(door.id) is not me:
                return
            if (released, outcome) != told:
                told = (released, outcome)
                self._told(order, outcome)
            nothing = outcome is Outcome.REFUSED_BY_DEVICE and _lock(door) not in self._took  # it knows no hold
            if (nothing or outcome is Outcome.EXECUTED) and not released and door.id not in self.latched:
                del self._tasks[door.id], self._wake[door.id]
                self._held.discard(_lock(door))
                self._took.discard(_lock(door))
                self._file.save()
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(wait, longest)):
                    await wake.wait()
            longest = RENEW_S

    async def _once(self, door: Door, action: Action) -> tuple[Order, Outcome, float]:
        """One order and how long it lasts; a lock that knows no hold gets an opening instead."""
        order = self._order(door, action)
        outcome = await self._execute(order)
        wait = RENEW_S
        if action is Action.HOLD and outcome in (Outcome.EXECUTED, Outcome.UNKNOWN_OUTCOME):
            self._took.add(_lock(door))
        if outcome is Outcome.REFUSED_BY_DEVICE and action is Action.RELEASE:
            return order, outcome, RENEW_S
        if outcome is Outcome.REFUSED_BY_DEVICE and action is Action.HOLD:
            if _lock(door) not in self._took and _lock(door) in self._held:
                self._held.discard(_lock(door))  # it knows no hold: the next run asks it for no release either
                self._file.save()
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
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return Outcome.NOT_SENT  # a future inside the driver was cancelled, not this
        except Exception:  # whatever broke: the door is still to be released
            log.exception("door %s: order %s failed unexpectedly", order.door, order.id)
            return Outcome.NOT_SENT

    def _order(self, door: Door, action: Action) -> Order:
        deadline = self.clock.now().mono + (REACH_S if door.lock in self.far else self.order_s)
        return Order(new_id("ord_"), door.id, door.lock, action, deadline, door.channel, door.open_s)

    def _told(self, order: Order, outcome: Outcome) -> None:
        self.ledger.health.ordered(order.door, outcome)
        self.ledger.acted(order, outcome, Reason.FIRE_RELEASE)


def _lock(door: Door) -> Lock:
    return door.lock, door.channel
