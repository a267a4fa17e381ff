"""QR codes of passes: drawn for a terminal, as PNG and as SVG, and read from a picture."""

from pathlib import Path

from qrcode.constants import ERROR_CORRECT_M
from qrcode.image.pure import PyPNGImage
from qrcode.image.svg import SvgPathImage
from qrcode.main import QRCode
from qrcode.util import MODE_ALPHA_NUM, QRData

from lintel.edge.errors import LintelError
from lintel.edge.text import tr

QUIET = 4
"""Light modules around the code; readers need them."""
PIXELS = 10
"""Pixels of a PNG per module; a reader needs at least 4."""


def code(token: str) -> QRCode:
    """The smallest code of level M in alphanumeric mode: version 5 for a static pass, 2 for a rotating one."""
    qr: QRCode = QRCode(error_correction=ERROR_CORRECT_M, border=QUIET, box_size=PIXELS)
    qr.add_data(QRData(token, mode=MODE_ALPHA_NUM), optimize=0)
    qr.make(fit=True)
    return qr


def save_png(token: str, file: Path) -> None:
    """Write a PNG of ten pixels per module. Raises OSError."""
    with file.open("wb") as out:
        code(token).make_image(image_factory=PyPNGImage).save(out)


def save_svg(token: str, file: Path) -> None:
    """Write an SVG of one millimetre per module. Raises OSError."""
    with file.open("wb") as out:
        code(token).make_image(image_factory=SvgPathImage).save(out)


def render(token: str, *, colour: bool) -> str:
    """Two modules per character. `colour` forces black on white, since terminals are mostly dark."""
    matrix = code(token).get_matrix()
    rows = [*matrix, [False] * len(matrix)] if len(matrix) % 2 else matrix
    lines = [
        "".join(" ▀▄█"[upper + 2 * lower] for upper, lower in zip(rows[n], rows[n + 1], strict=True))
        for n in range(0, len(rows), 2)
    ]
    return "\n".join(f"\x1b[38;5;16;48;5;231m{line}\x1b[0m" if colour else line for line in lines)


def tokens_in(picture: Path) -> list[str]:
    """The texts of all QR codes in a picture. Raises LintelError where the reader is not installed, or no picture."""
    try:
        import zxingcpp  # noqa: PLC0415  only this command needs them
        from PIL import Image, UnidentifiedImageError  # noqa: PLC0415
    except ImportError as error:
        raise LintelError(
            tr(
                "reading a picture needs zxing-cpp and pillow: './lintel pass verify PICTURE' in a clone installs them",
                "读取图片需要 zxing-cpp 和 pillow:在克隆中运行 ./lintel pass verify 图片 会自动安装",
            )
        ) from error
    try:
        with Image.open(picture) as image:
            return [found.text for found in zxingcpp.read_barcodes(image.convert("L"))]
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise LintelError(tr(f"{picture}: not a picture", f"{picture}：不是图片")) from error
