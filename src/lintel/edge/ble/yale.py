"""Yale and August locks on the wire, as far as public descriptions go: frames of 18 bytes, 16 of them under AES.

The secure channel (ECB; the off-line key, then the session key) agrees on the session key, the normal one (CBC, one
chain for each direction and connection) carries the orders. There is a sum, but no MAC: who can flip bits is not kept
out by this protocol, and its chain is out of step for good after a lost frame. Any doubt ends the connection.
"""

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from lintel.edge.ble.words import Became, DoorWord, LockWord, Move, Moved, Seen
from lintel.edge.errors import BadFrame

WRITE, READ, SECURE_WRITE, SECURE_READ = (f"bd4ac61{n}-0b45-11e3-8ffd-0800200c9a66" for n in (1, 2, 3, 4))

KEY_BYTES: Final = 16
FRAME: Final = 18
GET_STATUS, UNLOCK, LOCK = 0x02, 0x0A, 0x0B
LOCK_STATUS, DOOR_STATUS, VOLTAGE = 0x02, 0x2E, 0x0F

LOCK_STATES: Final[dict[int, LockWord]] = {
    2: "unlocking",
    3: "unlocked",
    4: "locking",
    5: "locked",
    7: "jammed",
    9: "unlatching",
    0x0A: "unlatched",
    0x0C: "locked",
}
DOOR_STATES: Final[dict[int, DoorWord]] = {0: "none", 1: "closed", 2: "open", 3: "open"}
MOVING: Final = ("unlocking", "locking", "unlatching")
RESULTS: Final = {0x03: "wrong key", 0x32: "battery low", 0x38: "not authorised", 0x3E: "busy"}
_MECHANICAL: Final = range(0x1E, 0x24)
_BUSY: Final = 0x3E
_MOVES: Final = {Move.UNLOCK: (UNLOCK, 0), Move.UNLATCH: (UNLOCK, 0x0A), Move.LOCK: (LOCK, 0)}


class _Channel:
    """One cipher for each direction; the last two bytes of a frame are clear."""

    def __init__(self, key: bytes, *, chained: bool) -> None:
        mode = modes.CBC(bytes(16)) if chained else modes.ECB()  # noqa: S305  it is what these locks do
        cipher: Cipher[modes.CBC | modes.ECB] = Cipher(algorithms.AES(key), mode)
        self._out: CipherContext = cipher.encryptor()
        self._in: CipherContext = cipher.decryptor()

    def seal(self, frame: bytes) -> bytes:
        """A frame as it goes out."""
        return self._out.update(frame[:16]) + frame[16:]

    def clear(self, data: bytes) -> bytes:
        """A frame as it was. Raises BadFrame before anything of another length gets into the chain."""
        if len(data) != FRAME:
            raise BadFrame("no frame of 18 bytes")
        return self._in.update(data[:16]) + data[16:]


def _secure_sum(frame: bytes) -> int:
    bare = frame[:12] + bytes(4) + frame[16:]
    return -sum(int.from_bytes(part, "little") for part in (bare[0:4], bare[4:8], bare[8:18])) & 0xFFFFFFFF


def secure_frame(opcode: int, body: bytes, slot: int) -> bytes:
    """A frame of the secure channel before it is encrypted."""
    frame = bytes((opcode, 0, 0, 0)) + body.ljust(8, b"\0") + bytes((0, 0, 0, 0, 0x0F, slot))
    return frame[:12] + _secure_sum(frame).to_bytes(4, "little") + frame[16:]


def normal_frame(opcode: int, what: int) -> bytes:
    """A request of the normal channel before it is encrypted: the sum of all its bytes is 0."""
    frame = bytearray(bytes((0xEE, opcode, 0, 0, what)) + bytes(11) + bytes((2, 0)))
    frame[3] = -sum(frame) & 0xFF
    return bytes(frame)


def move_frame(move: Move) -> bytes:
    """The request for a move. Raises ValueError where there is no such."""
    if move not in _MOVES:
        raise ValueError(f"one of {', '.join(_MOVES)}")
    return normal_frame(*_MOVES[move])


def opcode_of(move: Move) -> int:
    """Which opcode answers to a move carry."""
    return _MOVES[move][0]


