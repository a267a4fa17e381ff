"""OSDP 2.2 on the wire, as a reader needs it: frames, their checks, the secure channel. Pure: no line, no time.

Written from the standard's tables and Annex E, apart from the gateway's own: what both get wrong, they get wrong apart.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

START = 0x53
MARK = 0xFF
MOST = 256
"""The longest frame that is listened to (bytes)."""
EVERYBODY = 0x7F
DEFAULT_KEY = bytes(range(0x30, 0x40))
"""SCBK-D: printed in the standard, good for nothing but to put a real key in."""


class Ask(IntEnum):
    """Commands of a control panel."""

    POLL = 0x60
    ID = 0x61
    CAP = 0x62
    LSTAT = 0x64
    ISTAT = 0x65
    OSTAT = 0x66
    RSTAT = 0x67
    OUT = 0x68
    LED = 0x69
    BUZ = 0x6A
    TEXT = 0x6B
    COMSET = 0x6E
    KEYSET = 0x75
    CHLNG = 0x76
    SCRYPT = 0x77
    ACURXSIZE = 0x7B
    ABORT = 0xA2
    KEEPACTIVE = 0xA7


class Say(IntEnum):
    """Replies of a reader."""

    ACK = 0x40
    NAK = 0x41
    PDID = 0x45
    PDCAP = 0x46
    LSTATR = 0x48
    ISTATR = 0x49
    OSTATR = 0x4A
    RSTATR = 0x4B
    RAW = 0x50
    FMT = 0x51
    KEYPAD = 0x53
    COM = 0x54
    CCRYPT = 0x76
    RMAC_I = 0x78
    BUSY = 0x79


class Nak(IntEnum):
    """Why a command is refused."""

    CHECK = 1
    LENGTH = 2
    UNKNOWN = 3
    SEQUENCE = 4
    UNSUPPORTED = 5
    SECURITY = 6
    RECORD = 9


def crc16(data: bytes) -> int:
    """CRC of polynomial 0x1021 from 0x1D0F, not reflected."""
    crc = 0x1D0F
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def check(data: bytes, *, crc: bool) -> bytes:
    """The check bytes of a frame that begins with `data`."""
    return crc16(data).to_bytes(2, "little") if crc else bytes((-sum(data) & 0xFF,))


def whole(raw: bytes) -> bool:
    """Whether bytes are one frame with the right length and check."""
    if len(raw) < 7 or raw[0] != START or raw[2] | raw[3] << 8 != len(raw):
        return False
    size = 2 if raw[4] & 4 else 1
    return len(raw) > 5 + size and check(raw[:-size], crc=size == 2) == raw[-size:]


def build(
    address: int,
    sequence: int,
    code: int,
    data: bytes = b"",
    *,
    block: bytes = b"",
    mac: Callable[[bytes], bytes] | None = None,
    crc: bool = True,
) -> bytes:
    """A frame. `address` has bit 7 for a reply; `block` is the security block without its length byte.

    `mac` gives the four bytes for what stands before them.
    """
    security = bytes((len(block) + 1,)) + block if block else b""
    length = 5 + len(security) + 1 + len(data) + (4 if mac else 0) + (2 if crc else 1)
    control = sequence | (4 if crc else 0) | (8 if block else 0)
    body = bytes((START, address)) + length.to_bytes(2, "little") + bytes((control,)) + security + bytes((code,)) + data
    if mac:
        body += mac(body)
    return body + check(body, crc=crc)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame taken apart. `block` and `mac` are empty where there is none; `covered` is what a MAC protects."""

    address: int
    reply: bool
    sequence: int
    code: int
    data: bytes
    block: bytes
    mac: bytes
    covered: bytes
    crc: bool


