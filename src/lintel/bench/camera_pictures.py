"""QR codes as cameras at doors see them: blurred, tilted, glaring, pale, small. The same for the same seed."""

from collections.abc import Callable, Mapping
from typing import Final

import cv2
import numpy as np
import qrcode
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Rng = np.random.Generator

SIZE: Final = (480, 640)
"""Rows and columns of a picture."""
DARK, LIGHT = 30.0, 225.0
_FINE: Final = 12
"""Pixels of a module in the drawing, before it is laid into the picture."""


def draw(text: str, module: float, rng: Rng, *, tilt: float = 0.0, turn: float = 0.0) -> NDArray[np.float32]:
    """A code of `module` pixels each module somewhere on a wall; `tilt` and `turn` in degrees, at most that much.

    Tilt is a turn in space about an axis in the picture's plane, seen from four widths of the code away.
    """
    code = qrcode.QRCode(error_correction=qrcode.constants.ERROR_CORRECT_M, border=4, box_size=1)
    code.add_data(text)
    dark = np.array(code.get_matrix(), np.float32)
    fine = np.kron(LIGHT - (LIGHT - DARK) * dark, np.ones((_FINE, _FINE), np.float32))
    side = len(dark) * module
    angle, lean, axis = np.deg2rad(
        [rng.uniform(-turn, turn) if turn else rng.uniform(-4, 4), tilt, rng.uniform(0, 360)]
    )
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float64) / 2
    corners = corners @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    along = corners @ np.array([np.cos(axis), np.sin(axis)])
    across = corners @ np.array([-np.sin(axis), np.cos(axis)])
    depth = 4.0 / (4.0 + along * np.sin(lean))
    along, across = along * np.cos(lean) * depth, across * depth
    placed = np.stack(
        [along * np.cos(axis) - across * np.sin(axis), along * np.sin(axis) + across * np.cos(axis)], axis=1
    )
    rows, columns = SIZE
    centre = np.array([columns / 2, rows / 2]) + rng.uniform(-10, 10, 2)
    edge = len(fine)
    source = np.array([[0, 0], [edge, 0], [edge, edge], [0, edge]], np.float32)
    # Drawn four times as large and averaged, as the area of a sensor's pixel does.
    warp = cv2.getPerspectiveTransform(source, ((placed * side + centre) * 4).astype(np.float32))
    wall = cv2.GaussianBlur(rng.normal(130, 40, (rows // 8, columns // 8)).astype(np.float32), (0, 0), 2)
    wall = cv2.resize(wall, (columns * 4, rows * 4), interpolation=cv2.INTER_CUBIC)
    large = cv2.warpPerspective(
        fine, warp, (columns * 4, rows * 4), dst=wall, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_TRANSPARENT
    )
    return np.asarray(cv2.resize(large, (columns, rows), interpolation=cv2.INTER_AREA), np.float32)


def _plain(text: str, module: float, rng: Rng) -> NDArray[np.float32]:
    return draw(text, module, rng)


def _tilt(degrees: float) -> Callable[[str, float, Rng], NDArray[np.float32]]:
    return lambda text, module, rng: draw(text, module, rng, tilt=degrees, turn=20)


def _turned(text: str, module: float, rng: Rng) -> NDArray[np.float32]:
    return draw(text, module, rng, turn=180)


def _blur(modules: float) -> Callable[[str, float, Rng], NDArray[np.float32]]:
    """Out of focus: a Gaussian of so many modules."""

    def made(text: str, module: float, rng: Rng) -> NDArray[np.float32]:
        return np.asarray(cv2.GaussianBlur(draw(text, module, rng), (0, 0), modules * module), np.float32)

    return made


def _motion(text: str, module: float, rng: Rng) -> NDArray[np.float32]:
    """Moved by one module while it was taken."""
    length = max(2, round(module))
    kernel = np.zeros((length, length), np.float32)
    ends = rng.uniform(0, np.pi)
    middle, reach = (length - 1) / 2, np.array([np.cos(ends), np.sin(ends)]) * (length - 1) / 2
    first, last = np.round(middle - reach).astype(int), np.round(middle + reach).astype(int)
    cv2.line(kernel, first.tolist(), last.tolist(), 1.0)
    return np.asarray(cv2.filter2D(draw(text, module, rng), -1, kernel / kernel.sum()), np.float32)


def _glare(text: str, module: float, rng: Rng) -> NDArray[np.float32]:
    """A lamp mirrored by the screen: a bright spot a third of the code wide, white at its middle."""
    picture = draw(text, module, rng)
    rows, columns = SIZE
    reach = 30 * module / 3
    y, x = rng.uniform(-reach, reach, 2) + np.array([rows / 2, columns / 2])
    grid = np.mgrid[0:rows, 0:columns].astype(np.float32)
    spot = np.exp(-((grid[0] - y) ** 2 + (grid[1] - x) ** 2) / (2 * (reach / 2) ** 2))
    return np.asarray(picture + 260 * spot, np.float32)


def _pale(text: str, module: float, rng: Rng) -> NDArray[np.float32]:
    """Low contrast, 40 grey levels of 255, and half of the picture in shade."""
    picture = 120 + (draw(text, module, rng) - 128) * (40 / (LIGHT - DARK))
    shade = np.where(np.arange(SIZE[1]) < SIZE[1] * rng.uniform(0.4, 0.6), 1.0, 0.6)
    return np.asarray(picture * shade[None, :], np.float32)


def _dark_mode(text: str, module: float, rng: Rng) -> NDArray[np.float32]:
    """Light modules on dark, as a phone in dark mode may show."""
    return np.asarray(255 - draw(text, module, rng), np.float32)


def _all(text: str, module: float, rng: Rng) -> NDArray[np.float32]:
    """Tilted by 25 degrees, a little blurred, and at half contrast."""
    picture = draw(text, module, rng, tilt=25, turn=20)
    return np.asarray(128 + (cv2.GaussianBlur(picture, (0, 0), 0.35 * module) - 128) * 0.5, np.float32)


DISTORTIONS: Final[Mapping[str, Callable[[str, float, Rng], NDArray[np.float32]]]] = {
    "none": _plain,
    "turned": _turned,
    "tilt_30": _tilt(30),
    "tilt_50": _tilt(50),
    "blur_0.4": _blur(0.4),
    "blur_0.5": _blur(0.5),
    "blur_0.6": _blur(0.6),
    "motion": _motion,
    "glare": _glare,
    "pale": _pale,
    "dark_mode": _dark_mode,
    "all": _all,
}
"""Name -> how such a picture is made."""

MODULES: Final = (1.5, 2.0, 3.0, 4.0, 6.0)
"""Pixels of a module: 2 is a code 4 cm wide, 2.5 m before a camera of 1280 pixels and 60 degrees."""


def picture(distortion: str, module: float, text: str, seed: int) -> Picture:
    """One picture, with the noise of a sensor (4 grey levels)."""
    rng = np.random.default_rng([seed, round(module * 10), *distortion.encode()])
    made = DISTORTIONS[distortion](text, module, rng)
    return np.clip(made + rng.normal(0, 4, SIZE), 0, 255).astype(np.uint8)
