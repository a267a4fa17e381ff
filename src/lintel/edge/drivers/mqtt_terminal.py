"""Face terminals, readers and relays behind an MQTT broker: one connection carries all devices of a line.

A reading is acknowledged to the broker, in order of arrival, only when its receipt is done; what fails to be stored is
not, the connection is dropped and the broker delivers it again. What is no reading is acknowledged when handled.

How old a reading is: every second a barrier message is published to a topic of our own and comes back through the same
queue as the readings. What arrives after a barrier was published after that barrier was, so the time since then bounds
its age. Before the first barrier after a reconnect everything is backlog. A device's own time can prove a reading
young, and, where the profile asks for it, show that it is history. What a device holds back in its own TCP buffer
without naming a time can not be told from a live message.

MQTT 3.1.1 can not let an order expire on the way. So none is sent to a device known to be away, none while the last
barrier is overdue, and none is ever repeated; a broker that freezes in the second after a barrier may still pass one on
when it thaws. Terminals should subscribe with QoS 0 (`mqtt/face` does), else the broker keeps orders for them.
"""

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Final

from pydantic import JsonValue

from lintel.edge.drivers import mqtt_link as link
from lintel.edge.drivers.base import Context, Device, Driver, Inlet, Line, Receipt
from lintel.edge.drivers.mqtt_devices import MUTE_AFTER, MUTE_S, Folder, Route, Terminal, mistakes, routes
from lintel.edge.drivers.mqtt_outgoing import Outgoing
from lintel.edge.drivers.mqtt_readings import Reader
from lintel.edge.errors import BadFrame, ConfigError, Lost, Refused
from lintel.edge.model import DoorState, Fact, Notice, Order, Outcome, Reading
from lintel.edge.profiles.mqtt import MqttSpec
from lintel.edge.profiles.mqtt_read import Seen, decode, read, says_something
from lintel.edge.profiles.mqtt_spec import PRESENTATIONS

PULSE_S: Final = 1.0
"""How often the barrier is published (s)."""

LATE_S: Final = PULSE_S + 1.0
"""A barrier older than this is overdue: readings are as old as it, orders are not sent (s)."""

SILENT_S: Final = 5.0
"""Longest wait for the broker's PUBACK of a barrier (s)."""

DEAF_S: Final = 10.0
"""Barriers that are acknowledged but do not come back for so long mean that the broker's ACL keeps them from us (s)."""

_LANE = 64


def build(line: Line, devices: Sequence[Device], context: Context) -> Driver:
    """The driver of one broker connection. Raises ConfigError when an option, an address or a profile does not fit."""
    options = link.options_of(line)
    wrong = mistakes(devices)
    if wrong:
        raise ConfigError(f"line {line.id}", wrong)
    specs = [(d, d.profile.spec) for d in devices]
    terminals = [Terminal(d, s, options.rate, options.burst) for d, s in specs if isinstance(s, MqttSpec)]
    return MqttTerminals(line, options, terminals, context)


