"""One open serial port with a listener behind it: bytes become things heard, commands become bytes.

serialx does the port itself: raw, locked, settings applied, old input flushed. A master that closes (a pty) and an
unplugged adapter both end in `connection_lost`; a path that vanishes or points elsewhere is noticed by looking at it.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import termios
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

import serialx

from lintel.edge.clock import Clock
from lintel.edge.errors import Lost
from lintel.edge.model import Instant, Outcome
from lintel.edge.profiles.serial import Answer, Bad, Code, Command, Damage, Heard, SerialSpec
from lintel.edge.profiles.stream import Listener, reply

logging.getLogger("serialx").setLevel(logging.INFO)  # at DEBUG it logs every byte: those are credentials

LOOK_S: Final = 0.5
"""How often the path is looked at: an unplugged adapter is noticed within this, whatever the kernel says."""
ANSWER_S: Final = 0.5
"""How long a command's answer is waited for."""
LATE_S: Final = 3.0
"""How long a late answer is still taken out of the stream, where it would spoil the next code."""
_MAX_WAITING: Final = 64
"""Presentations kept for the gate; with more the port is not read, and the line itself holds the sender back."""
_MAX_UNSENT: Final = 4096
_REARM_S: Final = 0.1
_BAD_BURST: Final = 5.0


@dataclass(frozen=True, slots=True)
class Presented:
    """A code or a refused frame, when it arrived, and how old it may have been by then (s)."""

    heard: Code | Bad
    at: Instant
    age: float


