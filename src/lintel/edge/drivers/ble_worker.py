"""One lock at work: orders first, then pairing, then what keeps it healthy. One thing at a time.

Where every lock has a connection of its own (`Slots.keep`) it is kept, with a challenge ready; else a lock is visited
for an order, when it says that it has news, or when its state is old, and let go when somebody else waits.
"""

import asyncio
import contextlib
import logging
import math
from typing import TYPE_CHECKING, Final

from lintel.edge.ble.words import Became, Command, Move, Moved, Seen
from lintel.edge.drivers.base import Context, Device, Inlet
from lintel.edge.drivers.ble_background import Background, Work
from lintel.edge.drivers.ble_health import Condition
from lintel.edge.drivers.ble_install import Window
from lintel.edge.drivers.ble_link import Gone
from lintel.edge.drivers.ble_operation import PAUSE_S, carry_out
from lintel.edge.drivers.ble_orders import Job, Jobs, command, may_have_moved, move_of
from lintel.edge.drivers.ble_radio import Radio
from lintel.edge.drivers.ble_relock import HELD_S, Owed
from lintel.edge.drivers.ble_session import TRIES_S, Session
from lintel.edge.drivers.ble_slots import Slots
from lintel.edge.drivers.ble_talk import Dialect, Own
from lintel.edge.errors import BadFrame, Refused
from lintel.edge.model import Action, Fact, Notice, Order, Outcome
from lintel.edge.profiles.ble import BleSpec

if TYPE_CHECKING:
    from bleak.backends.device import BLEDevice
    from bleak.backends.scanner import AdvertisementData

log = logging.getLogger(__name__)

IDLE_S: Final = 10.0
"""A connection that nobody else needs is kept for so long after an order (s)."""
LOOK_S: Final = 60.0
"""How often a connected lock is read, and as far as orders leave room a held one (s); see `ble_relock.SEEN_S`."""
BUG_S: Final = 5.0
"""A lock with which something unexpected went wrong is left alone in the background for so long (s)."""
LISTEN_S: Final = 1.0
"""How often a lock that should be heard is thought of (s): its advertisement wakes its worker anyhow."""