def parse(raw: bytes) -> Frame | None:
    """Take a whole frame apart; None where its security block does not fit into it."""
    crc = bool(raw[4] & 4)
    end = len(raw) - (2 if crc else 1)
    at, block = 5, b""
    if raw[4] & 8:
        size = raw[5]
        if size < 2 or 5 + size >= end:
            return None
        block = raw[6 : 5 + size]
        at += size
    sealed = bool(block) and 0x15 <= block[0] <= 0x18
    last = end - (4 if sealed else 0)
    if at >= last:  # as from a panel that names a secure frame and puts no MAC into it
        last, sealed = end, False
    return Frame(
        raw[1] & 0x7F, bool(raw[1] & 0x80), raw[4] & 3, raw[at], raw[at + 1 : last], block,
        raw[last:end] if sealed else b"", raw[:last], crc,
    )  # fmt: skip


class Splitter:
    """Cuts a stream of bytes into frames with a right check. Noise is passed over; at most one frame is kept."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.passed_over = 0
        """Bytes that belonged to no frame."""

    def clear(self) -> None:
        """Forget a begun frame: the line was silent."""
        self._buffer.clear()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that are complete with `data`."""
        self._buffer += data
        while True:
            start = self._buffer.find(START)
            noise = len(self._buffer) if start < 0 else start
            self.passed_over += noise
            del self._buffer[:noise]
            if len(self._buffer) < 5:
                return
            length = self._buffer[2] | self._buffer[3] << 8
            if 7 <= length <= MOST and len(self._buffer) < length:
                return
            raw = bytes(self._buffer[:length])
            if 7 <= length <= MOST and whole(raw):
                del self._buffer[:length]
                yield raw
            else:  # a false start may hide a good frame
                self.passed_over += 1
                del self._buffer[0]


def aes(key: bytes, block: bytes) -> bytes:
    """One block of AES-128."""
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)  # noqa: S305  one block, as the standard has it


def diversified(master: bytes, cuid: bytes) -> bytes:
    """The key of one reader from a master key."""
    return aes(master, cuid + bytes(~byte & 0xFF for byte in cuid))


def _turned(mac: bytes) -> modes.CBC:
    return modes.CBC(bytes(~byte & 0xFF for byte in mac))


class Channel:
    """Keys and running MACs of one session, the same for both ends. `c_mac`: of the last command, `r_mac`: reply."""

    def __init__(self, key: bytes, rnd_a: bytes) -> None:
        def part(number: int) -> bytes:
            return aes(key, bytes((1, number)) + rnd_a[:6] + bytes(8))

        self.enc, self.mac_1, self.mac_2 = part(0x82), part(0x01), part(0x02)
        self.c_mac = self.r_mac = b""

    def cryptogram(self, first: bytes, second: bytes) -> bytes:
        """RndA and RndB for a reader's, RndB and RndA for a panel's."""
        return aes(self.enc, first + second)

    def begin(self, panel_cryptogram: bytes) -> bytes:
        """The first R-MAC."""
        self.r_mac = aes(self.mac_2, aes(self.mac_1, panel_cryptogram))
        return self.r_mac

    def mac(self, covered: bytes, after: bytes) -> bytes:
        """All 16 bytes of the MAC over `covered`, chained after the last MAC of the other direction."""
        if len(covered) % 16:
            covered += b"\x80" + bytes(-(len(covered) + 1) % 16)
        for at in range(0, len(covered), 16):
            key = self.mac_2 if at + 16 == len(covered) else self.mac_1
            after = aes(key, bytes(a ^ b for a, b in zip(covered[at : at + 16], after, strict=True)))
        return after

    def seal(self, data: bytes, after: bytes) -> bytes:
        """Encrypt data after the last MAC of the other direction."""
        data += b"\x80" + bytes(-(len(data) + 1) % 16)
        return Cipher(algorithms.AES(self.enc), _turned(after)).encryptor().update(data)

    def unseal(self, data: bytes, after: bytes) -> bytes | None:
        """Decrypt data; None where it is no whole number of blocks or its padding is wrong."""
        if len(data) % 16:
            return None
        clear = Cipher(algorithms.AES(self.enc), _turned(after)).decryptor().update(data).rstrip(b"\0")
        return clear[:-1] if clear.endswith(b"\x80") else None if data else b""