class Handshake:
    """Send `first`, then what `second` makes of the answer, then give the next answer to `done`.

    `key`: the off-line key. `ours`, `proof`: 8 random bytes each.
    """

    def __init__(self, key: bytes, slot: int, ours: bytes, proof: bytes) -> None:
        self._secure, self._slot, self._ours, self._proof = _Channel(key, chained=False), slot, ours, proof
        self._session = b""
        self.first = self._secure.seal(secure_frame(0x01, ours, slot))

    def _take(self, data: bytes, due: int) -> bytes:
        frame = self._secure.clear(data)
        if (frame[0], frame[16]) != (due, 0x0F) or int.from_bytes(frame[12:16], "little") != _secure_sum(frame):
            raise BadFrame("not the secure frame that is due")
        return frame[4:12]

    def second(self, answer: bytes) -> bytes:
        """The session key is ours and theirs; a frame under it. Raises BadFrame."""
        self._session = self._ours + self._take(answer, 0x02)
        self._secure = _Channel(self._session, chained=False)
        return self._secure.seal(secure_frame(0x03, self._proof, self._slot))

    def done(self, answer: bytes) -> "Normal":
        """The normal channel. Raises BadFrame."""
        self._take(answer, 0x04)
        return Normal(self._session)


@dataclass(frozen=True, slots=True)
class Answer:
    """A frame of the lock. `kind` AA is "taken", BB the result; `what` echoes the request, `value` from byte 8 on."""

    kind: int
    opcode: int
    what: int
    value: bytes
    result: int

    @property
    def why(self) -> str:
        """The result for people, "" for good."""
        if not self.result:
            return ""
        mechanical = f"mechanical fault {self.result:02x}" if self.result in _MECHANICAL else ""
        return RESULTS.get(self.result, mechanical or f"error {self.result:02x}")


class Normal:
    """The normal channel; broken for good by one frame that does not check."""

    def __init__(self, key: bytes) -> None:
        self._channel = _Channel(key, chained=True)
        self._broken = False

    def seal(self, frame: bytes) -> bytes:
        """The next frame to the lock."""
        return self._channel.seal(frame)

    def open(self, data: bytes) -> Answer:
        """What the lock says. Raises BadFrame, for ever after the first."""
        if self._broken:
            raise BadFrame("this channel is out of step")
        try:
            return read(self._channel.clear(data))
        except BadFrame:
            self._broken = True
            raise


def read(frame: bytes) -> Answer:
    """A decrypted frame. Raises BadFrame."""
    if len(frame) != FRAME or sum(frame) & 0xFF or frame[0] not in (0xAA, 0xBB):
        raise BadFrame("a frame with a wrong sum")
    return Answer(frame[0], frame[1], frame[4], frame[8:15], frame[15])


def moved(answer: Answer) -> Moved:
    """What the result of a move means."""
    if not answer.result:
        return Moved(Became.DONE)
    if answer.result == _BUSY:
        return Moved(Became.NEVER, why=answer.why)
    jammed = answer.result in _MECHANICAL
    low = answer.result == 0x32
    seen = Seen("jammed" if jammed else "unknown", low=low, fault=answer.why if jammed else "")
    return Moved(Became.REFUSED, seen if jammed or low else None, answer.why)


_REACHED: Final = {
    Move.LOCK: ("locked",),
    Move.UNLOCK: ("unlocked", "unlatched"),
    Move.UNLATCH: ("unlatched",),
}


def judge(move: Move, before: Seen | None, now: Seen) -> Moved:
    """What became of a move whose answer was lost, by the lock's status before and after; the motor stands.

    Never only of locking: a lock stands locked again after an opening too, where its auto lock is on, which it does not
    tell; none unlocks by itself.
    """
    there_before = before is not None and before.lock in _REACHED[move]
    if now.lock in _REACHED[move] and (move is not Move.UNLATCH or not there_before):
        return Moved(Became.DONE, now)
    if now.lock == "jammed":
        return Moved(Became.REFUSED, now, "jammed")
    if move is Move.LOCK and before is not None and before.lock == now.lock == "unlocked":
        return Moved(Became.NEVER, now)
    return Moved(Became.UNKNOWN, now, "the status before and after does not tell")
