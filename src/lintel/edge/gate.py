"""The use case, and the file to read first: reading -> decision -> order and journal -> acknowledgement.

    gate.handle(reading)
      seen before?                 the device re-sent a stored record: acknowledge again, nothing else
      facts                        point look-ups in the encrypted allowlist, tens of microseconds
      policy.decide                pure, one reason word
      counted or one-time          the use is committed BEFORE the order: never a second grant
      anything else                order and journal commit start together, neither waits for the other
      receipt                      done after the commit only: then the driver acknowledges the device

Readings of one door are handled one after another, so a slow lock delays its own door only.
"""

import asyncio
import contextlib
import itertools
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from lintel.edge.clock import Clock
from lintel.edge.errors import StoreError
from lintel.edge.guessing import Guessing
from lintel.edge.health import Health
from lintel.edge.ids import new_id
from lintel.edge.model import (
    Action,
    Door,
    DoorState,
    Event,
    Fact,
    Instant,
    Notice,
    Order,
    Outcome,
    Reading,
    Reason,
    Stream,
)
from lintel.edge.policy import Decision, decide
from lintel.edge.store import Store
from lintel.edge.witness import Found, Witness

log = logging.getLogger(__name__)

Execute = Callable[[Order], Awaitable[Outcome]]
Receipt = asyncio.Future[None]

REMEMBERED = 60.0
"""Seconds for which a record that led to an order leads to no other, whatever became of its commit."""
QUEUE = 64
"""Presentations that may wait at one door; beyond it the driver waits, and so does the device."""


