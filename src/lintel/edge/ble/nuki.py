"""Nuki Smart Locks on the wire: frames, the sealed channel, pairing. Source: Nuki's public Bluetooth API.

Bytes, keys and random numbers are handed in. What the frames say stands in `nuki_messages`.
"""

import hmac
import struct
from binascii import crc_hqx
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from nacl.bindings import crypto_box_beforenm, crypto_scalarmult_base
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from lintel.edge.ble.words import NotYet, WrongLock
from lintel.edge.errors import BadFrame, Refused

PAIRING: Final = "a92ee101-5501-11e4-916c-0800200c9a66"
PAIRING_ULTRA: Final = "a92ee301-5501-11e4-916c-0800200c9a66"
USER: Final = "a92ee202-5501-11e4-916c-0800200c9a66"

REQUEST_DATA, PUBLIC_KEY, CHALLENGE, AUTHENTICATOR, AUTHORIZATION, AUTHORIZATION_ID = 1, 3, 4, 5, 6, 7
STATES, ACTION, STATUS, ERROR, CONFIRMATION, PAIRING_PIN = 0x0C, 0x0D, 0x0E, 0x12, 0x1E, 0x4C

BRIDGE: Final = 1
"""What a gateway calls itself: for a bridge the lock tells news by its beacon."""
_ULTRA_PAIRING: Final = bytes.fromhex("7fffffff")
_MAX: Final = 512
_CLEAR: Final = {PUBLIC_KEY: 36, CHALLENGE: 36, AUTHORIZATION_ID: 88, STATUS: 5, ERROR: 7, PAIRING_PIN: 5}
"""Lengths of what a lock says in clear, frame included."""

Random = Callable[[int], bytes]


def public_of(private: bytes) -> bytes:
    """The X25519 public key of a private one."""
    return crypto_scalarmult_base(private)


def shared_key(lock: bytes, private: bytes) -> bytes:
    """X25519, then HSalsa20. Raises BadFrame where there is none with this key."""
    try:
        return crypto_box_beforenm(lock, private)
    except (CryptoError, RuntimeError):
        raise BadFrame("no shared secret with this key") from None


def frame(command: int, payload: bytes, head: bytes = b"") -> bytes:
    """A frame with its CRC-16 (0x1021 from 0xFFFF, little-endian); `head` stands before it and is covered."""
    data = head + struct.pack("<H", command) + payload
    return data + struct.pack("<H", crc_hqx(data, 0xFFFF))


def unframe(data: bytes, head: int = 0) -> tuple[int, bytes]:
    """Command and payload. Raises BadFrame. A CRC of 0 is taken where a secretbox vouches for the bytes (`head`)."""
    if len(data) < head + 4:
        raise BadFrame("a frame that is too short")
    crc = int.from_bytes(data[-2:], "little")
    if crc != crc_hqx(data[:-2], 0xFFFF) and not (head and crc == 0):
        raise BadFrame("a frame with a wrong CRC")
    return int.from_bytes(data[head : head + 2], "little"), data[head + 2 : -2]


class Sealed:
    """The channel of a paired gateway: `nonce 24 | authorization id 4 | length | secretbox`."""

    def __init__(self, key: bytes, auth: bytes) -> None:
        self._box, self._auth = SecretBox(key), auth

    def seal(self, command: int, payload: bytes, nonce: bytes) -> bytes:
        """A message to the lock; `nonce` 24 random bytes."""
        box = self._box.encrypt(frame(command, payload, self._auth), nonce).ciphertext
        return nonce + self._auth + struct.pack("<H", len(box)) + box

    def open(self, data: bytes) -> tuple[int, bytes]:
        """Command and payload of a whole message. Raises BadFrame."""
        if len(data) < 30 + 16 + 8 or data[24:28] != self._auth or len(data) != _sealed_length(data):
            raise BadFrame("no message for this gateway")
        try:
            clear = self._box.decrypt(data[30:], data[:24])
        except CryptoError:
            raise BadFrame("a message that was changed on its way") from None
        if clear[:4] != self._auth:
            raise BadFrame("a message for another gateway")
        return unframe(clear, 4)


def _sealed_length(data: bytes) -> int:
    return 30 + int.from_bytes(data[28:30], "little") if len(data) >= 30 else 0


def _clear_length(data: bytes) -> int:
    if len(data) < 2:
        return 0
    command = int.from_bytes(data[:2], "little")
    if command not in _CLEAR:
        raise BadFrame(f"a frame {command:04x} where none is due")
    return _CLEAR[command]


