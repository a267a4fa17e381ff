"""A QR reader on a pty, for the tests of the serial driver."""

import asyncio
import os
import time
import tty
from pathlib import Path

from lintel.edge.drivers.base import Device, Line
from lintel.edge.drivers.serial_qr import build
from lintel.edge.model import Action, Direction, Method, Order
from lintel.edge.profiles import builtin
from tests.edge.drivers.contract import Recorder, context, running


class PtyReader:
    """A reader on a pty with a stable link, as udev would make it."""

    method = Method.QR
    device, door = "reader-1", "door-1"

    def __init__(self, profile: str, link: Path) -> None:
        self.profile = builtin()[profile]
        self.link = link
        self.master = -1
        self.said = b""
        beep = self.profile.spec.find("beep")
        self.beep = beep.send if beep else b""
        self.order = Order("o", self.door, self.device, Action.BEEP, 0.0) if beep else None

    def build(self, **options):
        device = Device(self.device, "", self.door, Direction.IN, self.profile)
        line = Line("gate", "serial_qr", {"path": str(self.link), **options})
        return build(line, [device], context())

    def frame(self, text: str) -> bytes:
        if self.profile.name == "zebra-ssi":
            body = bytes([5 + len(text), 0xF3, 0, 0, 0xF1]) + text.encode()
            return body + (0x10000 - sum(body)).to_bytes(2, "big")
        end = self.profile.spec.framing.ends[:1] if self.profile.spec.framing.kind == "delimited" else b""
        return self.profile.spec.strip.prefix + text.encode() + end

    async def write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self.master, data) :]
            except BlockingIOError:
                await asyncio.sleep(0.001)

    async def trickle(self, data: bytes) -> None:
        for n in range(len(data)):
            await self.write(data[n : n + 1])
            await asyncio.sleep(0.001)

    async def flood(self, seconds: float) -> int:
        end, sent, rest = time.monotonic() + seconds, 0, b""
        while time.monotonic() < end:
            if not rest:
                rest = b"".join(self.frame(f"FLOOD{sent + n}-{end}") for n in range(20))
                sent += 20
            try:
                rest = rest[os.write(self.master, rest) :]
            except BlockingIOError:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0)
        return sent

    def _read(self) -> None:
        try:
            data = os.read(self.master, 4096)
        except OSError:  # nobody has the other end open
            asyncio.get_running_loop().remove_reader(self.master)
            asyncio.get_running_loop().call_later(0.01, self._watch)
            return
        self.said += data
        if self.profile.name == "zebra-ssi" and data[1:2] in (b"\xc6", b"\xe9", b"\xe6"):
            os.write(self.master, bytes.fromhex("04D00000FF2C"))

    def _watch(self) -> None:
        if self.master >= 0:
            asyncio.get_running_loop().add_reader(self.master, self._read)

    async def ordered(self) -> int:
        await asyncio.sleep(0.05)
        return self.said.count(self.beep)

    async def unplug(self) -> None:
        if self.master >= 0:
            asyncio.get_running_loop().remove_reader(self.master)
            os.close(self.master)
            self.master = -1
            self.link.unlink(missing_ok=True)

    async def plug(self) -> None:
        self.master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(self.master, False)
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(os.ttyname(slave))
        os.close(slave)
        self._watch()


def on_reader(profile: str, tmp_path: Path, scene, **options) -> None:
    """One scene with a running driver on a reader with this profile."""

    async def stage() -> None:
        rig, inlet = PtyReader(profile, tmp_path / "reader"), Recorder()
        await rig.plug()
        try:
            driver = rig.build(**options)
            async with running(driver, inlet):
                await scene(rig, driver, inlet)
        finally:
            await rig.unplug()

    asyncio.run(stage())
