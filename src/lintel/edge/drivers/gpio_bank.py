"""The requested lines of one GPIO chip: edges become contacts and door positions, orders become levels.

The kernel numbers and times the edges, and drops the oldest when its buffer is full. A gap in the numbers means that
the level has to be read; where the kernel debounces, edges alternate, so that what was lost is known as well. Levels
are read twice a second anyway, which is also how a chip that was unplugged is noticed.
"""

import asyncio
import errno
import logging
import select
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from lintel.edge.contacts import Debounce, Pulse
from lintel.edge.drivers.base import Device, Inlet
from lintel.edge.drivers.gpio_input import EXIT_S, PER_S, Input
from lintel.edge.errors import Lost
from lintel.edge.model import Action, Contact, ContactKind, DoorState, Fact, Notice, Order, Outcome
from lintel.edge.profiles.gpio import GpioSpec

if TYPE_CHECKING:
    from gpiod import LineRequest, LineSettings

log = logging.getLogger(__name__)

LOOK_S: Final = 0.5
"""How often all levels are read (s)."""
BUFFER: Final = 32
"""Edges of one line that the kernel keeps while the loop is busy."""
FOLD_S: Final = 10.0
"""A line that chatters is told at most once in this time (s)."""

_WHY: Final = {
    errno.ENOENT: "no chip",
    errno.ENODEV: "no chip",
    errno.ENXIO: "no chip, or it can not tell of edges",
    errno.EBUSY: "a line is in use by another program; gpioinfo shows which",
    errno.EACCES: "access denied: is the gateway's user in the group of the chip?",
    errno.ENOTTY: "this is no GPIO chip",
    errno.EINVAL: "the chip refuses a setting: bias, drive, edges or a line that it does not have",
}


def request(chip: str, config: Mapping[int | str, "LineSettings"], *, buffer: int) -> "LineRequest":
    """The lines, requested from the kernel in one call. Tests put a chip of their own here."""
    import gpiod  # noqa: PLC0415  an extra: only a site with GPIO lines has it

    wanted: dict[Any, LineSettings | None] = dict(config)
    return gpiod.request_lines(chip, config=wanted, consumer="lintel", event_buffer_size=buffer)


@dataclass(frozen=True, slots=True)
class Wire:
    """One device and what its profile says of its line."""

    device: Device
    spec: GpioSpec

    @property
    def line(self) -> int | str:
        """The line's offset, or its name on the chip."""
        return int(self.device.address) if self.device.address.isdecimal() else self.device.address

    def settings(self, *, driven: bool) -> "LineSettings":
        """What is asked of the kernel; `driven` is the level of an output from its first moment."""
        from gpiod import LineSettings  # noqa: PLC0415  see `request`
        from gpiod.line import Bias, Direction, Drive, Edge, Value  # noqa: PLC0415

        spec = self.spec
        if not spec.hears:
            return LineSettings(
                direction=Direction.OUTPUT,
                output_value=Value.ACTIVE if driven else Value.INACTIVE,
                active_low=spec.active_low,
                bias=Bias[spec.bias.upper()],
                drive=Drive[spec.drive.upper()],
            )
        kernel = spec.debounce == "kernel"
        return LineSettings(
            direction=Direction.INPUT,
            edge_detection=Edge.BOTH,
            active_low=spec.active_low,
            bias=Bias[spec.bias.upper()],
            debounce_period=timedelta(milliseconds=spec.debounce_ms if kernel else 0),
        )


