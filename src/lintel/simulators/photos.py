"""Photos of persons: what a terminal checks before it enrols a face. Real JPEGs, real downloads."""

import base64
import binascii
import socket
import ssl
import urllib.error
import urllib.request
from enum import StrEnum

MAX_PHOTO = 1_000_000
_MAX_SIDES = (1920, 1080)


class PhotoFault(StrEnum):
    """Why a photo is not taken. The dialects have their own numbers for these."""

    MISSING = "missing"
    NOT_BASE64 = "not_base64"
    HOST = "host"
    DOWNLOAD = "download"
    EMPTY = "empty"
    TOO_BIG = "too_big"
    NO_FACE = "no_face"


def _size(jpeg: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG, from its frame header; None when it has none."""
    at = 2
    while at + 9 <= len(jpeg) and jpeg[at] == 0xFF:
        marker, length = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(jpeg[at + 7 : at + 9], "big"), int.from_bytes(jpeg[at + 5 : at + 7], "big")
        at += 2 + length
    return None


def check(photo: bytes) -> PhotoFault | None:
    """What is wrong with a photo. A terminal of ours can not see, so any JPEG counts as a face."""
    if not photo:
        return PhotoFault.EMPTY
    if len(photo) > MAX_PHOTO:
        return PhotoFault.TOO_BIG
    size = _size(photo) if photo.startswith(b"\xff\xd8") else None
    if size is None:
        return PhotoFault.NO_FACE
    return PhotoFault.TOO_BIG if max(size) > _MAX_SIDES[0] or min(size) > _MAX_SIDES[1] else None


def from_inline(text: str) -> bytes | PhotoFault:
    """The photo in `data:image/jpeg;base64,...` (or bare base64)."""
    try:
        photo = base64.b64decode(text.partition("base64,")[2] or text, validate=True)
    except binascii.Error:
        return PhotoFault.NOT_BASE64
    return check(photo) or photo


def download(url: str, timeout: float) -> bytes | PhotoFault:
    """Fetch a photo as the device does: http or https, certificates not checked. Blocks: call it in a thread."""
    if not url.startswith(("http://", "https://")):
        return PhotoFault.HOST
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # as these devices do; the gateway must not rely on the terminal's checks
    try:
        with urllib.request.urlopen(url, timeout=timeout, context=context) as answer:  # noqa: S310  http(s) only
            photo: bytes = answer.read(MAX_PHOTO + 1)
    except urllib.error.HTTPError as error:
        error.close()
        return PhotoFault.DOWNLOAD
    except urllib.error.URLError as error:
        return PhotoFault.HOST if isinstance(error.reason, socket.gaierror) else PhotoFault.DOWNLOAD
    except (OSError, ValueError):
        return PhotoFault.DOWNLOAD
    return check(photo) or photo
