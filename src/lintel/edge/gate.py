"""The use case, and the file to read first: reading -> decision -> order and journal -> acknowledgement.

    gate.handle(reading)
      seen before?                 the device re-sent a stored record: acknowledge again, nothing else
      facts                        point look-ups in the encrypted allowlist, tens of microseconds
      policy.decide                pure, one reason word
      counted or one-time          the use is committed BEFORE the order: never a second grant
      anything else                order and journal commit start together, neither waits for the other
      receipt                      done after the commit only: then the driver acknowledges the device

Readings of one door are decided one after another. Nobody waits for the lock of who came before: an order goes on by
itself, and only a door with several of them under way lets the next person wait. Exit buttons and fire inputs go past
all of this: see `exits` and `fire`.
"""

import asyncio
import contextlib
import itertools
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from lintel.edge.clock import Clock
from lintel.edge.errors import StoreError
from lintel.edge.exits import Exits
from lintel.edge.fire import Fire
from lintel.edge.guessing import Guessing
from lintel.edge.health import Health
from lintel.edge.ids import new_id
from lintel.edge.ledger import Ledger, decided
from lintel.edge.model import (
    Action,
    Contact,
    ContactKind,
    Door,
    Fact,
    Instant,
    Notice,
    Order,
    Outcome,
    Reading,
    Reason,
)
from lintel.edge.policy import Decision, Facts, decide
from lintel.edge.store import Store
from lintel.edge.witness import Found, Witness

log = logging.getLogger(__name__)

Execute = Callable[[Order], Awaitable[Outcome]]
Receipt = asyncio.Future[None]

REMEMBERED = 60.0
"""Seconds for which a record that led to an order leads to no other, whatever became of its commit."""
INSTANT = 0.05
"""A shorter wait makes no presentation older (s)."""
_ALARMS = {ContactKind.TAMPER: Notice.TAMPER, ContactKind.POWER: Notice.POWER}
QUEUE = 64
"""Presentations that may wait at one door; beyond it the driver waits, and so does the device."""
UNDER_WAY = 4
"""Orders of one door whose outcome is not known yet; beyond it the next presentation waits for one of them."""