class Bank:
    """Open lines. `lost` fails with Lost when the chip is gone."""

    def __init__(self, chip: str, request: "LineRequest", wires: Sequence[Wire], inlet: Inlet) -> None:
        self._chip, self._request, self._inlet = chip, request, inlet
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[None] = self._loop.create_future()
        by_line = {wire.line: wire for wire in wires}
        self._at = {at: by_line[line] for line, at in zip(request.lines, request.offsets, strict=True)}
        self._inputs = {at: _input(w.spec) for at, w in self._at.items() if w.spec.hears}
        self._locks = {w.device.id: (at, w, Pulse()) for at, w in self._at.items() if not w.spec.hears}
        self._numbers: dict[int, int] = {}
        self._number = 0
        self._flooded: dict[int, float] = {}
        self._timers: dict[object, asyncio.TimerHandle] = {}
        self._reading = False
        self._poll = select.poll()
        self._poll.register(request.fd, select.POLLIN)

    @classmethod
    def open(cls, chip: str, wires: Sequence[Wire], inlet: Inlet, released: Callable[[str], bool]) -> Self:
        """Request the lines, locks locked unless `released`. Raises Lost with the reason in words."""
        free = {wire.line: not wire.spec.hears and released(wire.device.id) for wire in wires}
        config = {w.line: w.settings(driven=w.spec.driven(unlocked=free[w.line])) for w in wires}
        try:
            bank = cls(chip, request(chip, config, buffer=BUFFER * len(config)), wires, inlet)
        except (OSError, ValueError) as error:
            raise Lost(f"{chip}: {_why(error, chip)}") from None
        for _, wire, pulse in bank._locks.values():
            pulse.held = free[wire.line]
        return bank

    def start(self) -> None:
        """Say how every input stands, and from then on what changes."""
        self._read(first=True)
        if self.lost.done():
            return
        self._loop.add_reader(self._request.fd, self._safely, self._edges)
        self._reading = True
        self._look()

    def close(self) -> None:
        """Let go of the lines. Relays fall off, save those that are held."""
        self.lost.cancel()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._reading:
            self._loop.remove_reader(self._request.fd)
        for at, _, pulse in self._locks.values():
            if not pulse.held:
                self._drive(at, driven=False)
        self._request.release()

    def forget(self) -> None:
        """The chip is gone: what its inputs say is not known."""
        for at in self._inputs:
            self._tell(self._at[at], None)

    def order(self, order: Order) -> Outcome:
        """Carry out what a relay can do. An error of the chip leaves open what became of it."""
        at, wire, pulse = self._locks[order.device]
        match order.action:
            case Action.OPEN:
                pulse.open(order.seconds, self._loop.time())
            case Action.HOLD:
                pulse.hold()
            case _:
                pulse.release()
        self._set(at, wire, pulse)
        return Outcome.UNKNOWN_OUTCOME if self.lost.done() else Outcome.EXECUTED

    def _set(self, at: int, wire: Wire, pulse: Pulse) -> None:
        """Drive a relay as its pulse says, and come back when that ends."""
        if (timer := self._timers.pop(at, None)) is not None:
            timer.cancel()
        now = self._loop.time()
        self._drive(at, driven=wire.spec.driven(unlocked=pulse.unlocked(now)))
        if (deadline := pulse.deadline(now)) is not None and not self.lost.done():
            self._timers[at] = self._loop.call_at(deadline, self._safely, partial(self._set, at, wire, pulse))

    def _drive(self, at: int, *, driven: bool) -> None:
        from gpiod.line import Value  # noqa: PLC0415  see `request`

        try:
            self._request.set_value(at, Value.ACTIVE if driven else Value.INACTIVE)
        except OSError as error:
            self._lose(error)

    # inputs

    def _look(self) -> None:
        self._catch_up()
        self._read()
        if not self.lost.done():
            self._timers["look"] = self._loop.call_later(LOOK_S, self._safely, self._look)

    def _read(self, only: Sequence[int] = (), *, first: bool = False) -> None:
        """Read levels; those of all lines, so that the loss of a chip with nothing but relays is noticed as well."""
        from gpiod.line import Value  # noqa: PLC0415  see `request`

        lines, now = list(only or self._at), self._loop.time()
        try:
            levels = self._request.get_values(lines)
        except OSError as error:
            self._lose(error)
            return
        for at, level in zip(lines, levels, strict=True):
            if at in self._inputs and first:
                self._inputs[at].start(level is Value.ACTIVE)
                self._tell(self._at[at], level is Value.ACTIVE)
            elif at in self._inputs:
                self._say(at, self._inputs[at].edge(level is Value.ACTIVE, now, now))
                self._plan(at)

    def _catch_up(self) -> float:
        """Take all edges of until now, and say when that was: a level is settled only if nothing has come since."""
        now = self._loop.time()
        while not self.lost.done() and self._poll.poll(0) and self._edges() < now:
            pass
        return now

    def _edges(self) -> float:
        """Take what the kernel has, each edge at its own time; returns the time of the last."""
        try:
            events = self._request.read_edge_events()
        except OSError as error:
            self._lose(error)
            return float("inf")
        now, gaps, gone, last = self._loop.time(), set(), False, float("-inf")
        for event in events:
            at, last = event.line_offset, event.timestamp_ns / 1e9
            level = event.event_type is event.Type.RISING_EDGE
            lost = event.line_seqno - self._numbers.get(at, 0) - 1
            gone = gone or event.global_seqno != self._number + 1
            self._numbers[at], self._number = event.line_seqno, event.global_seqno
            if lost:
                gaps.add(at)
            if lost and self._at[at].spec.debounce == "kernel":
                for was in (level, not level)[lost == 1 :]:
                    self._say(at, self._inputs[at].edge(was, last, now))
            self._say(at, self._inputs[at].edge(level, last, now))
        for at in {event.line_offset for event in events}:
            self._plan(at)
        if gaps or gone:
            self._read([] if gone else sorted(gaps))
        return last

    def _plan(self, at: int) -> None:
        """Come back when an input may have more to tell."""
        if (timer := self._timers.pop(at, None)) is not None:
            timer.cancel()
        if (deadline := self._inputs[at].deadline) is not None:
            self._timers[at] = self._loop.call_at(deadline, self._safely, partial(self._due, at))

    def _due(self, at: int) -> None:
        now = self._catch_up()
        self._say(at, self._inputs[at].look(now))
        self._plan(at)

    def _say(self, at: int, levels: Iterable[bool]) -> None:
        line, device = self._inputs[at], self._at[at].device
        for level in levels:
            try:
                self._tell(self._at[at], level)
            except Exception:  # whoever hears of one input: the fire input beside it goes on
                log.exception("%s: what input %s says was not taken", self._chip, device.id)
        now = self._loop.time()
        if line.held_back and now >= self._flooded.get(at, 0.0):
            self._flooded[at] = now + FOLD_S
            self._inlet.report(Fact(Notice.FLOOD, device.id, f"over {PER_S:g} changes a second", line.held_back))
            line.held_back = 0

    def _tell(self, wire: Wire, active: bool | None) -> None:  # noqa: FBT001  a level is a truth value
        device = wire.device
        if wire.spec.role == "door_contact":
            self._inlet.door(DoorState(device.id, 0, active, device.door))
            if active:
                self._opened(device.door)
        else:
            self._inlet.contact(Contact(device.id, ContactKind(wire.spec.role), active, device.door))

    def _opened(self, door: str) -> None:
        """The door is open: a pulse of its lock on this chip may end soon."""
        for at, wire, pulse in self._locks.values():
            if wire.device.door == door and wire.spec.relock_on_open_s:
                pulse.opened(wire.spec.relock_on_open_s, self._loop.time())
                self._set(at, wire, pulse)

    def _safely(self, work: Callable[[], object]) -> None:
        """What the event loop calls: after a mistake it would go on with a deaf line; the supervisor begins anew."""
        try:
            work()
        except Exception as error:  # noqa: BLE001  told by the supervisor
            if not self.lost.done():
                self.lost.set_exception(error)

    def _lose(self, error: OSError) -> None:
        if not self.lost.done():
            self.lost.set_exception(Lost(f"{self._chip}: {_why(error, self._chip)}"))


def _input(spec: GpioSpec) -> Input:
    period = 0.0 if spec.debounce == "kernel" else spec.debounce_ms / 1000
    stale_s = EXIT_S if spec.role == "exit" else float("inf")
    return Input(Debounce(period), urgent=spec.role == "fire", stale_s=stale_s)


def _why(error: OSError | ValueError, chip: str) -> str:
    if not isinstance(error, OSError):
        return str(error)  # such as an offset that the chip does not have
    if error.errno == errno.ENOENT and Path(chip).exists():
        return "the chip has no line of a name that is asked for"
    return _WHY.get(error.errno or 0, error.strerror or str(error))