@dataclass(slots=True)
class Gate:
    """Handles every presentation of one gateway. `order_s`: seconds after which an order is void."""

    doors: Mapping[str, Door]
    store: Store
    witness: Witness
    clock: Clock
    execute: Execute
    health: Health
    order_s: float = 3.0
    watchers: set[asyncio.Queue[Event]] = field(default_factory=set, init=False)
    positions: dict[str, str] = field(default_factory=dict, init=False)
    _queues: dict[str, asyncio.Queue[tuple[Reading, Receipt]]] = field(init=False)
    _ordered: dict[tuple[str, str], float] = field(default_factory=dict, init=False)
    _pending: dict[tuple[str, str], Receipt] = field(default_factory=dict, init=False)
    _guessing: Guessing = field(default_factory=Guessing, init=False)

    def __post_init__(self) -> None:
        self._queues = {door: asyncio.Queue(QUEUE) for door in self.doors}

    async def present(self, reading: Reading) -> Receipt:
        """Queue a presentation at its door; waits while the queue is full."""
        if reading.mono is None:
            reading = replace(reading, mono=self.clock.now().mono)
        receipt: Receipt = asyncio.get_running_loop().create_future()
        await self._queues[reading.door].put((reading, receipt))
        return receipt

    def offer(self, reading: Reading) -> Receipt | None:
        """Queue a presentation at its door; None when the queue is full."""
        if self._queues[reading.door].full():
            return None
        if reading.mono is None:
            reading = replace(reading, mono=self.clock.now().mono)
        receipt: Receipt = asyncio.get_running_loop().create_future()
        self._queues[reading.door].put_nowait((reading, receipt))
        return receipt

    async def serve(self, door: str) -> None:
        """The task of one door. An unexpected error denies, raises one alarm, and the door goes on."""
        queue = self._queues[door]
        while True:
            reading, receipt = await queue.get()
            try:
                await self.handle(reading, receipt)
            except Exception:  # fail secure: whatever broke, this person is not let in by it and the next is served
                log.exception("door %s: a presentation failed unexpectedly", door)
                self._journal(reading, Decision(Reason.INTERNAL_ERROR), self.clock.now(), receipt)
                self.report(Fact(Notice.DEVICE_FAULT, reading.device, Reason.INTERNAL_ERROR))
            finally:
                queue.task_done()

    async def handle(self, reading: Reading, receipt: Receipt) -> None:
        """Decide one presentation, open if granted, journal, and complete `receipt` after the commit."""
        if reading.record and self._again(reading, receipt):
            return
        now = self.clock.now()
        reading = self._aged(reading, now)
        door = self.doors[reading.door]
        found = self.witness.find(reading, door, now)
        facts = found.facts
        if self._guessing.limited(reading, now.mono):
            facts = replace(facts, rate_limited=True)
        if found.use is not None and self.store.writer.fault:
            facts = replace(facts, storage_read_only=True)
        decision = decide(reading, facts, door, now)
        if self._guessing.judge(reading, decision.reason, now.mono):
            self.report(Fact(Notice.GUESSING, reading.device))
        if found.use is not None and decision.opens:
            if await self._consume(found, reading, decision, now, receipt):
                await self._open(reading, door, now)
        else:
            self._journal(reading, decision, now, receipt, found)
            if decision.opens:
                await self._open(reading, door, now)
        if facts.credential is not None and facts.credential.duress:
            self.report(Fact(Notice.DURESS, reading.device, detail=reading.id))

    def report(self, fact: Fact) -> None:
        """Journal a fact about a device, a line or the box, in the stream its family belongs to.

        Duress is told to the journal only, and commits with the decision: neither feed, status and metrics nor an early
        acknowledgement of the device may give it away.
        """
        silent = fact.notice is Notice.DURESS
        if not silent:
            self.health.notice(fact)
        now = self.clock.now()
        stream = Stream.TELEMETRY if fact.notice in _MINOR else Stream.ALARM
        event = Event(
            new_id(), stream, "notice", int(now.wall * 1000), now.mono, now.state,
            device=fact.device, reason=fact.notice, detail=fact.detail[:256], count=fact.count,
        )  # fmt: skip
        write = self.store.journal.append if silent else self._write
        write(event, now=stream is Stream.ALARM and not silent).add_done_callback(_observe)

    def position(self, state: DoorState) -> None:
        """A door position switch moved: kept for status, journaled when it is a change."""
        word = {True: "open", False: "closed", None: "unknown"}[state.open]
        for door in self.doors.values():
            if (door.lock, door.channel) == (state.device, state.channel) and self.positions.get(door.id) != word:
                self.positions[door.id] = word
                now = self.clock.now()
                event = Event(
                    new_id(), Stream.ACCESS, "door.position", int(now.wall * 1000), now.mono, now.state,
                    door=door.id, device=state.device, result=word,
                )  # fmt: skip
                self._write(event).add_done_callback(_observe)

    def waiting(self, door: str) -> int:
        """Presentations queued at a door."""
        return self._queues[door].qsize()

    async def drain(self, limit: float) -> None:
        """Let the doors finish what is queued, for at most `limit` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await asyncio.gather(*(q.join() for q in self._queues.values()))

    def _aged(self, reading: Reading, now: Instant) -> Reading:
        """The reading as it stands now: older by the time it waited, and stale when its record was acted on before.

        A record is seen twice although it is not stored when its commit failed and the device sent it again.
        """
        if reading.mono is not None:
            reading = replace(reading, age=reading.age + max(0.0, now.mono - reading.mono), mono=now.mono)
        if reading.record and now.mono - self._ordered.get((reading.device, reading.record), -math.inf) < REMEMBERED:
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
        self.health.count("duplicates", reading.device)
        return True

    async def _consume(
        self, found: Found, reading: Reading, decision: Decision, now: Instant, receipt: Receipt
    ) -> bool:
        """Commit the use, alone and before any order. False: another presentation had it, or it can not be kept."""
        assert found.use is not None  # noqa: S101  the caller asked
        granted = self._event(reading, decision, now, found)
        refused = self._event(reading, Decision(found.spent), now, found)
        deadline = time.monotonic() + self.order_s
        try:
            won = await self.store.allowlist.consume(found.use, granted, refused, deadline=deadline)
        except StoreError as e:
            log.warning("door %s: a use could not be recorded, denied: %s", reading.door, e)
            self._journal(reading, Decision(Reason.STORAGE_READ_ONLY), now, receipt, found)
            return False
        self.health.decided(reading.door, granted.reason if won else refused.reason)
        self._show(granted if won else refused)
        _settle(receipt)
        return won

    async def _open(self, reading: Reading, door: Door, now: Instant) -> None:
        if reading.record:
            self._remember((reading.device, reading.record), now.mono)
        order = Order(
            new_id("ord_"), door.id, door.lock, Action.OPEN, now.mono + self.order_s, door.channel, door.open_s
        )  # fmt: skip
        outcome = await self.execute(order)
        self.health.ordered(door.id, outcome)
        if outcome is Outcome.EXECUTED:
            return
        log.warning("door %s: order %s to %s: %s", door.id, order.id, door.lock, outcome)
        then = self.clock.now()
        event = Event(
            order.id, Stream.ACCESS, "door.order", int(then.wall * 1000), then.mono, then.state,
            door=door.id, device=door.lock, result=outcome, detail=reading.id,
        )  # fmt: skip
        self._write(event).add_done_callback(_observe)

    def _remember(self, key: tuple[str, str], mono: float) -> None:
        """Note that a record was acted on, for a minute; in order of time, so that the old ones are in front."""
        for old in list(itertools.takewhile(lambda k: self._ordered[k] < mono - REMEMBERED, self._ordered)):
            del self._ordered[old]
        self._ordered[key] = mono

    def audit(self, what: str, result: str, detail: str) -> None:
        """Journal what an operator did."""
        now = self.clock.now()
        event = Event(
            new_id(), Stream.AUDIT, what, int(now.wall * 1000), now.mono, now.state, result=result, detail=detail[:256]
        )  # fmt: skip
        self._write(event, now=True).add_done_callback(_observe)

    def _journal(
        self, reading: Reading, decision: Decision, now: Instant, receipt: Receipt, found: Found | None = None
    ) -> None:
        self.health.decided(reading.door, decision.reason)
        stored = self._write(self._event(reading, decision, now, found))
        stored.add_done_callback(lambda done: _pass_on(done, receipt))

    def _write(self, event: Event, *, now: bool = False) -> "asyncio.Future[int]":
        self._show(event)
        return self.store.journal.append(event, now=now)

    def _show(self, event: Event) -> None:
        """Tell whoever watches; one that does not keep up misses lines, the journal has them all."""
        for watcher in self.watchers:
            with contextlib.suppress(asyncio.QueueFull):
                watcher.put_nowait(event)

    def _event(self, reading: Reading, decision: Decision, now: Instant, found: Found | None) -> Event:
        credential = found.facts.credential if found is not None else None
        return Event(
            reading.id, Stream.ACCESS, "access.decision", int(now.wall * 1000), now.mono, now.state,
            door=reading.door, device=reading.device, result="open" if decision.opens else "deny",
            reason=decision.reason, person=credential.person if credential else "",
            credential=credential.id if credential else "", method=reading.method, direction=reading.direction,
            record=reading.record, detail=reading.detail[:256],
        )  # fmt: skip


_MINOR = frozenset(
    {Notice.FRAME_ERROR, Notice.DUPLICATE, Notice.RETAINED_IGNORED, Notice.SEQUENCE_GAP, Notice.SEQUENCE_RESET}
)
"""Notices that fill the telemetry stream: worth counting, not worth waking anybody."""


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


def _observe(done: "asyncio.Future[int]") -> None:
    """A line nobody waits for: the store already reports what it could not keep."""
    if not done.cancelled():
        done.exception()
