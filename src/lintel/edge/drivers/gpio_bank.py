"""The requested lines of one GPIO chip: edges become contacts and door positions, orders become levels.

The kernel numbers the edges of a line and drops the oldest when its buffer is full, so a gap in the numbers means that
the level has to be read. It is read twice a second anyway, which is also how a chip that was unplugged is noticed.
"""

import asyncio
import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from lintel.edge.contacts import Debounce, Pulse
from lintel.edge.drivers.base import Device, Inlet
from lintel.edge.errors import Lost
from lintel.edge.model import Action, Contact, ContactKind, DoorState, Order, Outcome
from lintel.edge.profiles.gpio import GpioSpec

if TYPE_CHECKING:
    from gpiod import LineRequest, LineSettings

LOOK_S: Final = 0.5
"""How often all levels are read (s)."""
BUFFER: Final = 32
"""Edges of one line that the kernel keeps while the loop is busy."""

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
        self._inputs = {
            at: Debounce(0.0 if w.spec.debounce == "kernel" else w.spec.debounce_ms / 1000)
            for at, w in self._at.items()
            if w.spec.hears
        }
        self._locks = {w.device.id: (at, w, Pulse()) for at, w in self._at.items() if not w.spec.hears}
        self._numbers: dict[int, int] = {}
        self._timers: dict[object, asyncio.TimerHandle] = {}
        self._reading = False

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
        self._loop.add_reader(self._request.fd, self._edges)
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
            self._timers[at] = self._loop.call_at(deadline, partial(self._set, at, wire, pulse))

    def _drive(self, at: int, *, driven: bool) -> None:
        from gpiod.line import Value  # noqa: PLC0415  see `request`

        try:
            self._request.set_value(at, Value.ACTIVE if driven else Value.INACTIVE)
        except OSError as error:
            self._lose(error)

    def _look(self) -> None:
        self._read()
        if not self.lost.done():
            self._timers["look"] = self._loop.call_later(LOOK_S, self._look)

    def _read(self, only: Sequence[int] = (), *, first: bool = False) -> None:
        """Read levels; those of all lines, so that the loss of a chip with nothing but relays is noticed as well."""
        from gpiod.line import Value  # noqa: PLC0415  see `request`

        lines = list(only or self._at)
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
                self._edge(at, level is Value.ACTIVE)

    def _edges(self) -> None:
        """The kernel has edges. After a gap, the level of now is what counts."""
        try:
            events = self._request.read_edge_events()
        except OSError as error:
            self._lose(error)
            return
        gaps = set()
        for event in events:
            at, number = event.line_offset, event.line_seqno
            if number != self._numbers.get(at, 0) + 1:
                gaps.add(at)
            self._numbers[at] = number
            self._edge(at, event.event_type is event.Type.RISING_EDGE)
        if gaps:
            self._read(sorted(gaps))

    def _edge(self, at: int, level: bool) -> None:  # noqa: FBT001  a level is a truth value
        self._inputs[at].edge(level, self._loop.time())
        self._settle(at)

    def _settle(self, at: int) -> None:
        """Tell a level that held long enough; come back for one that has not yet."""
        if (timer := self._timers.pop(at, None)) is not None:
            timer.cancel()
        line = self._inputs[at]
        if line.due(self._loop.time()):
            self._tell(self._at[at], line.level)
        elif (deadline := line.deadline) is not None:
            self._timers[at] = self._loop.call_at(deadline, partial(self._settle, at))

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

    def _lose(self, error: OSError) -> None:
        if not self.lost.done():
            self.lost.set_exception(Lost(f"{self._chip}: {_why(error, self._chip)}"))


def _why(error: OSError | ValueError, chip: str) -> str:
    if not isinstance(error, OSError):
        return str(error)  # such as an offset that the chip does not have
    if error.errno == errno.ENOENT and Path(chip).exists():
        return "the chip has no line of a name that is asked for"
    return _WHY.get(error.errno or 0, error.strerror or str(error))
