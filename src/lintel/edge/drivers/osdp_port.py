"""The RS-485 port of an OSDP bus: bytes in, frames out, one timer. Everything else is in `lintel.edge.osdp`.

The adapter switches its direction by itself, as USB adapters do. What it echoes of ours is no reply and is passed over.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import termios
from collections.abc import Callable
from typing import Final, Self

import serialx

from lintel.edge.errors import Lost
from lintel.edge.osdp.bus import Bus

logging.getLogger("serialx").setLevel(logging.INFO)  # at DEBUG it logs every byte: those are credentials

LOOK_S: Final = 0.5
"""How often the path is looked at: an unplugged adapter is noticed within this, whatever the kernel says."""


class OsdpPort(asyncio.Protocol):
    """An open port with a bus behind it. `heard` is called after every turn in which something may have happened."""

    def __init__(self, path: str, bus: Bus, heard: Callable[[], None]) -> None:
        self._path, self._bus, self._heard = path, bus, heard
        self._loop = asyncio.get_running_loop()
        self._transport: serialx.BaseSerialTransport | None = None
        self._device = 0
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._wake: asyncio.TimerHandle | None = None
        self._look_timer: asyncio.TimerHandle | None = None

    @classmethod
    async def open(cls, path: str, baud: int, bus: Bus, heard: Callable[[], None]) -> Self:
        """The port at `path`, exclusive, 8N1. Raises Lost when it is not there or in use."""
        port = cls(path, bus, heard)
        try:
            transport, _ = await serialx.create_serial_connection(port._loop, lambda: port, path, baud)
            fd = transport.serial.fileno()
            with contextlib.suppress(OSError):
                fcntl.ioctl(fd, termios.TIOCEXCL)  # the lock of serialx binds only programs that ask for it
            port._device = os.fstat(fd).st_rdev
        except (OSError, termios.error, serialx.SerialException) as error:
            await port.close()
            raise Lost(f"{path}: {_why(error)}") from None
        except asyncio.CancelledError:
            await port.close()
            raise
        port._look()
        return port

    async def until_lost(self) -> None:
        """Wait until the port is gone: raises Lost."""
        await self._gone

    def fail(self, error: BaseException) -> None:
        """End the line with an error of its owner."""
        if not self._gone.done():
            self._gone.set_exception(error)

    async def close(self) -> None:
        """Close the port. Nothing is left behind: no timer, no task, no descriptor."""
        self._stop("closed")
        if self._gone.done() and not self._gone.cancelled():
            self._gone.exception()
        if self._transport is not None:
            self._transport.abort()
            await asyncio.shield(asyncio.ensure_future(self._transport.wait_closed()))

    def turn(self) -> None:
        """Let the bus say what is due, and be woken when it wants to be."""
        if self._gone.done() or self._transport is None:
            return
        now = self._loop.time()
        frame = self._bus.step(now)
        if frame is not None:
            self._write(frame)
        self._heard()
        self._plan(self._bus.deadline(now))

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The port is open."""
        assert isinstance(transport, serialx.BaseSerialTransport)  # noqa: S101  what serialx promises
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Bytes from the line."""
        try:
            self._bus.feed(data, self._loop.time())
            self._heard()  # before the next frame, so that an order that follows from it goes first
            self.turn()
        except Exception as error:  # noqa: BLE001  told by the supervisor: asyncio would go on with a deaf line
            self.fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """The port is gone."""
        self._stop(_why(exc) if exc else "closed")

    def _write(self, frame: bytes) -> None:
        """One frame at a time. What does not leave at once would leave late: then the line is given up instead."""
        assert self._transport is not None  # noqa: S101  the caller looked
        if self._transport.get_write_buffer_size():
            self._stop("nothing leaves the port")
            return
        try:
            self._transport.write(frame)
        except (OSError, serialx.SerialException) as error:
            self._stop(_why(error))

    def _plan(self, when: float) -> None:
        """Wake at `when`. An earlier timer stays: most are overtaken by an answer, and moving each costs more."""
        if self._gone.done() or (self._wake is not None and self._wake.when() <= when):
            return
        if self._wake is not None:
            self._wake.cancel()
        self._wake = self._loop.call_at(when, self._woken)

    def _woken(self) -> None:
        self._wake = None
        try:
            self.turn()
        except Exception as error:  # noqa: BLE001  as above
            self.fail(error)

    def _look(self) -> None:
        """Is the path still this port? A link that was moved or removed means another line, or none."""
        try:
            same = os.stat(self._path).st_rdev == self._device  # noqa: PTH116  a plain call twice a second
        except OSError:
            same = False
        if same:
            self._look_timer = self._loop.call_later(LOOK_S, self._look)
        else:
            self._stop("the path is gone or is another port now")

    def _stop(self, why: str) -> None:
        for timer in (self._wake, self._look_timer):
            if timer is not None:
                timer.cancel()
        self._wake = self._look_timer = None
        if not self._gone.done():
            self._gone.set_exception(Lost(f"{self._path}: {why}"))


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
