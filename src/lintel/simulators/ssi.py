"""Zebra SSI packets, both directions, without I/O.

`len | opcode | source | status | data | checksum`: len counts all but the checksum, which is the two's complement of
the 16-bit sum of the bytes before it, big-endian.
"""

from dataclasses import dataclass
from enum import IntEnum

RETRANSMIT = 0x01
CONTINUES = 0x02
QR_CODE = 0xF1
MAX_TEXT = 250
"""Longest text in one DECODE_DATA packet: the length byte counts 4 bytes of header and the code type as well."""


class Op(IntEnum):
    """Opcodes that the simulated decoder knows."""

    REQUEST_REVISION = 0xA3
    REPLY_REVISION = 0xA4
    PARAM_SEND = 0xC6
    ACK = 0xD0
    NAK = 0xD1
    START_SESSION = 0xE4
    STOP_SESSION = 0xE5
    SCAN_ENABLE = 0xE9
    SCAN_DISABLE = 0xEA
    DECODE_DATA = 0xF3


class Nak(IntEnum):
    """Reasons in a NAK."""

    CHECKSUM = 0x01
    DENIED = 0x06
    UNDEFINED = 0x0A


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet. `op` is the raw opcode; `good` is False when its checksum is wrong."""

    op: int
    data: bytes = b""
    status: int = 0
    good: bool = True


def encode(op: int, data: bytes = b"", status: int = 0) -> bytes:
    """A packet of the decoder (source 0), with checksum. `data` is at most 251 bytes."""
    head = bytes((4 + len(data), op, 0, status)) + data
    return head + (-sum(head) & 0xFFFF).to_bytes(2, "big")


class HostStream:
    """Cuts the bytes that a host sends into packets. Zero bytes between packets are wake-ups."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Packet]:
        """Packets completed by `data`, with a wrong checksum marked."""
        self._buffer += data
        packets: list[Packet] = []
        while True:
            while self._buffer[:1] and self._buffer[0] < 4:
                del self._buffer[0]  # 00 wakes a sleeping decoder; no packet is shorter than its header
            if not self._buffer or len(self._buffer) < self._buffer[0] + 2:
                return packets
            size = self._buffer[0]
            packet = bytes(self._buffer[: size + 2])
            del self._buffer[: size + 2]
            good = (sum(packet[:size]) + int.from_bytes(packet[size:], "big")) & 0xFFFF == 0
            packets.append(Packet(packet[1], packet[4:size], packet[3], good=good))