class Assembler:
    """Indications in, whole messages out: a long one comes in pieces. `sealed`: which of the two forms."""

    def __init__(self, *, sealed: bool) -> None:
        self._length = _sealed_length if sealed else _clear_length
        self._held = bytearray()

    def feed(self, piece: bytes) -> bytes | None:
        """The message that is whole with this piece, or None. Raises BadFrame; what was held is gone then."""
        held = bytes(self._held) + piece
        self._held.clear()
        length = self._length(held)
        if length > _MAX or len(held) > (length or 30):
            raise BadFrame("a message with another length than it says")
        self._held += held
        if not length or len(self._held) < length:
            return None
        message = bytes(self._held)
        self._held.clear()
        return message


@dataclass(frozen=True, slots=True)
class Paired:
    """What pairing left: the lock's public key and the name under which it knows us."""

    lock: bytes
    auth: bytes


@dataclass(slots=True)
class Pairing:
    """Pairing as its steps: send `begin()`, then what `take` makes of each answer, until it is a `Paired`.

    `private`: own X25519 key. `app`: our number. `pin`: of an Ultra, which asks for it instead of a second proof.
    """

    private: bytes = field(repr=False)
    app: int
    name: str
    random: Random = field(repr=False)
    ultra: bool = False
    pin: int = field(default=0, repr=False)
    _due: int = field(default=PUBLIC_KEY, init=False)
    _lock: bytes = field(default=b"", init=False)
    _key: bytes = field(default=b"", init=False, repr=False)
    _nonce: bytes = field(default=b"", init=False, repr=False)
    _auth: bytes = field(default=b"", init=False)
    _proved: bool = field(default=False, init=False)

    @property
    def sealed(self) -> bool:
        """Whether the next answer comes sealed: the last one of an Ultra."""
        return self._due == AUTHORIZATION_ID and self.ultra

    def begin(self) -> bytes:
        """Ask for the lock's public key."""
        return frame(REQUEST_DATA, struct.pack("<H", PUBLIC_KEY))

    def take(self, message: bytes) -> bytes | Paired:
        """The next frame to send, or the end. Raises BadFrame, WrongLock, NotYet or Refused."""
        if self.sealed:
            return self._finish_ultra(*Sealed(self._key, _ULTRA_PAIRING).open(message))
        command, body = unframe(message)
        if command == ERROR and len(body) == 3:
            raise (
                NotYet("it is not in pairing mode") if body[0] == 0x10 else Refused(f"the lock refused: {body[0]:02x}")
            )
        if command != self._due or len(message) != _CLEAR[command]:
            raise BadFrame("not the frame that is due")
        match command:
            case 0x03:
                return self._exchange(body)
            case 0x04:
                return self._authorize(body) if self._proved else self._prove(body)
            case 0x4C:
                return self._authorize_ultra()
            case 0x07:
                return self._confirm(body)
        if body != b"\0":
            raise Refused("the lock did not complete the pairing")
        return Paired(self._lock, self._auth)

    def _exchange(self, lock: bytes) -> bytes:
        self._lock, self._due = lock, CHALLENGE
        self._key = shared_key(lock, self.private)
        return frame(PUBLIC_KEY, public_of(self.private))

    def _mac(self, data: bytes) -> bytes:
        return hmac.digest(self._key, data, "sha256")

    def _prove(self, challenge: bytes) -> bytes:
        self._proved, self._due = True, PAIRING_PIN if self.ultra else CHALLENGE
        return frame(AUTHENTICATOR, self._mac(public_of(self.private) + self._lock + challenge))

    def _named(self) -> bytes:
        return struct.pack("<I32s", self.app, self.name.encode()[:32])

    def _authorize(self, challenge: bytes) -> bytes:
        self._nonce, self._due = self.random(32), AUTHORIZATION_ID
        data = bytes((BRIDGE,)) + self._named() + self._nonce
        return frame(AUTHORIZATION, self._mac(data + challenge) + data)

    def _confirm(self, body: bytes) -> bytes:
        proof, data = body[:32], body[32:]
        if not hmac.compare_digest(proof, self._mac(data + self._nonce)):
            raise WrongLock("the lock can not prove its key")
        self._auth, self._due = data[:4], STATUS
        return frame(CONFIRMATION, self._mac(self._auth + data[20:]) + self._auth)

    def _authorize_ultra(self) -> bytes:
        self._due = AUTHORIZATION_ID
        body = self._named() + struct.pack("<I", self.pin)
        return Sealed(self._key, _ULTRA_PAIRING).seal(AUTHORIZATION, body, self.random(24))

    def _finish_ultra(self, command: int, body: bytes) -> Paired:
        if command == ERROR:
            raise Refused(f"the lock refused: {body[:1].hex()}")
        if command != AUTHORIZATION_ID or len(body) < 20:
            raise BadFrame("not the frame that is due")
        return Paired(self._lock, body[:4])