@dataclass(slots=True)
class Gate:
    """Handles every presentation of one gateway.

    `order_s`: seconds after which an order is void. `fire_file`: where the doors that fire released outlive a restart.
    """

    doors: Mapping[str, Door]
    store: Store
    witness: Witness
    clock: Clock
    execute: Execute
    health: Health
    order_s: float = 3.0
    fire_file: Path | None = None
    ledger: Ledger = field(init=False)
    fire: Fire = field(init=False)
    exits: Exits = field(init=False)
    _queues: dict[str, asyncio.Queue[tuple[Reading, Receipt]]] = field(init=False)
    _orders: dict[str, set["asyncio.Task[None]"]] = field(init=False)
    _ordered: dict[tuple[str, str], float] = field(default_factory=dict, init=False)
    _pending: dict[tuple[str, str], Receipt] = field(default_factory=dict, init=False)
    _guessing: Guessing = field(default_factory=Guessing, init=False)

    def __post_init__(self) -> None:
        self._queues = {door: asyncio.Queue(QUEUE) for door in self.doors}
        self._orders = {door: set() for door in self.doors}
        self.ledger = Ledger(self.doors, self.store.journal, self.clock, self.health)
        self.fire = Fire(self.doors, self.execute, self.ledger, self.clock, self.order_s, self.fire_file)
        self.exits = Exits(self.doors, self.execute, self.ledger, self.clock, self.fire.released, self.order_s)

    async def present(self, reading: Reading) -> Receipt:
        """Queue a presentation at its door; waits while the queue is full."""
        waiting = self._waiting(reading)
        await self._queues[reading.door].put(waiting)
        return waiting[1]

    def offer(self, reading: Reading) -> Receipt | None:
        """Queue a presentation at its door; None when the queue is full."""
        queue = self._queues[reading.door]
        if queue.full():
            return None
        waiting = self._waiting(reading)
        queue.put_nowait(waiting)
        return waiting[1]

    def _waiting(self, reading: Reading) -> tuple[Reading, Receipt]:
        if reading.mono is None:
            reading = replace(reading, mono=self.clock.now().mono)
        return reading, asyncio.get_running_loop().create_future()

    async def serve(self, door: str) -> None:
        """The task of one door. An unexpected error denies, raises one alarm, and the door goes on."""
        queue, orders = self._queues[door], self._orders[door]
        try:
            while True:
                await self._next(queue, orders)
        finally:
            for task in orders:
                task.cancel()
            await asyncio.gather(*orders, return_exceptions=True)  # each writes down how it ended

    async def _next(self, queue: asyncio.Queue[tuple[Reading, Receipt]], orders: set["asyncio.Task[None]"]) -> None:
        reading, receipt = await queue.get()
        try:
            if len(orders) >= UNDER_WAY:
                await asyncio.wait(orders, return_when=asyncio.FIRST_COMPLETED)
            await self.handle(reading, receipt)
        except Exception:  # fail secure: whatever broke, this person is not let in by it and the next is served
            log.exception("door %s: a presentation failed unexpectedly", reading.door)
            self._failed(reading, receipt)
        finally:
            queue.task_done()

    def _failed(self, reading: Reading, receipt: Receipt) -> None:
        self._journal(reading, Decision(Reason.INTERNAL_ERROR), self.clock.now(), receipt)
        self.ledger.report(Fact(Notice.DEVICE_FAULT, reading.device, Reason.INTERNAL_ERROR))

    async def handle(self, reading: Reading, receipt: Receipt) -> None:
        """Decide one presentation, order the lock if granted, journal, and complete `receipt` after the commit."""
        if reading.record and self._again(reading, receipt):
            return
        now = self.clock.now()
        reading = self._aged(reading, now)
        door = self.doors[reading.door]
        fire = self.fire.released(reading.door)
        found = Found(Facts(fire=True)) if fire else self.witness.find(reading, door, now)
        facts = found.facts
        if self._guessing.limited(reading, now.mono):
            facts = replace(facts, rate_limited=True)
        if found.use is not None and self.store.writer.fault:
            facts = replace(facts, storage_read_only=True)
        decision = decide(reading, facts, door, now)
        if self._guessing.judge(reading, decision.reason, now.mono):
            self.ledger.report(Fact(Notice.GUESSING, reading.device))
        if found.use is not None and decision.opens:
            self._alarm_silently(reading, facts)  # into the commit of the use, which the order waits for anyway
            if await self._consume(found, reading, decision, now, receipt):
                self._open(reading, now)
            return
        if decision.opens:
            self._open(reading, now)
        # in the next turn of the loop, when the order has left, for who is forced at the same moment as for everybody
        asyncio.get_running_loop().call_soon(self._write_down, reading, decision, now, receipt, found)

    def _write_down(self, reading: Reading, decision: Decision, now: Instant, receipt: Receipt, found: Found) -> None:
        self._journal(reading, decision, now, receipt, found)
        self._alarm_silently(reading, found.facts)

    def _alarm_silently(self, reading: Reading, facts: Facts) -> None:
        if facts.credential is not None and facts.credential.duress:
            self.ledger.report(Fact(Notice.DURESS, reading.device, detail=reading.id))

    def contact(self, contact: Contact) -> None:
        """An input of a device says what it is. Fire and exit are acted on first and written down after."""
        if contact.kind is ContactKind.EXIT:
            self.exits.input(contact)
            return
        if contact.kind is ContactKind.FIRE:
            self.fire.input(contact)
        if self.ledger.contact(contact) and contact.active and contact.kind in _ALARMS:
            self.ledger.report(Fact(_ALARMS[contact.kind], contact.device))

    async def close(self) -> None:
        """End what fire and exits have under way; locks stay as they are."""
        await self.exits.close()
        await self.fire.close()

    def waiting(self, door: str) -> int:
        """Presentations queued at a door."""
        return self._queues[door].qsize()

    async def drain(self, limit: float) -> None:
        """Let the doors finish what is queued, for at most `limit` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await asyncio.gather(*(q.join() for q in self._queues.values()))
                await asyncio.gather(*(task for orders in self._orders.values() for task in orders))

    def _aged(self, reading: Reading, now: Instant) -> Reading:
        """The reading as it stands now: older by the time it waited, and stale when its record was acted on before.

        A record is seen twice although it is not stored when its commit failed and the device sent it again.
        """
        if reading.mono is not None and (waited := now.mono - reading.mono) > INSTANT:
            reading = replace(reading, age=reading.age + waited, mono=now.mono)
        key = (reading.device, reading.record)
        if reading.record and now.mono - self._ordered.get(key, -math.inf) < REMEMBERED:
            self._remember(key, now.mono)
            return replace(reading, fault=reading.fault or Reason.STALE_READING)
        return reading

    def _again(self, reading: Reading, receipt: Receipt) -> bool:
        """Whether this record is stored or on its way; then its receipt follows the first one's."""
        key = (reading.device, reading.record)
        first = self._pending.get(key)
        if first is not None:
            first.add_done_callback(lambda done: _pass_on(done, receipt))
        elif self.store.journal.seen(*key):
            receipt.set_result(None)
        else:
            self._pending[key] = receipt
            receipt.add_done_callback(lambda _: self._pending.pop(key, None))
            return False
        self.ledger.repeated(reading.device)
        return True

    async def _consume(
        self, found: Found, reading: Reading, decision: Decision, now: Instant, receipt: Receipt
    ) -> bool:
        """Commit the use, alone and before any order. False: another presentation had it, or it can not be kept.

        A disk that does not answer holds this visitor up, not who stands behind: after `order_s` the door stays shut,
        whatever becomes of the use.
        """
        use = found.use
        assert use is not None  # noqa: S101  the caller asked
        granted, refused = (decided(reading, d, now, found) for d in (decision, Decision(Reason.ALREADY_USED)))
        deadline = time.monotonic() + self.order_s
        taking = self.store.allowlist.consume(use, granted, refused, deadline=deadline)
        late = not (await asyncio.wait({taking}, timeout=self.order_s))[0]
        if late:
            log.warning("door %s: a use is not stored after %.0f s, denied", reading.door, self.order_s)

        def taken(done: "asyncio.Future[bool]") -> bool:
            try:
                won = done.result()
            except StoreError as e:
                log.warning("door %s: a use could not be recorded, denied: %s", reading.door, e)
                self._journal(reading, Decision(Reason.STORAGE_READ_ONLY), now, receipt, found)
                return False
            event = granted if won else replace(refused, reason=self.witness.spent(use))
            self.health.decided(reading.door, event.reason)
            self.ledger.show(event)
            if won and late:
                self.ledger.ordered(self._order(reading, now), Outcome.ORDER_EXPIRED, reading)
            _settle(receipt)
            return won and not late

        def taken_late(done: "asyncio.Future[bool]") -> None:
            try:
                taken(done)
            except Exception:  # as in `serve`: the receipt is completed whatever broke
                log.exception("door %s: a use failed unexpectedly", reading.door)
                self._failed(reading, receipt)

        if late:
            taking.add_done_callback(taken_late)
            return False
        return taken(taking)

    def _order(self, reading: Reading, now: Instant) -> Order:
        door = self.doors[reading.door]
        return Order(
            new_id("ord_"), door.id, door.lock, Action.OPEN, now.mono + self.order_s, door.channel, door.open_s
        )

    def _open(self, reading: Reading, now: Instant) -> None:
        if reading.record:
            self._remember((reading.device, reading.record), now.mono)
        if self.fire.released(reading.door):
            return  # it is held open, and an opening could end that
        orders, order = self._orders[reading.door], self._order(reading, now)
        task = asyncio.create_task(self._carry_out(order, reading), name=f"order {order.id}")
        orders.add(task)
        task.add_done_callback(orders.discard)

    async def _carry_out(self, order: Order, reading: Reading) -> None:
        try:
            outcome = await self.execute(order)
        except asyncio.CancelledError:  # the gateway stops
            self.ledger.ordered(order, Outcome.UNKNOWN_OUTCOME, reading)
            raise
        except Exception:  # whatever broke, it may have gone out
            log.exception("door %s: order %s failed unexpectedly", order.door, order.id)
            outcome = Outcome.UNKNOWN_OUTCOME
        self.health.ordered(order.door, outcome)
        if outcome is not Outcome.EXECUTED:
            await asyncio.sleep(0)  # the decision is written down first
            usual = outcome is Outcome.UNKNOWN_OUTCOME  # of a lock that never answers; the journal has each
            level = logging.INFO if usual else logging.WARNING
            log.log(level, "door %s: order %s to %s: %s", order.door, order.id, order.device, outcome)
            self.ledger.ordered(order, outcome, reading)

    def _remember(self, key: tuple[str, str], mono: float) -> None:
        """Note that a record was acted on, for a minute; in order of time, so that the old ones are in front."""
        for old in list(itertools.takewhile(lambda k: self._ordered[k] < mono - REMEMBERED, self._ordered)):
            del self._ordered[old]
        self._ordered.pop(key, None)
        self._ordered[key] = mono

    def _journal(
        self, reading: Reading, decision: Decision, now: Instant, receipt: Receipt, found: Found | None = None
    ) -> None:
        self.health.decided(reading.door, decision.reason)
        stored = self.ledger.write(decided(reading, decision, now, found))
        stored.add_done_callback(lambda done: _pass_on(done, receipt))


def _settle(receipt: Receipt) -> None:
    if not receipt.done():
        receipt.set_result(None)


def _pass_on(done: "asyncio.Future[int] | asyncio.Future[None]", receipt: Receipt) -> None:
    """Complete a receipt as the commit (or the first receipt of the same record) ended."""
    if receipt.done():
        return
    if done.cancelled():
        receipt.cancel()
    elif (error := done.exception()) is not None:
        receipt.set_exception(error)
    else:
        receipt.set_result(None)
