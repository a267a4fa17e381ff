"""A frame -> the QR codes on it. Why a second look: docs/decisions/012, with the figures of `lintel bench camera`."""

import time
from collections.abc import Callable
from typing import Any, Final

import cv2
import numpy as np
import zxingcpp
from numpy.typing import NDArray

from lintel.edge.camera_wire import MAX_CODE, MAX_CODES

Grey = NDArray[np.uint8]
"""A picture of one byte each pixel, rows from the top."""

EFFORT: Final = 0.25
"""Share of the time that may go into second looks: on a large picture one of them costs tens of milliseconds."""
MAX_ENLARGED: Final = 2_100_000
"""Pixels of a picture that is still enlarged: full HD. Modules are small in small pictures."""

_QR: Final[Any] = zxingcpp.BarcodeFormat.QRCode  # its type differs between releases


def enlarged(picture: Grey) -> Grey:
    """Twice as wide and high: modules of 1.5 pixels, tilted codes and pale ones are found that else are not."""
    return np.asarray(cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), np.uint8)


def sharpened(picture: Grey) -> Grey:
    """Enlarged, and with its edges lifted: for codes out of focus or in motion. An unsharp mask of 4 pixels."""
    large = enlarged(picture)
    return np.asarray(cv2.addWeighted(large, 2.5, cv2.GaussianBlur(large, (0, 0), 4), -1.5, 0), np.uint8)


SECOND_LOOKS: Final[tuple[Callable[[Grey], Grey], ...]] = (enlarged, sharpened)


def read(picture: Grey) -> list[bytes]:
    """The bytes of each code, once, in reading order: from the top, then from the left. Long ones are cut."""
    found = zxingcpp.read_barcodes(picture, formats=_QR)
    placed = sorted((_place(code), bytes(code.bytes)[:MAX_CODE]) for code in found if code.bytes)
    return list(dict.fromkeys(data for _, data in placed))[:MAX_CODES]


class Reader:
    """Reads picture after picture. One without a code is looked at a second time, each time in the next way.

    A code is held before a camera for many pictures, so each of them need not be looked at in every way.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turn, self._rest = 0, 0.0

    def read(self, picture: Grey) -> list[bytes]:
        """As `read`."""
        began = self._clock()
        codes = read(picture)
        if codes or began < self._rest or picture.size > MAX_ENLARGED:
            return codes
        began = self._clock()
        codes = read(SECOND_LOOKS[self._turn](picture))
        self._turn = (self._turn + 1) % len(SECOND_LOOKS)
        now = self._clock()
        self._rest = now + (now - began) * (1 / EFFORT - 1)
        return codes


def _place(code: Any) -> tuple[int, int]:  # noqa: ANN401  zxing-cpp ships no types
    corner = code.position.top_left
    return int(corner.y), int(corner.x)