class Port(asyncio.Protocol):
    """An open port. `next` waits for the next presentation; it raises Lost when the port is gone.

    `errors` counts what could not be understood; `on_look` is called twice a second.
    """

    def __init__(self, path: str, baud: int, spec: SerialSpec, clock: Clock) -> None:
        self.errors = 0
        self.on_look: Callable[[], None] = lambda: None
        self._path, self._spec, self._clock = path, spec, clock
        self._listener = Listener(spec, baud)
        self._loop = asyncio.get_running_loop()
        self._transport: serialx.BaseSerialTransport | None = None
        self._device = 0
        self._deaf_until = 0.0
        self._waiting: deque[Presented] = deque()
        self._wake = asyncio.Event()
        self._lost: Lost | None = None
        self._answer: asyncio.Future[bool] | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._paused_at: float | None = None
        self._stale_until = self._stale = 0.0
        self._bad_tokens, self._bad_at = _BAD_BURST, 0.0

    @classmethod
    async def open(cls, path: str, baud: int, spec: SerialSpec, clock: Clock) -> Self:
        """The port at `path`, exclusive, with the profile's settings. Raises Lost when it is not there or in use."""
        port = cls(path, baud, spec, clock)
        try:
            transport, _ = await serialx.create_serial_connection(
                port._loop,
                lambda: port,
                path,
                baud,
                serialx.Parity(spec.parity[0].upper()),
                serialx.StopBits(spec.stop_bits),
                dtr_on_open=serialx.PinState.HIGH if spec.dtr else serialx.PinState.LOW,
            )
            port._start(transport)
        except (OSError, termios.error, serialx.SerialException) as error:
            await port.close()
            raise Lost(f"{path}: {_why(error)}") from None
        return port

    def _start(self, transport: serialx.BaseSerialTransport) -> None:
        fd = transport.serial.fileno()
        with contextlib.suppress(OSError):
            fcntl.ioctl(fd, termios.TIOCEXCL)  # the lock of serialx binds only programs that ask for it
        self._device = os.fstat(fd).st_rdev
        self._deaf_until = self._loop.time() + self._spec.discard_after_open_ms / 1000
        self._look()

    async def close(self) -> None:
        """Close the port. Nothing is left behind: no timer, no task, no descriptor."""
        self._stop_timers()
        if self._transport is not None:
            if self._lost is None and (command := self._spec.find(self._spec.on_close)):
                self._write(command.send)
            self._transport.abort()
            await asyncio.shield(asyncio.ensure_future(self._transport.wait_closed()))

    async def next(self) -> Presented:
        """The next presentation. What was heard before the port went is still handed over; half a frame is not."""
        while not self._waiting:
            if self._lost is not None:
                raise self._lost
            self._wake.clear()
            await self._wake.wait()
        if self._paused_at is not None and len(self._waiting) <= _MAX_WAITING // 2 and self._transport is not None:
            self._stale = self._loop.time() - self._paused_at
            self._stale_until = self._loop.time() + 0.05
            self._paused_at = None
            self._transport.resume_reading()
        return self._waiting.popleft()

    async def send(self, command: Command, within: float = ANSWER_S) -> Outcome:
        """Send a command and wait for its answer where it has one. One at a time. Never sends twice."""
        if self._lost is not None or not self._write(command.send):
            return Outcome.NOT_SENT
        if not (command.accepted or (self._spec.extract and self._spec.extract.accepted)):
            return Outcome.EXECUTED
        self._answer = self._loop.create_future()
        self._listener.expect((command,), self._loop.time() + LATE_S)
        try:
            async with asyncio.timeout(within):
                return Outcome.EXECUTED if await self._answer else Outcome.REFUSED_BY_DEVICE
        except (TimeoutError, Lost):
            return Outcome.UNKNOWN_OUTCOME
        finally:
            self._answer = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The port is open."""
        assert isinstance(transport, serialx.BaseSerialTransport)  # noqa: S101  what serialx promises
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Bytes from the reader; those of the first moments are left over from before."""
        now = self._loop.time()
        if now >= self._deaf_until:
            self._take(self._listener.feed(data, now), now)

    def connection_lost(self, exc: Exception | None) -> None:
        """The port is gone."""
        self._lose(_why(exc) if exc else "closed")

    def _lose(self, why: str) -> None:
        if self._lost is None:
            self._lost = Lost(f"{self._path}: {why}")
            self._stop_timers()  # half a frame dies with the line
            self._wake.set()
            if self._answer is not None and not self._answer.done():
                self._answer.set_exception(self._lost)

    def _take(self, heard: list[Heard], now: float) -> None:
        """Answer, count and queue what was heard; then see when the listener wants to be woken."""
        at = self._clock.now()
        age = self._stale if now < self._stale_until else 0.0
        for item in heard:
            if isinstance(item, Answer):
                if self._answer is not None and not self._answer.done():
                    self._answer.set_result(item.accepted)
                continue
            if isinstance(item, Bad | Damage):
                self.errors += 1
                if not self._may_complain(now):
                    continue  # a flood of rubbish is counted, but neither answered nor written down line by line
            self._write(reply(self._spec, item))
            if isinstance(item, Bad) or (isinstance(item, Code) and not item.repeat):
                self._waiting.append(Presented(item, at, age))
            if self._spec.rearm:
                self._later("rearm", _REARM_S, self._rearm)
        self._after_taking(now)

    def _after_taking(self, now: float) -> None:
        if self._waiting:
            self._wake.set()
        if len(self._waiting) >= _MAX_WAITING and self._paused_at is None and self._transport is not None:
            self._paused_at = now
            self._transport.pause_reading()
        if (deadline := self._listener.deadline()) is not None:
            self._later("idle", deadline - now, self._idle)

    def _idle(self) -> None:
        now = self._loop.time()
        deadline = self._listener.deadline()
        if deadline is not None and deadline <= now + 0.001:
            self._take(self._listener.idle(max(now, deadline)), now)
        elif deadline is not None:
            self._later("idle", deadline - now, self._idle)

    def _look(self) -> None:
        """Is the path still this port? A link that was moved or removed means another reader, or none."""
        try:
            same = os.stat(self._path).st_rdev == self._device  # noqa: PTH116  a plain call twice a second
        except OSError:
            same = False
        self.on_look()
        if same:
            self._later("look", LOOK_S, self._look)
        else:
            self._lose("the path is gone or is another port now")
            if self._transport is not None:
                self._transport.abort()

    def _rearm(self) -> None:
        command = self._spec.find(self._spec.rearm)
        if command is not None and self._answer is None:  # while a command is pending, its answer goes first
            self._listener.expect((command,), self._loop.time() + LATE_S)
            self._write(command.send)
        if self._spec.rearm_every_s:
            self._later("rearm_every", self._spec.rearm_every_s, self._rearm)

    def start_rearming(self) -> None:
        """From now on send the trigger every so often, where the profile says so."""
        if self._spec.rearm_every_s:
            self._later("rearm_every", self._spec.rearm_every_s, self._rearm)

    def _may_complain(self, now: float) -> bool:
        """Five refused frames at once, then one a second."""
        self._bad_tokens = min(_BAD_BURST, self._bad_tokens + now - self._bad_at)
        self._bad_at = now
        if self._bad_tokens < 1:
            return False
        self._bad_tokens -= 1
        return True

    def _later(self, name: str, delay: float, call: Callable[[], None]) -> None:
        """Call once after `delay`; a call of that name that is already waiting stays as it is."""

        def run() -> None:
            del self._timers[name]
            call()

        if name not in self._timers and self._lost is None:
            self._timers[name] = self._loop.call_later(max(0.0, delay), run)

    def _stop_timers(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _write(self, data: bytes) -> bool:
        """Hand bytes to the port; False when it takes no more. A reader that does not listen must not cost memory."""
        if not data or self._transport is None or self._lost is not None:
            return False
        if self._transport.get_write_buffer_size() > _MAX_UNSENT:
            return False
        try:
            self._transport.write(data)
        except (OSError, serialx.SerialException) as error:
            self._lose(_why(error))
            return False
        return True


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
