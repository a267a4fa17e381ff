"""Face terminals, readers and relays behind an MQTT broker: one connection carries all devices of a line.

A reading is acknowledged to the broker, in order of arrival, only when its receipt is done; what fails to be stored is
not, the connection is dropped and the broker delivers it again. What is no reading is acknowledged when handled.

How old a reading is: every second a barrier message is published to a topic of our own and comes back through the same
queue as the readings. What arrives after a barrier was published after that barrier was, so the time since then bounds
its age. Before the first barrier after a reconnect everything is backlog. A device's own time can prove a reading
young, and, where the profile asks for it, show that it is history. What a device held back itself is late by its own
clock, right or wrong (`mqtt_lag`); where it names no time, only that it has just come on line tells.

MQTT 3.1.1 can not let an order expire on the way. So none is sent to a device known to be away, none while the last
barrier is overdue, and none is ever repeated; a broker that freezes in the second after a barrier may still pass one on
when it thaws. Terminals should subscribe with QoS 0 (`mqtt/face` does), else the broker keeps orders for them.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from lintel.edge.drivers import mqtt_link as link
from lintel.edge.drivers.base import Context, Device, Driver, Inlet, Line
from lintel.edge.drivers.mqtt_devices import Terminal, mistakes, routes
from lintel.edge.drivers.mqtt_persons import PersonLists
from lintel.edge.drivers.mqtt_session import Session
from lintel.edge.errors import ConfigError, Lost, Refused
from lintel.edge.model import Fact, Notice, Order, Outcome
from lintel.edge.profiles.mqtt import MqttSpec

TAKEOVERS: Final = 5
"""Connections ended by the other side within `TAKEOVER_S` after which `takeover` is raised (abuse case B9)."""

TAKEOVER_S: Final = 60.0


def build(line: Line, devices: Sequence[Device], context: Context) -> Driver:
    """The driver of one broker connection. Raises ConfigError when an option, an address or a profile does not fit."""
    options = link.options_of(line)
    wrong = mistakes(devices)
    if wrong:
        raise ConfigError(f"line {line.id}", wrong)
    specs = [(d, d.profile.spec) for d in devices]
    terminals = [Terminal(d, s, options.rate, options.burst) for d, s in specs if isinstance(s, MqttSpec)]
    return MqttTerminals(line, options, terminals, context)


class MqttTerminals(PersonLists):
    """The driver. What outlives a connection stands here: the devices and whether they are there."""

    def __init__(self, line: Line, options: link.Options, terminals: Sequence[Terminal], context: Context) -> None:
        super().__init__(context, {t.device.id: t for t in terminals}, options.photo_url)
        self.options = options
        self.client_id = options.client_id or f"{context.gateway}-{line.id}"
        self.routes = routes(terminals, context.gateway)
        self._password = context.passwords.get(line.id)
        self._first = True
        self._ended: deque[float] = deque(maxlen=TAKEOVERS + 1)
        self._told_at = float("-inf")

    async def run(self, inlet: Inlet) -> None:
        """Connect, subscribe, and state facts until the connection breaks: Lost, or Refused by the broker."""
        # in a task of its own: a TaskGroup of Python 3.11 loses a cancellation that comes while it ends by an error
        work = asyncio.ensure_future(self._run(inlet))
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError:
            work.cancel()
            await asyncio.wait({work})
            if not work.cancelled():
                work.exception()  # looked at, so that nobody reports it as never retrieved
            raise
        await work

    async def _run(self, inlet: Inlet) -> None:
        async with link.connect(self.options, self.client_id, self._password) as connection:
            session = self._session = Session(
                self.context,
                client_id=self.client_id,
                terminals=self.terminals,
                topics=self.routes,
                connection=connection,
                inlet=inlet,
                first=self._first,
            )
            try:
                await session.run()
            except BaseExceptionGroup as group:
                error = _first(group)
                if isinstance(error, link.HungUp):
                    self._count_ends(inlet)
                raise error from None
            finally:
                self._session = None
                self._first = self._first and not session.heard
                session.end()

    def _count_ends(self, inlet: Inlet) -> None:
        """MQTT 3.1.1 does not say why a connection is ended; many ends in a row are worth a look, once a minute."""
        now = self.context.clock.now().mono
        self._ended.append(now)
        often = len(self._ended) > TAKEOVERS and now - self._ended[0] <= TAKEOVER_S
        if often and now - self._told_at >= TAKEOVER_S:
            detail = f"ended {len(self._ended)} times within a minute: has another client the id {self.client_id!a}?"
            inlet.report(Fact(Notice.TAKEOVER, detail=detail, count=len(self._ended)))
            self._told_at = now

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
