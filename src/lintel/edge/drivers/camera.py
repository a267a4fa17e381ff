"""Cameras that read QR codes. OpenCV and zxing-cpp work in a process of their own (`lintel.edge.recognition`).

Options of the line: `source` (rtsp://..., /dev/videoN, or a file or folder), `username` and `password` of an RTSP
camera. A hung camera, a picture that crashes the decoder or eats memory costs that process and nothing else: it is
killed, the line is Lost, and the supervisor starts it anew. No picture leaves it; what it says is believed as little
as what stands on the codes.
"""

import asyncio
import hashlib
import importlib.util
import re
from collections.abc import Sequence
from typing import Final

from lintel.edge.camera_wire import Alive, Failed, Opened, Seen, Start
from lintel.edge.drivers.base import Code, Context, Device, Driver, Inlet, Line, Receipt, qr_code
from lintel.edge.drivers.camera_codes import Presentations
from lintel.edge.drivers.camera_process import Died, Process
from lintel.edge.errors import ConfigError, Lost, Mistake, Refused
from lintel.edge.model import Fact, Method, Notice, Order, Outcome, Reading, Reason
from lintel.edge.profiles.camera import KINDS, CameraSpec
from lintel.edge.profiles.serial import Bad, decode_text

FOLD_S: Final = 10.0
"""At most one notice of each kind in this time."""
_NEEDS: Final = ("numpy", "cv2", "zxingcpp")
_OPTIONS: Final = ("source", "username")
_LOGIN: Final = re.compile(r"[a-z]+://[^/]*@")


def build(line: Line, devices: Sequence[Device], ctx: Context) -> Driver:
    """The driver of one camera. Raises ConfigError when an option or the profile does not fit."""
    where = f"line.{line.id}"
    mistakes = [
        Mistake(f"{where}.{key}", "expected no such key: 'source', 'username' and 'password' are the options of camera")
        for key in line.options
        if key not in _OPTIONS
    ]
    if len(devices) != 1:
        mistakes.append(Mistake(where, f"expected exactly one device on a camera's line, not {len(devices)}"))
    mistakes += [
        Mistake(f"device.{device.id}.profile", "expected a profile with driver 'camera'")
        for device in devices
        if not isinstance(device.profile.spec, CameraSpec)
    ]
    source = str(line.options.get("source", ""))
    spec = devices[0].profile.spec if devices else None
    if isinstance(spec, CameraSpec):
        mistakes += _source(where, source, spec)
    missing = [name for name in _NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        how = "pip install 'lintel[camera]', or from a clone LINTEL_LEVEL=lines ./lintel"
        mistakes.append(Mistake(where, f"expected {', '.join(missing)} to be installed: {how}"))
    if mistakes or not isinstance(spec, CameraSpec):
        raise ConfigError(f"line {line.id}", mistakes)
    start = Start(
        spec.source, source, str(line.options.get("username", "")), ctx.passwords.get(line.id, ""),
        spec.fps, spec.open_s, spec.read_s, spec.width, spec.height, spec.memory_mb,
    )  # fmt: skip
    return Camera(line.id, start, devices[0], spec, ctx)


def _source(where: str, source: str, spec: CameraSpec) -> list[Mistake]:
    begins = KINDS[spec.source]
    if not source.startswith(tuple(begins.split(" or "))):
        return [Mistake(f"{where}.source", f"expected an address that begins with {begins}, as its profile says")]
    if _LOGIN.match(source):
        return [
            Mistake(
                f"{where}.source", "expected no login in the address: it has keys of its own, 'username' and 'password'"
            )
        ]
    return []


class Camera:
    """One camera; see `Driver`."""

    def __init__(self, name: str, start: Start, device: Device, spec: CameraSpec, ctx: Context) -> None:
        self._name, self._start, self._device, self._ctx = name, start, device, ctx
        self._presentations = Presentations(spec.window_ms / 1000, spec.rate, spec.burst)
        self._held: Process | None = None
        self._counts = dict.fromkeys((Notice.FRAME_ERROR, Notice.FLOOD, Notice.HELPER_KILLED), 0)
        self._told = dict.fromkeys(self._counts, float("-inf"))

    async def run(self, inlet: Inlet) -> None:
        """Start a worker and hand over what it sees until it or the camera is gone: then raise Lost or Refused."""
        if self._held is not None and not self._held.gone():
            raise Lost("the last worker hangs in the kernel: unplug the camera")
        self._held = None
        process = await Process.start(self._name, self._start)
        try:
            while True:
                await self._take(await process.next(), inlet)
        except Died as died:
            self._count(inlet, Notice.HELPER_KILLED, 1, str(died))
            raise
        finally:
            if not await process.close():
                self._held = process

    async def execute(self, order: Order) -> Outcome:  # noqa: ARG002  see Driver
        """A camera only looks."""
        return Outcome.REFUSED_BY_DEVICE

    async def _take(self, message: object, inlet: Inlet) -> None:
        match message:
            case Opened():
                inlet.up()
            case Seen(at, codes):
                for data in codes:
                    await self._seen(data, at, inlet)
                    await asyncio.sleep(0)  # a flood of one camera leaves the loop to others
            case Alive(damaged):
                self._count(inlet, Notice.FRAME_ERROR, damaged)
            case Failed(why, refused):
                raise Refused(why) if refused else Lost(why)
            case _:
                raise Died("the worker sent what only its driver says")

    async def _seen(self, data: bytes, at: float, inlet: Inlet) -> None:
        code = self._code(data)
        now = self._ctx.clock.now()
        taken = min(at, now.mono)
        key = code.digest or hashlib.blake2b(data, digest_size=16).digest()
        before = self._presentations.dropped
        if self._presentations.new(key, taken):
            reading = Reading(
                id=self._ctx.new_id(),
                door=self._device.door,
                device=self._device.id,
                method=code.method,
                digest=code.digest,
                at=now.wall,
                age=now.mono - taken,
                mono=now.mono,
                direction=self._device.direction,
                token=code.token,
                fault=code.fault,
                detail=code.detail,
            )
            receipt = inlet.offer(reading) or await inlet.present(reading)
            receipt.add_done_callback(_forget)
        self._count(inlet, Notice.FLOOD, self._presentations.dropped - before)

    def _code(self, data: bytes) -> Code:
        heard = decode_text(data)
        if isinstance(heard, Bad):
            return Code(Method.QR, b"", fault=Reason.BAD_FORMAT, detail=heard.detail)
        return qr_code(self._ctx.digest, heard.text.decode("ascii"))

    def _count(self, inlet: Inlet, notice: Notice, more: int, detail: str = "") -> None:
        """Say how often something happened, at most once in `FOLD_S`, also across restarts."""
        self._counts[notice] += more
        now = self._ctx.clock.now().mono
        if self._counts[notice] and now - self._told[notice] >= FOLD_S:
            inlet.report(Fact(notice, self._device.id, detail, self._counts[notice]))
            self._counts[notice], self._told[notice] = 0, now


def _forget(receipt: Receipt) -> None:
    """A camera has no redelivery, so a failed receipt changes nothing here; asking keeps asyncio from complaining."""
    if not receipt.cancelled():
        receipt.exception()
