"""What goes out to the devices of an MQTT line: replies, questions, and orders that are sent at most once."""

import asyncio
import hashlib
from asyncio import FIRST_COMPLETED
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

from pydantic import JsonValue

from lintel.edge.drivers.base import Context
from lintel.edge.drivers.mqtt_devices import Terminal
from lintel.edge.drivers.mqtt_link import Link, NotSent
from lintel.edge.model import Order, Outcome
from lintel.edge.profiles.mqtt import body, fill
from lintel.edge.profiles.mqtt_read import Seen
from lintel.edge.profiles.mqtt_spec import Answer, Command

LONGEST_ID: Final = 32
"""Longest correlation id that terminals are known to give back whole (mqtt/face v1.25, unconfirmed)."""

_WAITING_REPLIES = 10_000


class Outgoing:
    """The sending half of one connection. `broken` is done when the connection is."""

    def __init__(self, context: Context, link: Link, broken: asyncio.Future[None]) -> None:
        self._context, self._clock, self._link, self._broken = context, context.clock, link, broken
        self._zone = ZoneInfo(context.timezone)
        self._outbox: asyncio.Queue[tuple[str, bytes, bool]] = asyncio.Queue(_WAITING_REPLIES)
        self._waiting: dict[tuple[str, str], asyncio.Future[bool]] = {}
        self._asked: dict[tuple[str, str], asyncio.Future[tuple[bool, JsonValue]]] = {}
        self._turns: dict[tuple[str, str], asyncio.Lock] = {}

    async def send(self) -> None:
        """Send what was posted, for ever."""
        while True:
            topic, payload, retain = await self._outbox.get()
            if payload or retain:
                self._link.post(topic, payload, retain=retain)
            else:
                await self._link.unsubscribe([topic])

    def post(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Send soon. An empty payload deletes a retained message, or, without `retain`, ends a subscription.

        Dropped when ten thousand wait: a device that misses a reply asks again.
        """
        if not self._outbox.full():
            self._outbox.put_nowait((topic, payload, retain))

    def say(self, terminal: Terminal, name: str | None, seen: Seen | None = None) -> None:
        """Send a command of the profile that is no order: a reply to `seen`, or a question. None: nothing."""
        if name is not None:
            self.post(*self._compose(terminal, terminal.spec.command[name], self._context.new_id(), seen=seen))

    def answered(self, terminal: Terminal, order: str, good: bool, document: JsonValue) -> None:  # noqa: FBT001  the word of the device
        """A device answered an order. Too late, or to somebody else's, it changes nothing any more."""
        waiting = self._waiting.get((terminal.device.id, order))
        if waiting is not None and not waiting.done():
            waiting.set_result(good)
        asked = self._asked.get((terminal.device.id, order))
        if asked is not None and not asked.done():
            asked.set_result((good, document))

    async def ask(
        self, terminal: Terminal, command: Command, values: Mapping[str, JsonValue], longer: float, most: int
    ) -> tuple[bool, JsonValue] | None:
        """Send what is no order and wait for the answer, `longer` than usual (s); None: no answer came.

        Raises NotSent where nothing has left, ValueError for one that is longer than `most` bytes.
        """
        number = self._context.new_id()[-LONGEST_ID:]
        topic, payload = self._compose(terminal, command, number, more=values)
        if len(payload) > most:
            raise ValueError(f"a command of {len(payload)} bytes")
        timeout = longer + (command.answer.timeout_s if command.answer is not None else 0.0)
        key = (terminal.device.id, number)
        answer = self._asked[key] = asyncio.get_running_loop().create_future()
        either: set[asyncio.Future[tuple[bool, JsonValue]] | asyncio.Future[None]] = {answer, self._broken}
        try:
            if self._broken.done():
                raise NotSent("the connection to the broker ended")
            self._link.post(topic, payload)
            await asyncio.wait(either, timeout=timeout, return_when=FIRST_COMPLETED)
            return answer.result() if answer.done() else None
        finally:
            answer.cancel()
            del self._asked[key]

    async def order(self, terminal: Terminal, command: Command, order: Order) -> Outcome:
        """Send an order once. Its outcome is unknown as soon as it may have left and no answer came in time."""
        order_id = order.id
        if len(order_id) > LONGEST_ID:
            order_id = hashlib.blake2b(order.id.encode(), digest_size=LONGEST_ID // 2).hexdigest()
        topic, payload = self._compose(terminal, command, order_id, order=order)
        limit = order.deadline - self._clock.now().mono
        if limit <= 0:
            return Outcome.ORDER_EXPIRED
        if command.answer is None:  # that the broker has it says nothing about the door
            return self._told(topic, payload)
        if command.answer.correlate is not None:
            return await self._answered_order((terminal.device.id, order_id), command.answer, topic, payload, limit)
        key = (terminal.device.id, command.answer.mark)
        turn = self._turns.setdefault(key, asyncio.Lock())
        try:
            async with asyncio.timeout(limit):
                await turn.acquire()  # its answer names no order: two of a kind could not be told apart
        except TimeoutError:
            return Outcome.NOT_SENT
        try:
            limit = order.deadline - self._clock.now().mono
            return await self._answered_order(key, command.answer, topic, payload, limit)
        finally:
            turn.release()

    async def _answered_order(
        self, key: tuple[str, str], expected: Answer, topic: str, payload: bytes, limit: float
    ) -> Outcome:
        answer = self._waiting[key] = asyncio.get_running_loop().create_future()
        either: set[asyncio.Future[bool] | asyncio.Future[None]] = {answer, self._broken}
        try:
            self._link.post(topic, payload)  # QoS 0: the device's own answer tells more than the broker's receipt
            await asyncio.wait(either, timeout=min(limit, expected.timeout_s), return_when=FIRST_COMPLETED)
            if not answer.done():
                return Outcome.UNKNOWN_OUTCOME
            return Outcome.EXECUTED if answer.result() else Outcome.REFUSED_BY_DEVICE
        except NotSent:
            return Outcome.NOT_SENT
        finally:
            answer.cancel()
            del self._waiting[key]

    def _told(self, topic: str, payload: bytes) -> Outcome:
        """Send an order to a device that never answers."""
        try:
            self._link.post(topic, payload)
        except NotSent:
            return Outcome.NOT_SENT
        return Outcome.UNKNOWN_OUTCOME

    def _compose(
        self,
        terminal: Terminal,
        command: Command,
        order_id: str,
        *,
        order: Order | None = None,
        seen: Seen | None = None,
        more: Mapping[str, JsonValue] = MappingProxyType({}),
    ) -> tuple[str, bytes]:
        gateway, address = self._context.gateway, terminal.address
        values: dict[str, JsonValue] = {"order_id": order_id, "device": address, "gateway": gateway}
        values |= {"channel": 0, "seconds": 0.0, "text": "", "record": None}
        if command.reply_to is not None:
            values["reply_to"] = fill(command.reply_to, address, gateway)
        if "now_local" in command.field.values():
            values["now_local"] = self._local()
        if order is not None:
            values |= {"channel": order.channel, "seconds": order.seconds, "text": order.text}
        if seen is not None:
            values["record"] = seen.raw_record
        values |= more
        return fill(command.topic, address, gateway), body(command, values)

    def _local(self) -> str:
        return datetime.fromtimestamp(self._clock.now().wall, self._zone).strftime("%Y-%m-%d %H:%M:%S")
