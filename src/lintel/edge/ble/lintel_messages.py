"""What a gateway and a Lintel lock say to each other inside the sealed channel, and what INFO holds in clear."""

import struct
from dataclasses import dataclass, field
from typing import Final

from lintel.edge.ble.words import DoorWord, LockWord, Move
from lintel.edge.errors import BadFrame

NEVER_SEEN: Final = 0x0B
"""Status of an ACCEPTED that answers a QUERY: the lock did not get this command and will not carry it out."""

OK: Final = 0
CHALLENGE_GONE: Final = 3
BUSY: Final = 4

CODES: Final = {
    0: "ok",
    1: "not authorised",
    2: "bad signature",
    3: "challenge missing or expired",
    4: "busy",
    5: "jammed",
    6: "battery low",
    7: "time not allowed",
    8: "parameter",
    9: "rate limited",
    0xA: "pairing closed",
    0xB: "never seen",
}


MOVES: Final = {Move.LOCK: 1, Move.UNLOCK: 2, Move.UNLATCH: 3}

LOCK_STATES: Final[dict[int, LockWord]] = {
    0: "unknown",
    1: "locked",
    2: "unlocking",
    3: "unlocked",
    4: "locking",
    5: "unlatched",
    0xFE: "jammed",
}
DOOR_STATES: Final[dict[int, DoorWord]] = {0: "none", 1: "unknown", 2: "closed", 3: "open"}


@dataclass(frozen=True, slots=True)
class Ready:
    """The lock's first words. `boots`: times it was started; `log`: next log number; `idle_s`: it leaves after that."""

    boots: int
    log: int
    idle_s: int


@dataclass(frozen=True, slots=True)
class Challenge:
    """A nonce for one command on this connection, good for `lifetime_ms`."""

    nonce: bytes = field(repr=False)
    lifetime_ms: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the lock says of a command before it moves, or of one asked for: status 0 accepted, else see `CODES`."""

    command: bytes
    status: int


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a command: result as in `CODES`, states as in `LOCK_STATES` and `DOOR_STATES`."""

    command: bytes
    result: int
    lock: LockWord
    door: DoorWord
    log: int


@dataclass(frozen=True, slots=True)
class State:
    """How the lock stands. `battery` in percent; `fault` as in `CODES`."""

    lock: LockWord
    door: DoorWord
    battery: int
    battery_flags: int
    fault: int
    log: int


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line of the lock's own log; its meaning is the maker's."""

    seq: int
    boots: int
    uptime_ms: int
    unix: int
    kind: int
    command: bytes
    argument: int


@dataclass(frozen=True, slots=True)
class LogEnd:
    """No more entries for now; `log` is the next number."""

    log: int


@dataclass(frozen=True, slots=True)
class Error:
    """The lock could not use a message of kind `about`."""

    code: int
    about: int


@dataclass(frozen=True, slots=True)
class Other:
    """A message of a kind that this version does not know."""

    kind: int


Message = Ready | Challenge | Accepted | Result | State | LogEntry | LogEnd | Error | Other

_SHAPES: Final = {
    0x04: struct.Struct("<HIH"),
    0x21: struct.Struct("<16sH"),
    0x23: struct.Struct("<16sB"),
    0x24: struct.Struct("<16sBBBI"),
    0x27: struct.Struct("<BBBBBI"),
    0x29: struct.Struct("<IHIIB16sB"),
    0x2A: struct.Struct("<I"),
    0x2C: struct.Struct("<BB"),
}


def read(inner: bytes) -> Message:
    """What an opened message says. Raises BadFrame on one of the wrong length."""
    if not inner:
        raise BadFrame("an empty message")
    kind, shape = inner[0], _SHAPES.get(inner[0])
    if shape is None:
        return Other(kind)
    if len(inner) != 1 + shape.size:
        raise BadFrame(f"a message {kind:02x} of {len(inner)} bytes")
    values = shape.unpack(inner[1:])
    match kind:
        case 0x24:
            command, result, lock, door, log = values
            return Result(command, result, LOCK_STATES.get(lock, "unknown"), DOOR_STATES.get(door, "unknown"), log)
        case 0x27:
            lock, door, battery, flags, fault, log = values
            words = LOCK_STATES.get(lock, "unknown"), DOOR_STATES.get(door, "unknown")
            return State(*words, battery, flags, fault, log)
        case _:
            return _PLAIN[kind](*values)


_PLAIN: Final[dict[int, type[Ready | Challenge | Accepted | LogEntry | LogEnd | Error]]] = {
    0x04: Ready,
    0x21: Challenge,
    0x23: Accepted,
    0x29: LogEntry,
    0x2A: LogEnd,
    0x2C: Error,
}


GET_CHALLENGE: Final = b"\x20"
GET_STATE: Final = b"\x26"


def command(id_: bytes, move: Move, nonce: bytes, *, hold_s: float = 0.0, not_after: int = 0) -> bytes:
    """COMMAND. `hold_s`: how long the lock stays open, 0 its own default; `not_after`: Unix seconds, 0 none.

    Raises ValueError where the lock has no such move.
    """
    if move not in MOVES:
        raise ValueError(f"one of {', '.join(MOVES)}")
    hold = min(round(hold_s * 10), 0xFFFF)
    return struct.pack("<B16sBHI16s", 0x22, id_, MOVES[move], hold, not_after, nonce)


def query(id_: bytes) -> bytes:
    """QUERY: what became of this command?"""
    return b"\x25" + id_


def log_read(start: int, most: int) -> bytes:
    """LOG_READ: up to `most` entries from `start`."""
    return struct.pack("<BIB", 0x28, start, most)


def set_time(unix: int) -> bytes:
    """SET_TIME."""
    return struct.pack("<BI", 0x2B, unix)


@dataclass(frozen=True, slots=True)
class Info:
    """What a lock says of itself before any session, unauthenticated."""

    suites: int
    pairing_open: bool
    door_sensor: bool
    unlatch: bool
    clock: bool
    lock: bytes
    model: str
    firmware: str


def read_info(data: bytes) -> Info:
    """The INFO characteristic. Raises BadFrame; bytes after the last field are left for later versions."""
    if len(data) < 11 or data[0] != 1:
        raise BadFrame("no INFO of version 1")
    model, rest = _text(data[11:])
    firmware, _ = _text(rest)
    pairing, sensor, unlatch, clock = (bool(data[2] & 1 << bit) for bit in range(4))
    return Info(data[1], pairing, sensor, unlatch, clock, data[3:11], model, firmware)


def _text(data: bytes) -> tuple[str, bytes]:
    if not data or len(data) < 1 + data[0]:
        raise BadFrame("INFO is cut off")
    try:
        return data[1 : 1 + data[0]].decode(), data[1 + data[0] :]
    except UnicodeDecodeError:
        raise BadFrame("INFO is not UTF-8") from None
