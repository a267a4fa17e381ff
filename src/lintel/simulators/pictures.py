"""Reading a QR code from a picture, as the optics of a reader or terminal would."""

import base64
import binascii
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lintel.simulators.parts import SimulatorError

TINY_JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAP//////////////////////////////////////////////////////////////////////////////"
    "////////wAALCAABAAEBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAA//EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AN//Z"
)
"""A valid grey JPEG of one pixel: stands for every photo that a terminal takes."""


@dataclass(frozen=True, slots=True)
class Code:
    """What was read: the bytes of the symbol and its AIM identifier (`]Q1`)."""

    data: bytes
    aim: str = "]Q1"


def look(text: str | None = None, picture: str | None = None, png_base64: str | None = None) -> Code | None:
    """The code in front of the optics: given as text, or read from a picture file or base64 image. None: nothing found.

    Reading takes 3 to 24 ms and blocks: call it in a thread. Raises SimulatorError when the picture can not be opened.
    """
    given = [v for v in (text, picture, png_base64) if v is not None]
    if len(given) != 1:
        raise SimulatorError("give one of text, picture (a file), png_base64")
    if text is not None:
        return Code(text.encode()) if text else None
    try:
        import zxingcpp  # noqa: PLC0415  only pictures need it
        from PIL import Image  # noqa: PLC0415
    except ImportError:
        raise SimulatorError("reading pictures needs zxing-cpp and pillow: './lintel simulate' installs them") from None
    try:
        raw = Path(picture).read_bytes() if picture is not None else base64.b64decode(png_base64 or "", validate=True)
        image = Image.open(io.BytesIO(raw)).convert("L")
    except (OSError, binascii.Error) as error:
        raise SimulatorError(f"not a picture: {error}") from None
    wanted: Any = zxingcpp.BarcodeFormat.QRCode  # its type differs between releases
    found = zxingcpp.read_barcodes(image, formats=wanted)
    return Code(bytes(found[0].bytes), found[0].symbology_identifier) if found else None
