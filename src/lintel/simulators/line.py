"""A serial line made of a pty and a stable link, with the speed of a real one, that can be pulled out and put back."""

import asyncio
import contextlib
import errno
import os
import select
import tty
from collections.abc import Callable
from pathlib import Path

from lintel.simulators.parts import SimulatorError

_SLICE = 16
"""Bytes handed over at once, like the FIFO of a UART."""


class Line:
    """The device's end of a serial line. `link` plays the part of a name under /dev/serial/by-id.

    A pty has no speed: the time of 10 bits per character at `baud` is added (0: none, as on USB-CDC).
    While nobody has the port open, what is sent is lost, as on a real line; `in_use` hears when that changes.
    """

    def __init__(
        self, link: Path, baud: int, received: Callable[[bytes], None], in_use: Callable[[bool], None]
    ) -> None:
        self.link = link
        self._character = 10.0 / baud if baud else 0.0
        self._received = received
        self._in_use = in_use
        self._master = -1
        self._watch: asyncio.TimerHandle | None = None
        self._reading = False

    @property
    def plugged(self) -> bool:
        """Whether the device is there."""
        return self._master >= 0

    @property
    def open(self) -> bool:
        """Whether somebody has the port open right now."""
        if self._master < 0:
            return False
        poll = select.poll()
        poll.register(self._master, 0)
        return not any(mask & select.POLLHUP for _, mask in poll.poll(0))

    def plug(self) -> str:
        """Create the port and point the link at it; returns the port's own name. Raises SimulatorError."""
        if self._master >= 0:
            raise SimulatorError("already plugged in")
        if self.link.exists() and not self.link.is_symlink():
            raise SimulatorError(f"{self.link} exists and is no link")
        master, slave = os.openpty()
        port = os.ttyname(slave)
        tty.setraw(slave)  # no echo before the host has set its own mode
        os.close(slave)  # kept open it would hide whether the host is there
        os.set_blocking(master, False)
        self._master = master
        self.link.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.link.with_name(f".{self.link.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(port)
        fresh.replace(self.link)
        self._look()
        return port

    def unplug(self) -> None:
        """Take the device away: the link goes, and an open port reads EIO."""
        if self._master < 0:
            return
        with contextlib.suppress(OSError):
            self.link.unlink()
        self._stop_reading()
        if self._watch is not None:
            self._watch.cancel()
        os.close(self._master)
        self._master = -1

    async def send(self, data: bytes) -> bool:
        """Send at line speed. False when nobody listened to all of it."""
        loop = asyncio.get_running_loop()
        start, master = loop.time(), self._master
        for at in range(0, len(data), _SLICE):
            part = data[at : at + _SLICE]
            if self._character:
                await asyncio.sleep(start + (at + len(part)) * self._character - loop.time())
            if self._master != master or not self.write(part):
                return False
        return True

    def write(self, data: bytes) -> bool:
        """Hand over at once. False when nobody listened to all of it."""
        if not self.open:
            return False
        try:
            while data:
                data = data[os.write(self._master, data) :]
        except OSError:  # a full buffer: the host has the port open but does not read
            return False
        return True

    def _look(self) -> None:
        # Level-triggered polling of a hung-up pty would spin: look every 50 ms until a host opens the port.
        if self._master < 0:
            return
        if self.open:
            self._reading = True
            self._in_use(True)  # noqa: FBT003
            asyncio.get_running_loop().add_reader(self._master, self._readable)
        else:
            self._watch = asyncio.get_running_loop().call_later(0.05, self._look)

    def _stop_reading(self) -> None:
        if self._reading:
            asyncio.get_running_loop().remove_reader(self._master)
            self._reading = False

    def _readable(self) -> None:
        try:
            data = os.read(self._master, 4096)
        except BlockingIOError:
            return
        except OSError:  # EIO: the host closed the port
            data = b""
        if data:
            self._received(data)
        else:
            self._stop_reading()
            self._in_use(False)  # noqa: FBT003
            if self._left_exclusive():
                self.unplug()
                self.plug()
            else:
                self._look()

    def _left_exclusive(self) -> bool:
        # TIOCEXCL outlives the close on a pty, unlike on a real port, and would lock an ordinary user out for good.
        try:
            os.close(os.open(self.link, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK))
        except OSError as error:
            return error.errno == errno.EBUSY
        return False
