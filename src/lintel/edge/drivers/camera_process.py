"""The worker process of one camera, from the outside: started, listened to, killed. Nothing it does can hurt a door."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from asyncio import subprocess
from typing import Final, Self

from lintel.edge import camera_wire
from lintel.edge.camera_wire import Message, Start
from lintel.edge.errors import BadFrame, Lost

COMMAND: Final = (sys.executable, "-I", "-m", "lintel.edge.recognition.worker")
START_S: Final = 20.0
"""How long a worker may take for its first word: on a busy box, loading OpenCV at low priority takes seconds."""
SILENCE_S: Final = 6.0
"""How long it may be silent after that; it speaks every second."""
KILL_S: Final = 2.0
"""How long a killed process is waited for. One that hangs in the kernel is left there, and told."""
_BUFFER: Final = 16 * 1024
_KEPT: Final = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ")

_MEMORY: Final = {"MALLOC_ARENA_MAX": "2"}  # an arena for each thread would reserve 64 MB of the worker's limit


class Died(Lost):
    """The worker ended without saying why, was silent or spoke nonsense: it is a fault of its own, told as such."""


class Process:
    """A running worker. What it is to look at goes over the socket: no password stands in its arguments."""

    def __init__(self, process: subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._process, self._reader, self._writer = process, reader, writer
        self._spoke = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @classmethod
    async def start(cls, name: str, start: Start) -> Self:
        """Start a worker. `name` is for people who look at the list of processes. Raises Lost."""
        ours, theirs = socket.socketpair()
        try:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            ours.setblocking(False)  # noqa: FBT003
            ours.send(camera_wire.encode(start))  # into the socket's own buffer: there is nobody to wait for
            process = await asyncio.create_subprocess_exec(
                *COMMAND,
                name,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={key: os.environ[key] for key in _KEPT if key in os.environ} | _MEMORY,
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise Lost(f"the worker does not start: {error.strerror}") from None
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        try:
            reader, writer = await asyncio.open_connection(sock=ours, limit=_BUFFER)
        except BaseException:
            ours.close()
            await _end(process)
            raise
        return cls(process, reader, writer)

    async def next(self) -> Message:
        """Its next message. Raises Died. While nobody asks, the worker is held back by its full socket."""
        try:
            async with asyncio.timeout(SILENCE_S if self._spoke else START_S):
                head = await self._reader.readexactly(4)
                body = await self._reader.readexactly(camera_wire.size(head))
                message = camera_wire.decode(body)
        except TimeoutError:
            raise Died("the worker is silent") from None
        except BadFrame as error:
            raise Died(f"the worker sent {error}") from None
        except (OSError, EOFError):
            raise Died(f"the worker ended: {await self._how()}") from None
        self._spoke = True
        return message

    async def close(self) -> bool:
        """Kill it. Nothing is left behind; False where the kernel holds it."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        return await _end(self._process)

    def gone(self) -> bool:
        """Whether the process has ended."""
        return self._process.returncode is not None

    async def _how(self) -> str:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KILL_S):
                code = await self._process.wait()
                return signal.Signals(-code).name if -code in set(signal.Signals) else f"exit {code}"
        return "its socket is closed"


async def _end(process: subprocess.Process) -> bool:
    """SIGKILL, and wait: also when this is cancelled meanwhile, so that no process is forgotten."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    waiting = asyncio.ensure_future(process.wait())
    try:
        await asyncio.wait({waiting}, timeout=KILL_S)
    except asyncio.CancelledError:
        await asyncio.wait({waiting}, timeout=KILL_S)
        raise
    finally:
        waiting.cancel()
    return process.returncode is not None
