"""What a camera's profile says, and what a code that it saw means. Pure: bytes in, frozen values out."""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field

from lintel.edge.model import Wiring
from lintel.edge.profiles.fields import STRICT
from lintel.edge.profiles.samples import Meaning
from lintel.edge.profiles.serial import Code, decode_text

KINDS: Final = {"rtsp": "rtsp:// or rtsps://", "usb": "/dev/video or /dev/v4l/", "file": "/"}
"""Kind of source -> how the address of such a line begins."""


@dataclass(frozen=True, slots=True)
class CameraSpec:
    """The `[camera]` table: what kind of source it is, and how it is looked at.

    `fps`: pictures looked at in a second. `window_ms`: a code seen again within it is the same presentation, however
    long it is held. `rate`, `burst`: presentations each second, and at once; more are dropped and counted.
    `width`, `height`: asked of a USB camera, 0 for its own. `open_s`, `read_s`: how long opening, and a picture, may
    take. `memory_mb`: address space that pictures may take in the worker process; it ends when they want more.
    """

    __pydantic_config__ = STRICT

    source: Literal["rtsp", "usb", "file"]
    fps: Annotated[float, Field(ge=1, le=60)] = 10.0
    window_ms: Annotated[int, Field(ge=200, le=60_000)] = 3000
    rate: Annotated[float, Field(ge=0.1, le=100)] = 5.0
    burst: Annotated[int, Field(ge=1, le=100)] = 10
    width: Annotated[int, Field(ge=0, le=7680)] = 0
    height: Annotated[int, Field(ge=0, le=4320)] = 0
    open_s: Annotated[float, Field(ge=0.5, le=30)] = 5.0
    read_s: Annotated[float, Field(ge=0.5, le=30)] = 5.0
    memory_mb: Annotated[int, Field(ge=64, le=8192)] = 384

    @property
    def orders(self) -> tuple[str, ...]:
        """What the gateway ever says: a camera only looks."""
        return ()

    @property
    def channels(self) -> int:
        """How many locks it can open: none."""
        return 0

    @property
    def contacts(self) -> frozenset[Wiring]:
        """Which contacts it can state."""
        return frozenset()


def understand(spec: CameraSpec, topic: str, data: bytes, piece: int) -> list[Meaning]:  # noqa: ARG001  as all kinds
    """What the gateway makes of a code with these bytes: `{"code": text}`, or `{"bad": why}`."""
    heard = decode_text(data)
    return [{"code": heard.text.decode("ascii")} if isinstance(heard, Code) else {"bad": heard.detail.split(":")[0]}]


def compose(spec: CameraSpec, order: Meaning) -> tuple[str, bytes]:  # noqa: ARG001  as all kinds
    """ValueError: a camera takes no order."""
    raise ValueError("a camera takes no order")