class MqttTerminals:
    """The driver. What outlives a connection stands here: the devices and whether they are there."""

    def __init__(self, line: Line, options: link.Options, terminals: Sequence[Terminal], context: Context) -> None:
        self.options, self.context = options, context
        self.client_id = options.client_id or f"{context.gateway}-{line.id}"
        self.terminals = {t.device.id: t for t in terminals}
        self.routes = routes(terminals, context.gateway)
        self._password = context.passwords.get(line.id)
        self._session: _Session | None = None

    async def run(self, inlet: Inlet) -> None:
        """Connect, subscribe, and state facts until the connection breaks: Lost, or Refused by the broker."""
        async with link.connect(self.options, self.client_id, self._password) as connection:
            session = self._session = _Session(self, connection, inlet)
            try:
                await session.run()
            except BaseExceptionGroup as group:
                raise _first(group) from None
            finally:
                self._session = None
                session.end()

    async def execute(self, order: Order) -> Outcome:
        """Publish the device's command and wait for its answer until the deadline; NOT_SENT while it can not arrive."""
        terminal, session = self.terminals.get(order.device), self._session
        if terminal is None or session is None or terminal.alive is False or not session.prompt():
            return Outcome.NOT_SENT
        command = terminal.spec.command.get(order.action)
        if command is None:
            return Outcome.REFUSED_BY_DEVICE
        return await session.out.order(terminal, command, order)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that says most: Refused, else Lost, else whatever it was."""
    leaves: list[BaseException] = []
    todo: list[BaseException] = [group]
    while todo:
        error = todo.pop()
        if isinstance(error, BaseExceptionGroup):
            todo += error.exceptions
        else:
            leaves.append(error)
    known = [e for e in leaves if isinstance(e, Lost | Refused)]
    if len(known) < len(leaves):
        return group
    return next((e for e in known if isinstance(e, Refused)), known[0])


def _id(terminal: Terminal | None) -> str:
    return terminal.device.id if terminal is not None else ""


class _Slot:
    """A message that waits for its PUBACK."""

    __slots__ = ("done", "mid")

    def __init__(self, mid: int) -> None:
        self.mid, self.done = mid, False


class _Session:
    """One connection from subscribing to its end."""

    def __init__(self, driver: MqttTerminals, connection: link.Link, inlet: Inlet) -> None:
        self._driver, self._link, self._inlet = driver, connection, inlet
        self._context, self._clock = driver.context, driver.context.clock
        self._facts = Folder(inlet.report)
        self._reader = Reader(driver.context, self._facts)
        self._barrier = f"lintel/{driver.client_id}/barrier"
        self._nonce = driver.context.new_id()
        self._floor = -math.inf  # when the newest barrier that came back was published
        self._slots: deque[_Slot] = deque()
        self._lanes: dict[str, deque[tuple[Reading, _Slot | None, bytes, str]]] = {}
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.out = Outgoing(driver.context, connection, self._broken)
        self._cleared: set[str] = set()
        self._tasks = asyncio.TaskGroup()

    async def run(self) -> None:
        """Until the connection breaks: an exception group with Lost or Refused."""
        now = self._clock.now().mono
        for terminal in self._driver.terminals.values():
            terminal.seen = now
        for route in self._driver.routes.values():
            route.muted = 0.0
        await self._link.subscribe([self._barrier, *self._driver.routes])
        async with self._tasks as tasks:
            for work in (self._consume(), self._pulse(), self.out.send(), self._tick(), self._watch()):
                tasks.create_task(work)

    def end(self) -> None:
        """Orders that are under way have an unknown outcome from here on; nothing is acknowledged any more."""
        if not self._broken.done():
            self._broken.set_exception(Lost("the connection to the broker ended"))
        self._broken.exception()

    def prompt(self) -> bool:
        """Whether the broker passed a message on to us within the last two seconds."""
        return self._clock.now().mono - self._floor <= LATE_S

    # ---- what keeps the connection going

    async def _watch(self) -> None:
        await asyncio.shield(self._broken)

    async def _pulse(self) -> None:
        start = self._clock.now().mono
        while True:
            sent = self._clock.now().mono
            await self._link.publish(self._barrier, f"{self._nonce} {sent!r}".encode(), qos=1, limit=SILENT_S)
            if self._floor == -math.inf and sent - start > DEAF_S and not self._slots:
                raise Refused(f"the broker keeps our own topic {self._barrier} from us: check its ACL")
            await asyncio.sleep(PULSE_S)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            now = self._clock.now().mono
            for terminal in self._driver.terminals.values():
                if terminal.dropped:
                    self._facts.tell(Notice.FLOOD, terminal.device.id, "over its rate", now, terminal.dropped)
                    terminal.dropped = 0
                if terminal.alive is not False and terminal.overdue(now):
                    self._lost(terminal, "three heartbeats missed")
            inbox = self._link.inbox
            if inbox.dropped:
                self._facts.tell(Notice.FLOOD, "", "the line is over its bounds", now, inbox.dropped)
                inbox.dropped = 0
            self._facts.flush(now)
            for route in self._driver.routes.values():
                if 0.0 < route.muted <= now:
                    route.muted = 0.0
                    await self._link.subscribe([route.topic])

    async def _consume(self) -> None:
        while True:
            for message in await self._link.receive():
                slot = None
                if message.qos:
                    slot = _Slot(message.mid)
                    self._slots.append(slot)
                if not self._handle(message, slot):
                    self._settle(slot)
            await asyncio.sleep(0)

    def _settle(self, slot: _Slot | None) -> None:
        """PUBACK everything at the head that is done: in order of arrival, as MQTT 3.1.1 [4.6.0-2] demands."""
        if slot is not None:
            slot.done = True
        while self._slots and self._slots[0].done:
            self._link.acknowledge(self._slots.popleft().mid, 1)

    def _mute(self, route: Route, owner: Terminal, now: float) -> None:
        if owner.dropped >= MUTE_AFTER and not route.muted:
            route.muted = now + MUTE_S
            self.out.post(route.topic, b"")
            detail = f"not listened to on {route.topic!a} for {MUTE_S:.0f} s"
            self._facts.tell(Notice.FLOOD, owner.device.id, detail, now)

    # ---- what comes in: True means that the slot is settled later

    def _handle(self, message: link.Message, slot: _Slot | None) -> bool:
        topic, payload = message.topic.value, message.payload
        if topic == self._barrier:
            self._back(payload)
            return False
        route = self._driver.routes.get(topic)
        if route is None:  # a subscription of an earlier configuration, kept by the persistent session
            self.out.post(topic, b"")
            return False
        now = self._clock.now()
        if not payload:
            return False
        if route.owner is not None and not route.owner.may_send(now.mono):
            self._mute(route, route.owner, now.mono)
            return False
        try:
            document = decode(payload)
        except BadFrame as error:
            if route.owner is not None and route.presents is not None and not message.retain:
                return self._present(route.owner, Seen(route.presents, malformed=True), slot)
            self._facts.tell(Notice.FRAME_ERROR, _id(route.owner), f"{topic!a}: {error}", now.mono)
            return False
        if message.retain and not any(h.message is not None and h.message.retained for h in route.hear(document)):
            self._clear(route)
            return False
        return self._hear(route, document, slot)

    def _hear(self, route: Route, document: JsonValue, slot: _Slot | None) -> bool:
        """Act on a document from a device of ours; report one that names somebody else than its topic allows."""
        now = self._clock.now()
        mismatch = ""
        for heard in route.hear(document):
            terminal = heard.terminal
            if terminal is None:
                mismatch = mismatch or heard.mismatch
            elif heard.answer is not None:
                self.out.answered(terminal, *heard.answer)
                return False
            elif heard.message is not None:
                seen = read(heard.message, document, self._reader.zone, now.wall)
                if says_something(seen):
                    allowed = route.owner is not None or terminal.may_send(now.mono)
                    return allowed and self._understood(terminal, seen, slot)
        if mismatch:
            detail = f"{route.topic!a} names {mismatch}"
            self._facts.tell(Notice.IDENTITY_MISMATCH, _id(route.owner), detail, now.mono)
        return False

    def _back(self, payload: bytes) -> None:
        nonce, _, sent = payload.decode("ascii", "replace").partition(" ")
        if nonce == self._nonce:
            first = self._floor == -math.inf
            self._floor = max(self._floor, float(sent))
            if first:
                self._inlet.up()
                for terminal in self._driver.terminals.values():
                    self.out.say(terminal, terminal.spec.ask)

    def _understood(self, terminal: Terminal, seen: Seen, slot: _Slot | None) -> bool:
        now = self._clock.now()
        kind = seen.message.kind
        if kind == "offline":
            self._lost(terminal, "said by the broker or the device")
            return False
        terminal.seen = now.mono
        if not terminal.alive:
            terminal.alive = True
            self._inlet.report(Fact(Notice.COMMS_RESTORED, terminal.device.id))
            if kind != "online":
                self.out.say(terminal, terminal.spec.ask)
        if self.prompt():
            self._reader.watch_clock(terminal, seen, now)
        if kind in PRESENTATIONS:
            return self._present(terminal, seen, slot)
        if kind == "door":
            self._inlet.door(DoorState(terminal.device.id, seen.message.channel, seen.open))
        else:
            self.out.say(terminal, seen.message.reply, seen)
            if kind == "online":
                self.out.say(terminal, terminal.spec.ask)
        return False

    def _present(self, terminal: Terminal, seen: Seen, slot: _Slot | None) -> bool:
        reading = self._reader.reading(terminal, seen, self._floor, LATE_S)
        lane = self._lanes.setdefault(terminal.device.id, deque())
        if slot is None and len(lane) >= _LANE:  # QoS 1 is bounded by the broker's window
            terminal.dropped += 1
            return False
        topic, payload = self.out.composed(terminal, seen.message.reply, seen)
        lane.append((reading, slot, payload, topic))
        if len(lane) == 1:
            self._tasks.create_task(self._drain(lane))
        return slot is not None

    async def _drain(self, lane: deque[tuple[Reading, _Slot | None, bytes, str]]) -> None:
        """Hand the readings of one device over, one after the other: a slow door holds up its own only."""
        while lane:
            reading, slot, payload, topic = lane[0]
            receipt = await self._inlet.present(reading)
            receipt.add_done_callback(partial(self._stored, slot, topic, payload))
            lane.popleft()

    def _stored(self, slot: _Slot | None, topic: str, payload: bytes, receipt: Receipt) -> None:
        failed = receipt.cancelled() or receipt.exception() is not None
        if self._broken.done():
            return
        if failed:
            self._broken.set_exception(Lost("a reading was not stored: the broker is to deliver it again"))
            return
        if payload:
            self.out.post(topic, payload)
        self._settle(slot)

    def _lost(self, terminal: Terminal, why: str) -> None:
        if terminal.alive is not False:
            terminal.alive = False
            self._inlet.report(Fact(Notice.COMMS_LOST, terminal.device.id, why))
            for channel in terminal.doors:
                self._inlet.door(DoorState(terminal.device.id, channel, None))

    def _clear(self, route: Route) -> None:
        """A retained message is never acted on; delete it at the broker, so that it does not come again."""
        if route.topic not in self._cleared:
            self._cleared.add(route.topic)
            self._facts.tell(Notice.RETAINED_IGNORED, _id(route.owner), f"{route.topic!a}", self._clock.now().mono)
            self.out.post(route.topic, b"", retain=True)
