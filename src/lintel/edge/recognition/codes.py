"""A frame -> the QR codes on it."""

from typing import Any, Final

import numpy as np
import zxingcpp
from numpy.typing import NDArray

from lintel.edge.camera_wire import MAX_CODE, MAX_CODES

Grey = NDArray[np.uint8]
"""A picture of one byte each pixel, rows from the top."""

_QR: Final[Any] = zxingcpp.BarcodeFormat.QRCode  # its type differs between releases


def read(picture: Grey) -> list[bytes]:
    """The bytes of each code, once, in reading order: from the top, then from the left. Long ones are cut."""
    found = zxingcpp.read_barcodes(picture, formats=_QR)
    placed = sorted((_place(code), bytes(code.bytes)[:MAX_CODE]) for code in found if code.bytes)
    return list(dict.fromkeys(data for _, data in placed))[:MAX_CODES]


def _place(code: Any) -> tuple[int, int]:  # noqa: ANN401  zxing-cpp ships no types
    corner = code.position.top_left
    return int(corner.y), int(corner.x)
