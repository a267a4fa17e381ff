"""A camera in software: a folder that pictures come into, or the simulated IP camera; both before the real worker."""

import asyncio
import io
import itertools
import os
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

from lintel.edge.drivers import camera
from lintel.edge.drivers.base import Device, Line
from lintel.edge.model import Direction, Method
from lintel.edge.profiles import builtin
from lintel.simulators.rtsp_camera import Camera, Options, draw
from tests.edge.drivers.contract import context


def spec(kind, **changes):
    """A built-in profile with another spec."""
    profile = builtin()[f"camera-{kind}"]
    return replace(profile, spec=replace(profile.spec, **changes))


def build(kind, source, *, username="", password="", name="gate-cam", **changes):
    """A driver as the daemon builds it."""
    options = {"source": str(source)} | ({"username": username} if username else {})
    device = Device("cam", "", "gate", Direction.IN, spec(kind, **changes))
    return camera.build(Line(name, "camera", options), [device], replace(context(), passwords={name: password}))


def png(*texts, module=5, size=None):
    """A picture of codes."""
    width, height = size or (300 * len(texts), 300)
    out = io.BytesIO()
    draw(list(texts), width, height, module).save(out, "PNG", compress_level=1)
    return out.getvalue()


class FolderCamera:
    """A camera that uploads pictures into a folder."""

    device, door, method, order = "cam", "gate", Method.QR, None

    def __init__(self, folder):
        self.folder = folder
        self._numbers = itertools.count()
        self._many = []

    def build(self):
        return build("file", self.folder, fps=60, rate=100, burst=100)

    def frame(self, text):
        return png(text)

    def _name(self):
        return self.folder / f"{next(self._numbers):06}.png"

    async def write(self, data):
        path = self._name()
        hidden = path.with_name(f".{path.name}")
        hidden.write_bytes(data)
        hidden.rename(path)
        await asyncio.sleep(0)

    async def trickle(self, data):
        with self._name().open("wb", buffering=0) as file:
            for at in range(0, len(data), 200):
                file.write(data[at : at + 200])
                await asyncio.sleep(0.002)

    async def flood(self, seconds):
        self._many = self._many or [png(f"FLOOD{n}", module=3, size=(120, 120)) for n in range(60)]
        end, count = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            await self.write(self._many[count % 60])
            count += 1
            await asyncio.sleep(0.01)
        return count

    async def ordered(self):
        return 0

    async def unplug(self):
        for path in self.folder.iterdir():
            path.unlink()
        self.folder.rmdir()

    async def plug(self):
        self.folder.mkdir()


@asynccontextmanager
async def ip_camera(**options):
    """The simulated IP camera, listening."""
    cam = Camera(Options(listen="127.0.0.1:0", **options), lambda *_, **__: None)
    await cam.do_plug()
    try:
        yield cam
    finally:
        await cam.power_off()


def address(cam):
    return f"rtsp://127.0.0.1:{cam.port}/live"


def workers():
    """Process ids of this test's workers."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(path.read_text().rpartition(") ")[2].split()[1])
            if parent == os.getpid() and "gate-cam" in (path.parent / "cmdline").read_text().split("\0"):
                found.append(int(path.parent.name))
    return found


def shown(pid):
    """What anybody on the box can read of a process, and what its user can."""
    return b"".join(read(pid, name) for name in ("cmdline", "environ", "stat", "comm"))


def read(pid, name):
    return Path(f"/proc/{pid}/{name}").read_bytes()
