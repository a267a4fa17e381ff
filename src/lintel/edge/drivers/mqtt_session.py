"""One connection of an MQTT line, from subscribing to its end: what comes in, acknowledged after the commit."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from pydantic import JsonValue

from lintel.edge.drivers import mqtt_link as link
from lintel.edge.drivers.base import Context, Inlet, Receipt
from lintel.edge.drivers.mqtt_barrier import LATE_S, PULSE_S, Barrier
from lintel.edge.drivers.mqtt_devices import MUTE_AFTER, MUTE_S, Folder, Route, Terminal
from lintel.edge.drivers.mqtt_outgoing import Outgoing
from lintel.edge.drivers.mqtt_readings import Reader
from lintel.edge.errors import BadFrame, Lost, Refused
from lintel.edge.model import DoorState, Fact, Instant, Notice, Reading
from lintel.edge.profiles.mqtt_read import Seen, decode, read, says_something
from lintel.edge.profiles.mqtt_spec import PRESENTATIONS

log = logging.getLogger(__name__)

SILENT_S: Final = 5.0
"""Longest wait for the broker's PUBACK of a barrier (s)."""

DEAF_S: Final = 10.0
"""Barriers that are acknowledged but do not come back for so long mean that the broker's ACL keeps them from us (s)."""

WAITING_MESSAGES: Final = 4096
"""Most messages that may wait for our PUBACK: far more than our broker's window, and no broker may grow us for ever."""

_LANE = 64


Stored = Callable[[Receipt], None]
"""What is to be done with a receipt that is done."""


def _id(terminal: Terminal | None) -> str:
    return terminal.device.id if terminal is not None else ""


class Slot:
    """A message that waits for its PUBACK."""

    __slots__ = ("done", "mid")

    def __init__(self, mid: int) -> None:
        self.mid, self.done = mid, False