class Worker:
    """One lock; see the module."""

    def __init__(
        self, device: Device, spec: BleSpec, dialect: Dialect, context: Context, *, slots: Slots, radio: Radio
    ) -> None:
        self.device, self.spec = device, spec
        self._context, self._dialect = context, dialect
        self._keep = slots.keep and spec.keep
        self._condition = Condition(device.id, spec.low_battery)
        own = Own(context.gateway, lambda name: context.keys.get(device.id, name), context.clock.now, self._saw)
        self._session = Session(
            device.id, dialect, own, slots, radio, report=self._report, wake=self._stir, give_up=self._asked_to_go
        )
        self._window = Window(device.id, dialect, own, context.keys, self._report)
        self._inlet: Inlet | None = None
        self._jobs = Jobs(slots, self._session.ticket)
        self._wake = asyncio.Event()
        self._background = Background(self._turning, lambda: self._session.ticket.held)
        self._owed_command: Command | None = None
        self._leave = self._told_unpaired = False
        self._look_at = self._prepare_at = -math.inf
        self._idle_until = self._moved_at = -math.inf
        self._owed = Owed(spec, device.open_s)

    # ---- from outside

    def hear(self, place: "BLEDevice", said: "AdvertisementData") -> None:
        """The lock advertises."""
        now = self._now()
        self._session.hear(place)
        if self._inlet is not None:
            self._condition.heard(self._inlet, now, said.rssi)
        if self._dialect.changed(said.manufacturer_data):
            self._look_at = min(self._look_at, now)
        self._stir()

    async def execute(self, order: Order) -> Outcome:
        """Carry out one order; see `Driver`."""
        if order.action not in (Action.OPEN, Action.HOLD, Action.RELEASE, Action.INSTALL):
            return Outcome.REFUSED_BY_DEVICE
        if order.action is Action.RELEASE and (self._owed.held or self._dialect.paired(self._session.own)):
            self._owed.release(self._now())
            self._stir()
        if self._now() >= order.deadline:
            return Outcome.ORDER_EXPIRED
        if self._inlet is None:
            return Outcome.NOT_SENT
        if order.action is Action.INSTALL:
            return self._install(order)
        if not self._ready():
            return Outcome.NOT_SENT
        renews = order.action is Action.HOLD and self._owed.sure(self._now())
        if renews and self._session.talk is None and not self._jobs.asked():
            return Outcome.EXECUTED  # one that is asked to hold all the time leaves the connections to the others
        job = Job(order, self._owed.releases, renews=renews)
        self._jobs.add(job)
        self._stir()
        try:
            return await job.outcome(self._now)
        finally:
            job.drop(dialling=self._session.talk is None)
            self._jobs.remove(job)

    def _install(self, order: Order) -> Outcome:
        secret = self._dialect.secret(order.text)
        if secret is None:
            return Outcome.REFUSED_BY_DEVICE
        self._window.arm(self._now(), order.seconds, secret)
        self._session.rearm()
        self._stir()
        return Outcome.EXECUTED

    def _ready(self) -> bool:
        return not self._session.key_lost and self._dialect.paired(self._session.own)

    # ---- its own task

    def attach(self, inlet: Inlet) -> None:
        """The line is up: orders are taken from now on."""
        self._inlet = inlet
        self._condition.begin(self._now())
        self._owed.begin()
        if not self._dialect.paired(self._session.own) and not self._told_unpaired:
            self._told_unpaired = True
            self._report(Fact(Notice.DEVICE_FAULT, self.device.id, "not paired: open an install window"))

    def detach(self) -> None:
        """It is down."""
        self._inlet = None
        self._jobs.end()

    async def serve(self) -> None:
        """Work until cancelled. What goes wrong here stays here: the other locks of the line go on."""
        try:
            while True:
                self._wake.clear()
                job, wait = self._next(self._now())
                if job is None:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(wait):
                            await self._wake.wait()
                    continue
                try:
                    await job()
                except (Gone, BadFrame, Refused):
                    await self._hang_up()  # counted and told where it happened
                except Exception:  # a bug with one lock must not take the others along
                    log.exception("%s: unexpected error", self.device.id)
                    await self._hang_up()
                    self._session.not_before = self._now() + BUG_S
        finally:
            await self._hang_up()

    def _next(self, now: float) -> tuple[Work | None, float]:
        """What is to be done now, or how long there is nothing (s)."""
        wait = self._condition.tick(self._inlet, now, connected=self._session.talk is not None)
        for due in (self._due_order, self._due_end, self._due_pairing, self._due_again, self._due_care):
            found = due(now)
            if not isinstance(found, float):
                return found, 0.0
            wait = min(wait, found - now)
        return None, max(wait, 0.0)

    def _due_order(self, now: float) -> Work | float:  # noqa: ARG002  as the others
        job = self._jobs.first()
        return math.inf if job is None else lambda: self._order(job)

    def _due_end(self, now: float) -> Work | float:  # noqa: ARG002
        if self._session.fell or (self._leave and self._session.talk is not None):
            return self._hang_up
        self._leave = False
        return math.inf

    def _due_pairing(self, now: float) -> Work | float:
        if not self._window.armed(now):
            return math.inf
        if self._session.near and now >= self._window.again:
            return self._pair
        return min(self._window.until, max(self._window.again, now + LISTEN_S))

    def _due_again(self, now: float) -> Work | float:
        if self._inlet is not None:
            self._tell(self._owed.overdue(now, released=self._released()))
        due = self._owed.due(now, released=self._released())
        if isinstance(due, float):
            return due
        reached = self._ready() and (self._session.near or self._session.talk is not None)
        if not reached:
            return now + LISTEN_S
        at = self._owed.presses_at(now)
        return (lambda: self._again(urgent=True)) if now >= at else self._quietly(self._again, at - now)

    def _due_care(self, now: float) -> Work | float:
        """Keep a connection, or visit now and then."""
        if not self._ready():
            return math.inf
        keep = self._keep
        if self._session.talk is None:
            at = max(self._session.not_before, -math.inf if keep else self._look_at)
            near = self._session.near  # an advertisement wakes who waits for one
            return self._quietly(self._visit) if near and now >= at else max(at, now + LISTEN_S)
        if now >= self._look_at:
            return self._quietly(self._look)
        if keep:
            return self._quietly(self._prepare) if now >= self._prepare_at else min(self._look_at, self._prepare_at)
        return self._hang_up if now >= self._idle_until else min(self._look_at, self._idle_until)

    def _quietly(self, work: Work, patience: float = math.inf) -> Work:
        """Background work, which is broken off where an order of another lock needs its connection."""

        async def run() -> None:
            if not await self._background.run(work, patience):
                await self._hang_up()

        return run

    async def _visit(self) -> None:
        await self._session.open(self._now() + TRIES_S, urgent=False)
        await self._look()

    async def _look(self) -> None:
        talk = await self._session.open(self._now(), urgent=False)
        self._saw(await talk.look())
        every = min(LOOK_S, talk.idle_s / 2 if talk.idle_s else LOOK_S)
        self._look_at = self._now() + (every if self._keep or self._owed.held else self.spec.poll_s)
        self._session.idle()

    async def _prepare(self) -> None:
        talk = await self._session.open(self._now(), urgent=False)
        self._prepare_at = self._now() + await talk.prepare()
        self._session.idle()

    async def _hang_up(self) -> None:
        self._leave = False
        await self._session.close()
        self._prepare_at = -math.inf

    async def _pair(self) -> None:
        if await self._window.pair(self._session):
            self._look_at = self._prepare_at = -math.inf

    # ---- orders

    async def _order(self, job: Job) -> None:
        order = job.order
        move, hold = move_of(self.spec, order, held=self._owed.held)

        limit = job.limit = asyncio.timeout(None)
        try:
            async with limit:
                outcome, moved = await self._move(order.id, move, hold, order.deadline, job=job)
        except BaseException as error:
            self._ended(job, Outcome.UNKNOWN_OUTCOME if job.left else Outcome.NOT_SENT, maybe=job.left)
            if not (isinstance(error, TimeoutError) and limit.expired()):
                raise
            await self._session.close()  # it was dropped, and the lock is dialled for nobody
            return
        self._ended(job, outcome, maybe=may_have_moved(moved), why=moved.why)
        if moved.why and outcome is not Outcome.EXECUTED:
            log.info("%s: order %s: %s: %s", self.device.id, order.id, outcome, moved.why)

    def _ended(self, job: Job, outcome: Outcome, *, maybe: bool, why: str = "") -> None:
        job.limit = None
        self._tell(self._owed.ended(job.order, job.releases, self._now(), outcome, maybe=maybe, why=why or outcome))
        if self._owed.held:
            self._look_at = min(self._look_at, self._now() + LOOK_S)
        job.answer(outcome)

    async def _again(self, *, urgent: bool = False) -> None:
        """What is owed to the lock, which gives way to orders, of other locks for a time only, and to fire."""
        now, ticket = self._now(), self._session.ticket
        owed, ticket.owes = self._owed.trying(now), True
        name, until = f"{self.device.id} {now}", now + TRIES_S
        try:
            outcome, moved = await self._move(name, owed.move, HELD_S, until, urgent=urgent)
        except asyncio.CancelledError:
            if self._owed_command is None or not self._owed_command.handed:
                self._tell(self._owed.tried(owed, self._now(), done=False, gave_way=True))
            raise
        finally:
            self._owed_command, ticket.owes = None, False
        done, gave_way = outcome is Outcome.EXECUTED, moved.became is Became.NEVER and self._jobs.asked()
        self._tell(self._owed.tried(owed, self._now(), done=done, gave_way=gave_way, why=moved.why or outcome))

    def _released(self) -> bool:
        return self._context.released(self.device.id)

    async def _move(
        self, name: str, move: Move, hold: float, deadline: float, *, job: Job | None = None, urgent: bool = True
    ) -> tuple[Outcome, Moved]:
        if (pause := self._moved_at + PAUSE_S - self._now()) > 0:
            await asyncio.sleep(pause)

        def still() -> bool:
            kept = move is Move.LOCK and self._released()
            void = self._jobs.asked() if job is None else job.dropped
            return self._now() < deadline and not kept and not void

        now = self._context.clock.now()
        made = command(name, self.spec, move, hold=hold, deadline=deadline, now=now, still=still)
        if job is None:
            self._owed_command = made
        else:
            job.command = made
        outcome, moved = await carry_out(self._session, made, deadline, urgent=urgent)
        self._moved_at = self._now()
        self._idle_until, self._prepare_at = self._moved_at + IDLE_S, -math.inf
        if moved.seen is not None:
            self._saw(moved.seen)
        self._session.idle()
        return outcome, moved

    # ----

    def _asked_to_go(self) -> None:
        self._leave = True
        self._background.break_off()
        self._stir()

    def _turning(self) -> bool:
        """Whether the lock turns for us: it is heard to the end. To ask it afterwards, in a new session, can wait."""
        made = self._owed_command
        return made is not None and made.handed and self._session.talk is not None

    def _saw(self, seen: Seen) -> None:
        self._owed.saw(seen.lock, self._now())
        if self._inlet is not None:
            self._condition.saw(self._inlet, seen)

    def _tell(self, fault: str) -> None:
        if fault:
            self._report(Fact(Notice.DEVICE_FAULT, self.device.id, fault))

    def _report(self, fact: Fact) -> None:
        if self._inlet is not None:
            self._inlet.report(fact)

    def _stir(self) -> None:
        self._wake.set()

    def _now(self) -> float:
        return self._context.clock.now().mono
