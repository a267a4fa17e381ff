"""What a gateway and a Nuki lock say to each other: states, actions, errors. Source: Nuki's public Bluetooth API."""

import struct
from dataclasses import dataclass
from typing import Final

from lintel.edge.ble.nuki import ACTION, CHALLENGE, ERROR, REQUEST_DATA, STATES, STATUS, frame
from lintel.edge.ble.words import Became, DoorWord, LockWord, Move, Moved, Seen
from lintel.edge.errors import BadFrame

ACTIONS: Final = {
    Move.UNLOCK: 1,
    Move.LOCK: 2,
    Move.UNLATCH: 3,
    Move.LOCK_N_GO: 4,
    Move.LOCK_N_GO_UNLATCH: 5,
}
LOCK_STATES: Final[dict[int, LockWord]] = {
    1: "locked",
    2: "unlocking",
    3: "unlocked",
    4: "locking",
    5: "unlatched",
    6: "unlocked",
    7: "unlatching",
    0xFE: "jammed",
}
DOOR_STATES: Final[dict[int, DoorWord]] = {0: "none", 1: "none", 2: "closed", 3: "open"}
MOVING: Final = ("unlocking", "locking", "unlatching")

ERRORS: Final = {
    0x20: "not authorised",
    0x21: "bad PIN",
    0x22: "bad nonce",
    0x23: "bad parameter",
    0x24: "unknown authorization",
    0x25: "authorization disabled",
    0x26: "remote access not allowed",
    0x27: "time not allowed",
    0x28: "too many PIN attempts",
    0x40: "too recent",
    0x41: "position unknown",
    0x42: "motor blocked",
    0x43: "clutch failure",
    0x44: "motor timeout",
    0x45: "busy",
    0x46: "cancelled",
    0x47: "not calibrated",
    0x48: "position limit",
    0x49: "low voltage",
    0x4A: "motor power failure",
    0x4B: "clutch power failure",
    0x4C: "voltage too low",
    0x4D: "update needed",
    0xFD: "bad CRC",
    0xFE: "bad length",
}
KEY_ERRORS: Final = (0x20, 0x24, 0x25)
"""The lock does not know us any more."""
NOT_NOW: Final = (0x40, 0x45)
"""It did nothing, and would a moment later."""
DOUBTFUL: Final = (0x22, 0xFD, 0xFE, 0xFF)
"""Said of a frame that came twice or damaged: what the first one did is not known."""
MECHANICAL: Final = range(0x41, 0x4D)

BATTERY_LOW: Final = (0x49, 0x4C)


@dataclass(frozen=True, slots=True)
class States:
    """Keyturner states. `last_action`, `completion` None where the model does not tell them."""

    lock: LockWord
    door: DoorWord
    battery: int
    low: bool
    last_action: int | None
    completion: int | None

    def seen(self) -> Seen:
        """In common words."""
        fault = "motor blocked" if self.lock == "jammed" else ""
        return Seen(self.lock, self.door, self.battery or None, self.low, fault)


def read_states(body: bytes) -> States:
    """Keyturner states; models differ in length, what is there is read. Raises BadFrame."""
    if len(body) < 13:
        raise BadFrame("states that are too short")
    battery = body[12]
    return States(
        LOCK_STATES.get(body[1], "unknown"),
        DOOR_STATES.get(body[18], "unknown") if len(body) > 18 else "none",
        min((battery >> 2) * 2, 100),
        bool(battery & 1),
        body[15] if len(body) > 17 else None,
        body[17] if len(body) > 17 else None,
    )


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """The lock could not do what `command` asked; `code` as in `ERRORS`."""

    code: int
    command: int

    @property
    def why(self) -> str:
        """For people."""
        return ERRORS.get(self.code, f"error {self.code:02x}")


@dataclass(frozen=True, slots=True)
class Status:
    """1 accepted, 0 complete."""

    code: int


@dataclass(frozen=True, slots=True)
class Nonce:
    """The challenge for one command."""

    nonce: bytes


@dataclass(frozen=True, slots=True)
class Other:
    """A command that this version does not know."""

    command: int


Message = States | ErrorReport | Status | Nonce | Other


def read(command: int, body: bytes) -> Message:
    """What an opened frame says. Raises BadFrame."""
    if command == STATES:
        return read_states(body)
    if command == ERROR and len(body) == 3:
        return ErrorReport(body[0], int.from_bytes(body[1:], "little"))
    if command == STATUS and len(body) == 1:
        return Status(body[0])
    if command == CHALLENGE and len(body) == 32:
        return Nonce(body)
    if command in (ERROR, STATUS, CHALLENGE):
        raise BadFrame(f"a frame {command:04x} of {len(body)} bytes")
    return Other(command)


def ask(what: int) -> tuple[int, bytes]:
    """Request Data: command and payload."""
    return REQUEST_DATA, struct.pack("<H", what)


def action(move: Move, app: int, nonce: bytes) -> tuple[int, bytes]:
    """Lock Action: command and payload."""
    return ACTION, struct.pack("<BIB32s", ACTIONS[move], app, 0, nonce)


def action_frame(move: Move, app: int, nonce: bytes) -> bytes:
    """The same as a frame before it is sealed, as samples show it."""
    return frame(*action(move, app, nonce))


_REACHED: Final[dict[Move, tuple[str, ...]]] = {
    Move.LOCK: ("locked",),
    Move.UNLOCK: ("unlocked", "unlatched"),
    Move.UNLATCH: ("unlatched",),
    Move.LOCK_N_GO: ("unlocked",),
    Move.LOCK_N_GO_UNLATCH: ("unlatched",),
}


def judge(move: Move, before: States | None, now: States) -> Moved:
    """What became of a command whose answer was lost, by the states before and after; the motor stands.

    Done: the wanted state, or this action as the last one completed where it was not before. Never: it stands as before
    and its last action is that of before, which is neither this one nor to lock: a lock that was opened and has locked
    again by itself, as its owner may have set it, stands as before too. Else nobody knows.
    """
    seen = now.seen()
    there_before = before is not None and before.lock in _REACHED[move]
    if now.lock in _REACHED[move] and (move in (Move.LOCK, Move.UNLOCK) or not there_before):
        return Moved(Became.DONE, seen)
    if now.lock == "jammed":
        return Moved(Became.REFUSED, seen, "motor blocked")
    if before is None or now.last_action is None:
        return Moved(Became.UNKNOWN, seen, "the lock does not tell its last action")
    if now.last_action == ACTIONS[move] != before.last_action:
        became = {0: Became.DONE, 0xFF: Became.UNKNOWN}.get(now.completion or 0, Became.REFUSED)
        return Moved(became, seen, f"completion {now.completion:02x}" if now.completion else "")
    same = (now.lock, now.last_action, now.completion) == (before.lock, before.last_action, before.completion)
    telling = now.last_action not in (ACTIONS[move], ACTIONS[Move.LOCK])
    if same and telling and now.lock == ("locked" if move is not Move.LOCK else "unlocked"):
        return Moved(Became.NEVER, seen)
    return Moved(Became.UNKNOWN, seen, "the states before and after do not tell")
