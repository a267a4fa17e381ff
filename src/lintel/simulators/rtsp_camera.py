"""An IP camera: an RTSP stream of JPEG pictures (RFC 2435) that shows a blank wall, or a QR code held before it."""

import asyncio
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lintel.simulators.parts import JsonMap, Part, PartOptions, SimulatorError, opt
from lintel.simulators.rtp_jpeg import Picture, parse
from lintel.simulators.rtsp_server import RtspServer


@dataclass(frozen=True, slots=True)
class Options(PartOptions):
    """Options of a camera."""

    id: str = opt("camera", "name of the camera in events")
    listen: str = opt("127.0.0.1:8554", "host:port that it listens on; port 0 chooses one")
    path: str = opt("/live", "path of its stream")
    username: str = opt("", "login, '' for none")
    password: str = opt("", "password of the login")
    fps: float = opt(10.0, "pictures in a second")
    width: int = opt(640, "width of a picture, a multiple of 8")
    height: int = opt(480, "height of a picture, a multiple of 8")
    module: int = opt(6, "pixels of one module of a code")
    seconds: float = opt(1.5, "how long a code is held before it")


class Camera(Part):
    """An IP camera. A typed line is a QR text that somebody holds before it."""

    kind: ClassVar[str] = "rtsp-camera"
    options_class: ClassVar[type[PartOptions]] = Options

    def __init__(self, options: Options, emit: Any) -> None:  # noqa: ANN401  see Part
        super().__init__(options, emit)
        self._options = options
        self._wall = encode(draw([], options.width, options.height, options.module))
        self._shown: Picture | None = self._wall
        self._frozen = False
        self._back: asyncio.TimerHandle | None = None
        self.server = RtspServer(
            lambda: None if self._frozen else self._shown, options.path, options.fps, options.username, options.password
        )
        self.port = 0

    async def run(self) -> None:
        """Serve until cancelled."""
        await self.do_plug()
        await asyncio.Event().wait()

    async def power_off(self) -> None:
        """The plug is pulled."""
        if self._back is not None:
            self._back.cancel()
        await self.server.stop()

    async def typed(self, line: str) -> JsonMap:
        """A QR text."""
        return await self.do_show(text=line)

    async def do_plug(self) -> JsonMap:
        """Listen."""
        host, _, port = self._options.listen.rpartition(":")
        self.port = await self.server.start(host, self.port or int(port))
        self.emit("listening", url=f"rtsp://{host}:{self.port}{self._options.path}")
        return {}

    async def do_unplug(self) -> JsonMap:
        """Close the port and all connections."""
        await self.server.stop()
        return {}

    async def do_show(
        self, text: str | list[str] | None = None, picture: str | None = None, seconds: float | None = None
    ) -> JsonMap:
        """Hold one or more codes, or a picture file, before the camera."""
        o = self._options
        if picture is not None:
            data = await asyncio.to_thread(Path(picture).read_bytes)
            self.show(encode(open_picture(data, o.width, o.height)), seconds)
        else:
            texts = [text] if isinstance(text, str) else text or []
            self.show(encode(draw(texts, o.width, o.height, o.module)), seconds)
        return {}

    async def do_freeze(self, on: bool = True) -> JsonMap:  # noqa: FBT001, FBT002  a command's argument
        """Send nothing more, and keep the connection; {"on": false} thaws."""
        self._frozen = on
        return {}

    async def do_deaf(self, on: bool = True) -> JsonMap:  # noqa: FBT001, FBT002  a command's argument
        """Answer no request any more."""
        self.server.deaf = on
        return {}

    def show(self, picture: Picture, seconds: float | None = None) -> None:
        """Show a picture for so long, then the wall again."""
        self._shown = picture
        if self._back is not None:
            self._back.cancel()
        loop = asyncio.get_running_loop()
        self._back = loop.call_later(self._options.seconds if seconds is None else seconds, self._blank)

    def _blank(self) -> None:
        self._shown, self._back = self._wall, None


def draw(texts: list[str], width: int, height: int, module: int) -> Any:  # noqa: ANN401  pillow, loaded late
    """A picture (pillow) of codes beside each other on a grey wall, `module` pixels each module."""
    import qrcode  # noqa: PLC0415  only cameras draw

    Image, _ = _pillow()  # noqa: N806  modules
    wall = Image.new("RGB", (width, height), (140, 140, 140))
    for number, text in enumerate(texts):
        code = qrcode.QRCode(error_correction=qrcode.constants.ERROR_CORRECT_M, border=4, box_size=1)
        code.add_data(text)
        rows = code.get_matrix()
        side = len(rows) * module
        if side * len(texts) > width or side > height:
            raise SimulatorError(f"the code is larger than the picture: {side} pixels; use a smaller 'module'")
        drawn = Image.new("L", (len(rows), len(rows)))
        drawn.putdata([0 if dark else 255 for row in rows for dark in row])
        left = width * (2 * number + 1) // (2 * len(texts)) - side // 2
        wall.paste(drawn.resize((side, side), Image.Resampling.NEAREST), (left, (height - side) // 2))
    return wall


def open_picture(data: bytes, width: int, height: int) -> Any:  # noqa: ANN401  pillow, loaded late
    """A picture file fitted into the camera's view."""
    Image, ImageOps = _pillow()  # noqa: N806  modules
    try:
        found = Image.open(io.BytesIO(data)).convert("RGB")
    except OSError as error:
        raise SimulatorError(f"not a picture: {error}") from None
    return ImageOps.pad(found, (width, height), color=(140, 140, 140))


def encode(image: Any, quality: int = 85) -> Picture:  # noqa: ANN401  pillow, loaded late
    """A picture as the camera sends it."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, subsampling="4:2:0")
    return parse(out.getvalue())


def _pillow() -> tuple[Any, Any]:
    try:
        from PIL import Image, ImageOps  # noqa: PLC0415  only cameras draw
    except ImportError:
        raise SimulatorError("a camera needs pillow: './lintel simulate' installs it") from None
    return Image, ImageOps
