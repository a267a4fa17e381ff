"""OSDP frames: bytes from an RS-485 line in, whole checked packets out, and back. Never raises on any input.

    53 | ADDR | LEN lo | LEN hi | CTRL | [SCB: len type data] | CODE | data | [MAC 4] | CRC lo hi or checksum

LEN counts from 0x53 to the last check byte. Source: OSDP 2.2, section 5 (IEC 60839-11-5).
"""

from binascii import crc_hqx
from dataclasses import dataclass, field
from typing import Final

START: Final = 0x53
MARK: Final = b"\xff"
"""One idle byte before a frame lets receivers find its start; it counts in neither length nor check."""
BROADCAST: Final = 0x7F
MAX_LENGTH: Final = 512
"""Longest frame that is taken, in bytes; readers send far less."""

_REPLY: Final = 0x80
_CRC: Final = 0x04
_SECURED: Final = 0x08
_CRC_START: Final = 0x1D0F
MAC_TYPES: Final = range(0x15, 0x19)


@dataclass(frozen=True, slots=True)
class Packet:
    """One frame whose check is right. `scb` is the whole security block, b"" without one.

    `data` is as on the line, perhaps encrypted; `covered` is what a MAC is over: all bytes before it.
    """

    address: int
    reply: bool
    sequence: int
    code: int
    scb: bytes = b""
    data: bytes = field(default=b"", repr=False)
    mac: bytes = field(default=b"", repr=False)
    covered: bytes = field(default=b"", repr=False, compare=False)

    @property
    def block(self) -> int:
        """Type of the security block, 0x11 to 0x18; 0 without one."""
        return self.scb[1] if self.scb else 0


def check(data: bytes | bytearray) -> bytes:
    """CRC-16 of a frame (polynomial 0x1021 from 0x1D0F), low byte first."""
    return crc_hqx(data, _CRC_START).to_bytes(2, "little")


def head(address: int, sequence: int, code: int, *, data: bytes, scb: bytes, extra: int) -> bytes:
    """The bytes from 0x53 to the end of the data, where `extra` more bytes follow: a MAC and the check."""
    length = 6 + len(scb) + len(data) + extra
    control = sequence | _CRC | (_SECURED if scb else 0)
    return bytes((START, address, length & 0xFF, length >> 8, control)) + scb + bytes((code,)) + data


def encode(address: int, sequence: int, code: int, data: bytes = b"", scb: bytes = b"") -> bytes:
    """A frame with CRC and without MAC, as it goes on the line, without the mark."""
    frame = head(address, sequence, code, data=data, scb=scb, extra=2)
    return frame + check(frame)


class Receiver:
    """Finds frames in a stream, however it is cut. Holds at most one maximal frame."""

    def __init__(self) -> None:
        self._held = bytearray()
        self.errors = 0
        """Frames that did not check, and stretches of bytes that belonged to none."""

    @property
    def missing(self) -> int:
        """Bytes that a begun frame still lacks, as far as is known; 0 when none has begun."""
        held = self._held
        if not held:
            return 0
        if len(held) < 4:
            return 8 - len(held)
        return max(1, (held[2] | held[3] << 8) - len(held))

    def feed(self, data: bytes) -> list[Packet]:
        """Take in bytes. A wrong start may hide a good frame, so after it every later start is tried."""
        self._held += data
        return self._scan(cut=False)

    def cut(self) -> list[Packet]:
        """The line has been silent too long for what is held to become whole: look behind its start, keep nothing."""
        return self._scan(cut=True) if self._held else []

    def _scan(self, *, cut: bool) -> list[Packet]:
        held, found, at, bad = self._held, [], 0, False
        size = len(held)
        while at < size:
            start = held.find(START, at)
            if start < 0:
                start = size
            if start > at and held.count(MARK, at, start) < start - at:
                bad = True
            at = start
            left = size - at
            length = held[at + 2] | held[at + 3] << 8 if left >= 4 else 0
            if left < 4 or (7 <= length <= MAX_LENGTH and left < length):
                if not cut or not left:
                    break
            elif 7 <= length <= MAX_LENGTH and (packet := _packet(bytes(held[at : at + length]))) is not None:
                found.append(packet)
                self.errors += bad
                bad = False
                at += length
                continue
            bad = True
            at += 1
        self.errors += bad
        del held[:at]
        return found


def _packet(frame: bytes) -> Packet | None:
    """The frame as a packet; None where its check or its inner lengths are wrong."""
    control = frame[4]
    if control & _CRC:
        end = len(frame) - 2
        if end < 6 or check(frame[:end]) != frame[end:]:
            return None
    else:
        end = len(frame) - 1
        if sum(frame) & 0xFF:
            return None
    at, scb, mac = 5, b"", b""
    if control & _SECURED:
        at += frame[5]
        if frame[5] < 2 or at >= end:
            return None
        scb = frame[5:at]
        if scb[1] in MAC_TYPES:
            end -= 4
            if at >= end:
                return None
            mac = frame[end : end + 4]
    address = frame[1]
    return Packet(
        address & 0x7F, bool(address & _REPLY), control & 3, frame[at], scb, frame[at + 1 : end], mac, frame[:end]
    )
