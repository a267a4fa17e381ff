"""What commands and replies of OSDP hold. `parse` never trusts a length; values that could be credentials have no repr.

Source: OSDP 2.2, sections 6 and 7 and annex A.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from lintel.edge.errors import BadFrame


class Command(IntEnum):
    """Codes that the panel sends."""

    POLL = 0x60
    ID = 0x61
    CAP = 0x62
    LSTAT = 0x64
    ISTAT = 0x65
    OSTAT = 0x66
    OUT = 0x68
    LED = 0x69
    BUZ = 0x6A
    TEXT = 0x6B
    KEYSET = 0x75
    CHLNG = 0x76
    SCRYPT = 0x77


class Code(IntEnum):
    """Codes that a reader answers with."""

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
    CCRYPT = 0x76
    RMAC_I = 0x78
    BUSY = 0x79


class Error(IntEnum):
    """What a NAK says."""

    CHECK = 1
    LENGTH = 2
    COMMAND = 3
    SEQUENCE = 4
    CHANNEL = 5
    CONDITIONS = 6
    RECORD = 9


SOFT: Final = frozenset({Error.LENGTH, Error.COMMAND, Error.RECORD})
"""The reader does not do this; nothing else is wrong with it."""


@dataclass(frozen=True, slots=True)
class Nak:
    """The reader refused; `error` as in `Error`."""

    error: int


@dataclass(frozen=True, slots=True)
class Identity:
    """Which reader it is. `vendor` is its OUI as six hex digits, in the order sent."""

    vendor: str
    model: int
    version: int
    serial: int
    firmware: str


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a reader says it can: function -> (compliance, count)."""

    functions: Mapping[int, tuple[int, int]]

    @property
    def secure(self) -> bool:
        """Whether it claims the secure channel with AES-128 (function 9)."""
        return bool(self.functions.get(9, (0, 0))[0] & 1)


@dataclass(frozen=True, slots=True)
class Local:
    """The reader's own cover and supply."""

    tamper: bool
    power: bool


@dataclass(frozen=True, slots=True)
class Inputs:
    """One value for each input: 0 inactive, 1 active, more: a fault of the loop."""

    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Outputs:
    """One value for each output: 0 off, 1 on."""

    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Readers:
    """One value for each attached reader head: 0 normal, 1 not connected, 2 tamper."""

    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RawCard:
    """A card as bits, left-aligned, most significant first; what is beyond `bits` is not guaranteed to be 0."""

    reader: int
    bits: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class TextCard:
    """A card as characters, in the order in which they stand on it."""

    reader: int
    text: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Keypad:
    """Keys that were pressed: digits, * as 7F, # as 0D."""

    reader: int
    keys: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Plain:
    """A reply whose content needs no reading here: ACK, BUSY, handshake, or one that we do not know."""

    code: int
    data: bytes = field(default=b"", repr=False)


Reply = Nak | Identity | Capabilities | Local | Inputs | Outputs | Readers | RawCard | TextCard | Keypad | Plain


def _identity(d: bytes) -> Identity:
    serial, firmware = int.from_bytes(d[5:9], "little"), ".".join(map(str, d[9:12]))
    return Identity(d[:3].hex(), d[3], d[4], serial, firmware)


def _capabilities(d: bytes) -> Capabilities:
    return Capabilities({d[n]: (d[n + 1], d[n + 2]) for n in range(0, len(d), 3)})


def _raw(d: bytes) -> RawCard:
    bits = d[2] | d[3] << 8
    if not bits or len(d) != 4 + (bits + 7) // 8:
        raise BadFrame("bit count of a card")
    return RawCard(d[0], bits, d[4:])


def _text(d: bytes) -> TextCard:
    if not d[2] or len(d) != 3 + d[2]:
        raise BadFrame("length of a card")
    return TextCard(d[0], d[:2:-1] if d[1] else d[3:])


def _keys(d: bytes) -> Keypad:
    if len(d) != 2 + d[1]:
        raise BadFrame("number of keys")
    return Keypad(d[0], d[2:])


_PARSERS: Final[Mapping[int, tuple[Callable[[int], bool], Callable[[bytes], Reply]]]] = {
    Code.NAK: (lambda n: n >= 1, lambda d: Nak(d[0])),
    Code.PDID: (lambda n: n == 12, _identity),
    Code.PDCAP: (lambda n: n % 3 == 0, _capabilities),
    Code.LSTATR: (lambda n: n == 2, lambda d: Local(bool(d[0]), bool(d[1]))),
    Code.ISTATR: (lambda n: n >= 1, lambda d: Inputs(tuple(d))),
    Code.OSTATR: (lambda n: n >= 1, lambda d: Outputs(tuple(d))),
    Code.RSTATR: (lambda n: n >= 1, lambda d: Readers(tuple(d))),
    Code.RAW: (lambda n: n >= 5, _raw),
    Code.FMT: (lambda n: n >= 4, _text),
    Code.KEYPAD: (lambda n: n >= 2, _keys),
}


def parse(code: int, data: bytes) -> Reply:
    """What a reply says. Raises BadFrame, quoting none of it, where its length does not fit its code."""
    if (parser := _PARSERS.get(code)) is None:
        return Plain(code, data)
    fits, read = parser
    if not fits(len(data)):
        raise BadFrame("length of a reply")
    return read(data)


def output(number: int, control: int, tenths: int = 0) -> bytes:
    """Data of OUT. `control`: 1 off, 2 on, 5 on for `tenths` of a second and then off again."""
    return bytes((number, control)) + min(tenths, 0xFFFF).to_bytes(2, "little")


def buzzer(on: int = 2, off: int = 1, count: int = 2) -> bytes:
    """Data of BUZ: the default tone, `count` times, lengths in tenths of a second."""
    return bytes((0, 2, on, off, count))


def text(line: str, seconds: float) -> bytes:
    """Data of TEXT: a line of the display for a while. Raises ValueError where it is not 1 to 32 ASCII characters."""
    if not 1 <= len(line) <= 32 or not line.isascii() or not line.isprintable():
        raise ValueError("expected a text of 1 to 32 ASCII characters")
    return bytes((0, 3, max(1, min(255, round(seconds))), 1, 1, len(line))) + line.encode()


def light(colour: int, tenths: int) -> bytes:
    """Data of LED: steady in a colour (1 red, 2 green, 3 amber, 4 blue) for a while; the permanent state stays."""
    temporary = bytes((2, 1, 0, colour, 0)) + min(tenths, 0xFFFF).to_bytes(2, "little")
    return bytes((0, 0)) + temporary + bytes(5)


def keyset(key: bytes) -> bytes:
    """Data of KEYSET: a new SCBK."""
    return bytes((1, len(key))) + key
