"""A multi-drop RS-485 line: a panel's end and several readers, at the true speed of the line.

Each end is a pty (a panel, a reader of others) or an object in this process. What one end says all the others hear, one
character after 10 / baud seconds; two that speak at once garble each other. `tap` stands in the middle of the wire.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lintel.simulators.line import Line
from lintel.simulators.osdp_pd import Peripheral
from lintel.simulators.osdp_wire import Splitter
from lintel.simulators.parts import SimulatorError

IDLE_S = 0.05
"""Silence after which a begun frame is no longer waited for."""

Tap = Callable[[bool, bytes], bytes | None]
"""Takes (from the panel?, whole frame); gives what travels on, or None: it is lost. Marks and noise are not seen."""


class End(Protocol):
    """Whoever is connected to the line."""

    def hear(self, data: bytes) -> None:
        """Bytes arrive."""
        ...


@dataclass(slots=True)
class _Said:
    end: End
    data: bytearray
    starts: float
    done: int = 0


@dataclass(slots=True)
class _Speaker:
    free_at: float = 0.0
    splitter: Splitter = field(default_factory=Splitter)


class Bus:
    """The line. `link` is the panel's port; `baud` 0 takes no time; `slice` characters are handed over together.

    `echo`: the panel hears itself, as behind some adapters.
    """

    def __init__(
        self,
        link: Path,
        baud: int = 9600,
        *,
        slice: int = 8,  # noqa: A002  a slice of what is on its way
        echo: bool = False,
        in_use: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self.tap: Tap | None = None
        self.collisions = 0
        self.panel = _Wire(self, Line(link, 0, self._panel_says, in_use))
        self.baud = baud
        self._character = 10.0 / baud if baud else 0.0
        self._slice, self._echo = slice, echo
        self._ends: list[End] = [self.panel]
        self._speakers: dict[int, _Speaker] = {}
        self._under_way: deque[_Said] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.arrived_at = 0.0
        """When the bytes that are heard now arrived on an ideal line: the loop is up to a millisecond late (s)."""

    # Who is connected.

    def plug(self, link: Path | None = None) -> str:
        """The panel's port appears, under another name if one is given; returns the port's own name."""
        if link is not None:
            self.panel.line.link = link
        return self.panel.line.plug()

    def cut(self) -> None:
        """The panel's adapter is pulled out: its open port breaks. What was on its way is lost."""
        self.panel.line.unplug()
        self._under_way.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Take everything away."""
        for end in self._ends:
            if isinstance(end, _Wire):
                end.line.unplug()
        self._ends = [self.panel]
        self.cut()

    def drop(self, link: Path) -> Line:
        """A further port on the line, for a reader that is a program of others."""
        wire: _Wire
        line = Line(link, 0, lambda data: self.say(wire, data), lambda _: None)
        wire = _Wire(self, line)
        self._ends.append(wire)
        line.plug()
        return line

    def join(self, end: End) -> None:
        """Connect somebody of this process."""
        self._ends.append(end)

    def leave(self, end: End) -> bool:
        """Disconnect; True when no reader is left."""
        self._ends.remove(end)
        return self._ends == [self.panel]

    # What travels.

    def _panel_says(self, data: bytes) -> None:
        self.say(self.panel, data)

    def say(self, end: End, data: bytes, begun: float = math.inf) -> None:
        """Put bytes on the line as somebody who is connected, or as somebody in the middle.

        `begun`: when they began, if that was before now (loop time, s).
        """
        speaker = self._speakers.setdefault(id(end), _Speaker())
        if self.tap is not None:
            frames = [self.tap(end is self.panel, frame) for frame in speaker.splitter.feed(data)]
            data = b"".join(frame for frame in frames if frame)
        if not data:
            return
        now = asyncio.get_running_loop().time()
        if not self._character:
            self.arrived_at = now
            self._deliver(end, data)
            return
        start = max(min(now, begun), speaker.free_at)
        said = _Said(end, bytearray(data), start)
        speaker.free_at = start + len(data) * self._character
        for other in self._under_way:
            ends = other.starts + len(other.data) * self._character
            if other.end is not end and ends > start + 1e-6:
                self.collisions += 1
                other.data[other.done :] = bytes(len(other.data) - other.done)
                said.data = bytearray(len(data))
        self._under_way.append(said)
        self._plan()

    def _due(self, said: _Said) -> float:
        return said.starts + min(len(said.data), said.done + self._slice) * self._character

    def _plan(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        when = min((self._due(said) for said in self._under_way), default=None)
        self._timer = None if when is None else asyncio.get_running_loop().call_at(when, self._carry)

    def _carry(self) -> None:
        now = asyncio.get_running_loop().time()
        self._timer = None
        for said in list(self._under_way):
            if self._due(said) > now + 1e-6:
                continue
            arrived = min(len(said.data), int((now - said.starts) / self._character + 1e-3))
            arrived = max(arrived, min(len(said.data), said.done + self._slice))
            part = bytes(said.data[said.done : arrived])
            said.done = arrived
            self.arrived_at = min(now, said.starts + arrived * self._character)
            if arrived == len(said.data):
                self._under_way.remove(said)
            self._deliver(said.end, part)
        self._plan()

    def _deliver(self, end: End, data: bytes) -> None:
        for other in list(self._ends):
            if other is not end or (self._echo and other is self.panel):
                other.hear(data)


class _Wire:
    """An end that is a pty."""

    def __init__(self, bus: Bus, line: Line) -> None:
        self.bus, self.line = bus, line

    def hear(self, data: bytes) -> None:
        """Bytes arrive; while nobody has the port open they are lost."""
        self.line.write(data)


class Station:
    """A reader of this process on a bus. It answers `turnaround` seconds after the last byte of a command."""

    def __init__(self, bus: Bus, pd: Peripheral, turnaround: float = 0.002) -> None:
        self.bus, self.pd = bus, pd
        self.turnaround = turnaround
        self.powered = True
        self._splitter = Splitter()
        self._heard_at = 0.0
        bus.join(self)

    def power(self, *, on: bool) -> None:
        """Switch the reader on, or off: it forgets its session, not its key."""
        self.powered = on
        self._splitter.clear()
        self.pd.forget()

    def hear(self, data: bytes) -> None:
        """Bytes arrive."""
        if not self.powered:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now - self._heard_at > IDLE_S:
            self._splitter.clear()
        self._heard_at = now
        for raw in self._splitter.feed(data):
            reply = self.pd.reply(raw, now)
            if reply is not None:
                begins = self.bus.arrived_at + self.turnaround
                loop.call_at(begins, self._speak, reply, begins)

    def _speak(self, reply: bytes, begins: float) -> None:
        if self.powered and self.bus.panel.line.plugged:
            self.bus.say(self, reply, begins)


_SHARED: dict[Path, Bus] = {}


def shared(link: Path, baud: int, in_use: Callable[[bool], None]) -> Bus:
    """The bus of this process at a link: readers with the same link are on one line. Raises SimulatorError."""
    bus = _SHARED.setdefault(link, Bus(link, baud, in_use=in_use))
    if bus.baud != baud:
        raise SimulatorError(f"the line {link} runs at {bus.baud} baud")
    return bus


def left(bus: Bus) -> None:
    """The last reader of a shared bus has gone."""
    bus.close()
    _SHARED.pop(bus.panel.line.link, None)
