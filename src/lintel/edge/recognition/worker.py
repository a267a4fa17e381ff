"""The process that looks: `python -m lintel.edge.recognition.worker NAME`, its standard input a socket to its driver.

Three threads. One takes pictures, and hands the newest one over when it is asked for; one waits for the driver's end
of the socket to close, and ends the process; this one reads codes and says every second that it is alive, so that its
silence means that it hangs. It ends itself when the source is gone, and is killed and started anew by its driver.
"""

import contextlib
import os
import resource
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from lintel.edge.camera_wire import Alive, Failed, Message, Opened, Seen, Start, decode, encode, size
from lintel.edge.errors import BadFrame

if TYPE_CHECKING:
    from lintel.edge.recognition.codes import Grey

ALIVE_S: Final = 1.0
NICE: Final = 10
"""Behind everything that opens doors."""
MARGIN_S: Final = 2.0
"""How much longer than its own limit a source may take before it counts as hung."""
_LOG_BYTES: Final = 65536


class Newest:
    """A queue of one: the newest picture wins. What is not asked for is not even converted."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._picture: tuple[Grey, float] | None = None
        self._failed: Failed | None = None
        self._due = 0.0
        self.opened = False
        self.alive_at = time.monotonic()
        """When the source last gave something."""
        self.damaged = 0

    def wanted(self) -> bool:
        """Whether the reader of codes would take a picture now."""
        return self._picture is None and time.monotonic() >= self._due

    def put(self, picture: "tuple[Grey, float] | None", damaged: int) -> None:
        """The source gave a picture, or one that nobody wanted."""
        with self._change:
            self.alive_at, self.opened, self.damaged = time.monotonic(), True, damaged
            if picture is not None:
                self._picture = picture
            self._change.notify()

    def fail(self, failed: Failed) -> None:
        """The source is gone."""
        with self._change:
            self._failed = failed
            self._change.notify()

    def take(self, until: float, every: float) -> "tuple[Grey, float] | Failed | None":
        """The newest picture, or why there will be none; None at `until`. The next is wanted `every` seconds later."""
        with self._change:
            opened = self.opened
            while self._picture is None and self._failed is None and self.opened == opened:
                left = until - time.monotonic()
                if left <= 0:
                    return None
                self._change.wait(left)
            if self._picture is None:
                return self._failed  # None when the source has just opened: that is told at once
            picture, self._picture = self._picture, None
            self._due = time.monotonic() + every
            return picture


class Worker:
    """One source, looked at until it is gone."""

    def __init__(self, wire: socket.socket, start: Start) -> None:
        self._wire, self._start = wire, start
        self._newest = Newest()
        self._log = os.memfd_create("log", os.MFD_CLOEXEC)

    def run(self) -> NoReturn:
        """Look, and say what is seen; ends the process."""
        os.dup2(self._log, 2)  # FFmpeg's words tell a wrong password from a dead camera, and may name the address
        for target in (self._watch_driver, self._grab):
            threading.Thread(target=target, daemon=True).start()
        try:
            self._look()
        except OSError:  # the driver went away
            os._exit(0)
        os._exit(1)

    def _look(self) -> None:
        from lintel.edge.recognition.codes import Reader  # noqa: PLC0415  see main

        start, newest, reader = self._start, self._newest, Reader()
        told_open, damaged, alive_at = False, 0, time.monotonic() + ALIVE_S
        while True:
            got = newest.take(alive_at, 1 / start.fps)
            if newest.opened and not told_open:
                told_open = True
                self._say(Opened())
            if isinstance(got, Failed):
                self._say(got)
                return
            if got is not None:
                picture, at = got
                if codes := reader.read(picture):
                    self._say(Seen(at, codes))
            now = time.monotonic()
            if now < alive_at:
                continue
            alive_at = now + ALIVE_S
            self._say(Alive(newest.damaged - damaged))
            damaged = newest.damaged
            limit = (start.read_s if newest.opened else start.open_s) + MARGIN_S
            if now - newest.alive_at > limit:
                self._say(Failed(f"no picture for {limit:.0f} s"))
                return
            if os.fstat(2).st_size > _LOG_BYTES:
                os.ftruncate(2, 0)

    def _grab(self) -> None:
        """The thread that takes pictures; what it dies of is told by the one that looks."""
        from lintel.edge.recognition.sources import Gone, source  # noqa: PLC0415  see main

        newest = self._newest
        try:
            found = source(self._start, lambda: os.pread(self._log, _LOG_BYTES, 0))
            found.open()
            for picture in found.frames(newest.wanted):
                newest.put(picture, found.damaged)
        except Gone as gone:
            newest.fail(Failed(str(gone), gone.refused))
        except MemoryError:
            newest.fail(Failed("out of memory"))
        except Exception as error:  # noqa: BLE001  whatever OpenCV raises, its text may name the address
            newest.fail(Failed(type(error).__name__))

    def _watch_driver(self) -> None:
        """The driver says nothing after its first message: whatever can be read now is the end."""
        with contextlib.suppress(OSError):
            self._wire.recv(1)
        os._exit(0)

    def _say(self, message: Message) -> None:
        self._wire.sendall(encode(message))


def _step_back() -> None:
    """Take less than others of what is short: of the processor, and of memory when it runs out."""
    with contextlib.suppress(OSError):  # a unit may forbid it
        os.nice(NICE)
    with contextlib.suppress(OSError):  # this goes first and the gateway last
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _confine(memory_mb: int) -> None:
    """Bound what pictures may take beyond what the program itself has, before it reads a stranger's: for good.

    With the libraries loaded: OpenBLAS waits for ever where its first allocation fails.
    """
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    memory = pages * resource.getpagesize() + memory_mb * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold pictures and the password
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))


def main() -> None:
    """Take the first message from standard input, and look."""
    try:
        wire = socket.socket(fileno=0)
        with wire.dup().makefile("rb") as first:
            start = decode(first.read(size(first.read(4))))
    except (BadFrame, OSError):
        sys.exit("this is started by the driver of a camera")
    if not isinstance(start, Start):
        sys.exit("this is started by the driver of a camera")
    _step_back()
    from lintel.edge.recognition import codes, sources  # noqa: F401, PLC0415  what they load takes long, and memory

    sources.ready(start)
    _confine(start.memory_mb)
    Worker(wire, start).run()


if __name__ == "__main__":
    main()
