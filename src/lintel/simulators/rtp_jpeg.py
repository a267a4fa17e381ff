"""JPEG pictures as RTP packets (RFC 2435), as many IP cameras send their second stream. Sans-IO."""

import struct
from dataclasses import dataclass
from typing import Final

from lintel.simulators.parts import SimulatorError

CLOCK: Final = 90_000
"""Ticks of an RTP timestamp in a second, for video."""
PAYLOAD_TYPE: Final = 26
_PIECE: Final = 1400
_SUBSAMPLINGS: Final = {0x21: 0, 0x22: 1}
"""Sampling factors of the luminance in the frame header -> RFC 2435 type: 4:2:2 and 4:2:0, section 3.1.3."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What of a baseline JPEG goes on the wire: its type, its size, its two quantization tables, its scan."""

    kind: int
    width: int
    height: int
    tables: bytes
    scan: bytes


def parse(jpeg: bytes) -> Picture:
    """Take a baseline JPEG (3 components, the usual Huffman tables) apart. Raises SimulatorError for any other."""
    tables: dict[int, bytes] = {}
    kind = width = height = -1
    at = 2
    try:
        while jpeg[:2] == b"\xff\xd8":
            marker, size = struct.unpack_from(">HH", jpeg, at)
            body = jpeg[at + 4 : at + 2 + size]
            at += 2 + size
            if marker == 0xFFDB:
                for start in range(0, len(body), 65):
                    tables[body[start]] = body[start + 1 : start + 65]
            elif marker == 0xFFC0:
                height, width = struct.unpack_from(">HH", body, 1)
                kind = _SUBSAMPLINGS[body[7]] if body[5] == 3 else -1
            elif marker == 0xFFDA:
                both = tables[0] + tables[1]
                if kind < 0 or len(both) != 128 or width % 8 or height % 8 or max(width, height) > 2040:
                    break
                return Picture(kind, width, height, both, jpeg[at : jpeg.rindex(b"\xff\xd9")])
    except (struct.error, KeyError, IndexError, ValueError):
        pass
    raise SimulatorError("RTP takes a baseline JPEG in colour, 4:2:0 or 4:2:2, its sides multiples of 8 up to 2040")


class Packets:
    """The RTP packets of one session; sequence numbers go on from picture to picture."""

    def __init__(self, ssrc: int, sequence: int = 0) -> None:
        self._ssrc = ssrc
        self._sequence = sequence

    def of(self, picture: Picture, timestamp: int) -> list[bytes]:
        """One picture; `timestamp` in ticks of `CLOCK`."""
        found = []
        at = 0
        while at < len(picture.scan):
            head = struct.pack(
                ">IBBBB", at & 0xFFFFFF, picture.kind, 255, picture.width // 8, picture.height // 8
            )  # fmt: skip
            if at == 0:
                head += struct.pack(">BBH", 0, 0, len(picture.tables)) + picture.tables
            piece = picture.scan[at : at + _PIECE]
            at += len(piece)
            mark = 0x80 if at >= len(picture.scan) else 0
            self._sequence = (self._sequence + 1) & 0xFFFF
            rtp = struct.pack(
                ">BBHII", 0x80, PAYLOAD_TYPE | mark, self._sequence, timestamp & 0xFFFFFFFF, self._ssrc
            )  # fmt: skip
            found.append(rtp + head + piece)
        return found