class Session:
    """One connection from subscribing to its end."""

    def __init__(
        self,
        context: Context,
        *,
        client_id: str,
        terminals: Mapping[str, Terminal],
        topics: Mapping[str, Route],
        connection: link.Link,
        inlet: Inlet,
        first: bool = False,
    ) -> None:
        # what waited for a process that has just started may have been acted on by the one before, up to its crash
        self._first = first
        self._context, self._clock, self._client_id = context, context.clock, client_id
        self._terminals, self._routes = terminals, topics
        self._link, self._inlet = connection, inlet
        self._facts = Folder(inlet.report)
        self._reader = Reader(context, self._facts)
        self._barrier = Barrier(client_id, context.new_id())
        self._slots: deque[Slot] = deque()
        self._lanes: dict[str, deque[tuple[Reading, Stored]]] = {}
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.out = Outgoing(context, connection, self._broken)
        self._cleared: set[str] = set()
        self._tasks = asyncio.TaskGroup()

    async def run(self) -> None:
        """Until the connection breaks: an exception group with Lost or Refused."""
        now = self._clock.now().mono
        for terminal in self._terminals.values():
            terminal.seen = now
        for route in self._routes.values():
            route.muted = 0.0
        async with self._tasks as tasks:
            # listening first: some brokers wait for the PUBACK of a retained message before they send the SUBACK
            self._link.listen(self._hear)
            for work in (self._link.closed(), self.out.send(), self._watch(), self._tick(), self._subscribe()):
                tasks.create_task(work)

    def end(self) -> None:
        """Orders that are under way have an unknown outcome from here on; nothing is acknowledged any more."""
        self._break("the connection to the broker ended")
        self._broken.exception()

    @property
    def heard(self) -> bool:
        """Whether a barrier came back."""
        return self._barrier.heard

    def prompt(self) -> bool:
        """Whether the last barrier is not overdue."""
        return self._barrier.prompt(self._clock.now().mono)

    # ---- what keeps the connection going

    async def _watch(self) -> None:
        await asyncio.shield(self._broken)

    async def _subscribe(self) -> None:
        answers = [topic for topic, route in self._routes.items() if route.only_answers]
        await self._link.subscribe([self._barrier.topic, *(t for t in self._routes if t not in answers)])
        await self._link.subscribe(answers, qos=0)  # an answer that is late is worth nothing: no PUBACK for it
        await self._pulse()

    async def _pulse(self) -> None:
        start = self._clock.now().mono
        while True:
            sent = self._clock.now().mono
            await self._link.publish(self._barrier.topic, self._barrier.next(sent), limit=SILENT_S)
            if not self._barrier.heard and sent - start > DEAF_S and not self._slots:
                raise Refused(f"the broker keeps our own topic {self._barrier.topic} from us: check its ACL")
            await asyncio.sleep(PULSE_S)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            now = self._clock.now().mono
            for terminal in self._terminals.values():
                if terminal.dropped:
                    self._facts.tell(Notice.FLOOD, terminal.device.id, "over its rate", now, terminal.dropped)
                    terminal.dropped = 0
                if terminal.alive is not False and terminal.overdue(now):
                    self._lost(terminal, "three heartbeats missed")
            self._facts.flush(now)
            for route in self._routes.values():
                if 0.0 < route.muted <= now:
                    route.muted = 0.0
                    await self._link.subscribe([route.topic])

    def _hear(self, message: link.Message) -> None:
        """Take one message. What is not a reading is acknowledged now, a reading when it is stored."""
        if self._broken.done():
            return  # the broker delivers it again
        slot = None
        if message.qos:
            slot = Slot(message.mid)
            self._slots.append(slot)
            if len(self._slots) > WAITING_MESSAGES:
                self._break(
                    f"over {WAITING_MESSAGES} messages are not acknowledged: set max_inflight_messages at the broker"
                )
                return
        try:
            later = self._handle(message, slot)
        except Exception as error:  # noqa: BLE001  ours: not acted on, and not met again after a reconnect
            name = type(error).__name__  # and no more: its values may be credentials
            log.error("%s: a message failed unexpectedly: %s", self._client_id, name)  # noqa: TRY400
            self._facts.tell(Notice.FRAME_ERROR, "", "internal_error", self._clock.now().mono)
            later = False
        if not later:
            self._settle(slot)

    def _break(self, why: str) -> None:
        if not self._broken.done():
            self._broken.set_exception(Lost(why))

    def _settle(self, slot: Slot | None) -> None:
        """PUBACK everything at the head that is done: in order of arrival, as MQTT 3.1.1 [4.6.0-2] demands."""
        if slot is not None:
            slot.done = True
        while self._slots and self._slots[0].done:
            self._link.acknowledge(self._slots.popleft().mid)

    def _mute(self, route: Route, owner: Terminal, now: float) -> None:
        if owner.dropped >= MUTE_AFTER and not route.muted:
            route.muted = now + MUTE_S
            self.out.post(route.topic, b"")
            detail = f"not listened to on {route.topic!a} for {MUTE_S:.0f} s"
            self._facts.tell(Notice.FLOOD, owner.device.id, detail, now)

    # ---- what comes in: True means that the slot is settled later

    def _handle(self, message: link.Message, slot: Slot | None) -> bool:
        topic, payload = message.topic, bytes(message.payload)
        if topic == self._barrier.topic:
            self._back(payload)
            return False
        route = self._routes.get(topic)
        if route is None:  # a subscription of an earlier configuration, kept by the persistent session
            self.out.post(topic, b"")
            return False
        now, owner = self._clock.now(), route.owner
        if not payload:
            return False
        if owner is not None and not route.only_answers and not self._allowed(owner, now.mono, len(payload)):
            self._mute(route, owner, now.mono)
            return False
        try:
            document = decode(payload, plain=route.plain)
        except BadFrame as error:
            if message.retain:
                self._clear(route)
                return False
            if owner is not None and route.presents is not None:
                return self._present(owner, Seen(route.presents, malformed=True), slot, now)
            self._facts.tell(Notice.FRAME_ERROR, _id(owner), f"{topic!a}: {error}", now.mono)
            return False
        if message.retain and not any(h.message is not None and h.message.retained for h in route.hear(document)):
            self._clear(route)
            return False
        return self._act(route, document, slot, now, len(payload), retained=message.retain)

    def _act(
        self, route: Route, document: JsonValue, slot: Slot | None, now: Instant, size: int, *, retained: bool
    ) -> bool:
        """Act on a document from a device of ours; report one that names somebody else than its topic allows."""
        mismatch = ""
        for heard in route.hear(document):
            terminal = heard.terminal
            if terminal is None:
                mismatch = mismatch or heard.mismatch
            elif heard.answer is not None:
                terminal.seen = now.mono
                self.out.answered(terminal, *heard.answer, document)
                return False
            elif heard.message is not None:
                seen = read(heard.message, document, self._reader.zone, now.wall)
                if retained and seen.message.kind == "door" and terminal.alive is not True:
                    return False  # no sign of life: the broker keeps it for ever; the device tells when it is there
                if says_something(seen):
                    allowed = route.owner is not None or self._allowed(terminal, now.mono, size)
                    return allowed and self._understood(terminal, seen, slot, now)
        if mismatch:
            detail = f"{route.topic!a} names {mismatch}"
            self._facts.tell(Notice.IDENTITY_MISMATCH, _id(route.owner), detail, now.mono)
        return False

    def _back(self, payload: bytes) -> None:
        if self._barrier.back(payload):
            self._inlet.up()
            for terminal in self._terminals.values():
                self.out.say(terminal, terminal.spec.ask)

    def _allowed(self, terminal: Terminal, now: float, size: int) -> bool:
        """Whether a message is within its device's rate. Backlog is: the broker bounds it, and it would be lost."""
        return not self._barrier.heard or terminal.may_send(now, size)

    def _understood(self, terminal: Terminal, seen: Seen, slot: Slot | None, now: Instant) -> bool:
        kind = seen.message.kind
        if kind == "offline":
            self._lost(terminal, "said by the broker or the device")
            return False
        terminal.seen = now.mono
        if not terminal.alive:
            if terminal.alive is False:
                self._inlet.report(Fact(Notice.COMMS_RESTORED, terminal.device.id))
            terminal.alive = True
            terminal.turn += 1
            if kind != "online":
                self.out.say(terminal, terminal.spec.ask)
        self._watch_clock(terminal, seen, now)
        if kind in PRESENTATIONS:
            return self._present(terminal, seen, slot, now)
        if kind == "door":
            self._inlet.door(DoorState(terminal.device.id, seen.message.channel, seen.open))
        else:
            self.out.say(terminal, seen.message.reply, seen)
            if kind == "online":
                self.out.say(terminal, terminal.spec.ask)
        return False

    def _watch_clock(self, terminal: Terminal, seen: Seen, now: Instant) -> None:
        if seen.message.kind == "online":
            terminal.came_on_line(now.mono)
        if self.prompt():
            self._reader.watch_clock(terminal, seen, now)
            if self._reader.clock_due(terminal, now):
                self.out.say(terminal, terminal.spec.set_clock)

    def _present(self, terminal: Terminal, seen: Seen, slot: Slot | None, now: Instant) -> bool:
        """Hand a reading over; what else its message tells is looked at while it is on its way to the door."""
        taken = self._hand_over(terminal, seen, slot)
        self._reader.watch_numbers(terminal, seen, now)
        return taken

    def _hand_over(self, terminal: Terminal, seen: Seen, slot: Slot | None) -> bool:
        proof = self._barrier.heard or not self._first
        reading = self._reader.reading(terminal, seen, self._barrier.floor, LATE_S, proof=proof)
        lane = self._lanes.setdefault(terminal.device.id, deque())
        stored = partial(self._stored, slot, terminal, seen)
        receipt = self._inlet.offer(reading) if not lane else None
        if receipt is not None:
            receipt.add_done_callback(stored)
            return slot is not None
        if slot is None and len(lane) >= _LANE:  # QoS 1 is bounded by the broker's window
            terminal.dropped += 1
            return False
        lane.append((reading, stored))
        if len(lane) == 1:
            draining = self._drain(lane)
            try:
                self._tasks.create_task(draining)
            except RuntimeError:  # the session is ending
                draining.close()
                self._break("the connection to the broker ended")
        return slot is not None

    async def _drain(self, lane: deque[tuple[Reading, Stored]]) -> None:
        """Hand the readings of one device over, one after the other: a slow door holds up its own only."""
        while lane:
            reading, stored = lane[0]
            receipt = await self._inlet.present(reading)
            receipt.add_done_callback(stored)
            lane.popleft()

    def _stored(self, slot: Slot | None, terminal: Terminal, seen: Seen, receipt: Receipt) -> None:
        failed = receipt.cancelled() or receipt.exception() is not None
        if self._broken.done():
            return
        if failed:
            self._break("a reading was not stored: the broker is to deliver it again")
            return
        self.out.say(terminal, seen.message.reply, seen)
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
