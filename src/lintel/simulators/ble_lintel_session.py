"""The lock's side of the open "Lintel lock" profile v1, without a radio: messages in, messages out.

The gateway's side is written elsewhere and by somebody else; what both share is the description of the bytes.
"""

import hashlib
import hmac
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAX_MESSAGE = 512
NOBODY = bytes(8)


class Code(IntEnum):
    """Result and refusal codes."""

    OK = 0
    NOT_AUTHORISED = 1
    BAD_SIGNATURE = 2
    CHALLENGE = 3
    BUSY = 4
    JAMMED = 5
    BATTERY_LOW = 6
    TIME = 7
    PARAMETER = 8
    RATE = 9
    PAIRING_CLOSED = 0xA
    NEVER_SEEN = 0xB


class HangUp(Exception):
    """Disconnect without another word."""


class Fragments:
    """Puts messages together, and takes them apart."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def feed(self, fragment: bytes) -> bytes | None:
        """A whole message with its last fragment. One out of turn clears what there was."""
        if not fragment:
            return None
        index, last = fragment[0] & 0x7F, bool(fragment[0] & 0x80)
        if index != len(self._parts) or sum(map(len, self._parts)) + len(fragment) - 1 > MAX_MESSAGE:
            self._parts.clear()
            if index:
                return None
        self._parts.append(fragment[1:])
        if not last:
            return None
        message = b"".join(self._parts)
        self._parts.clear()
        return message

    @staticmethod
    def cut(message: bytes, size: int) -> list[bytes]:
        """Fragments of at most `size` bytes with their head."""
        room = size - 1
        parts = [message[i : i + room] for i in range(0, len(message), room)] or [b""]
        return [bytes((i | (0x80 if i == len(parts) - 1 else 0),)) + part for i, part in enumerate(parts)]


@dataclass(frozen=True, slots=True)
class Command:
    """An order that came through the challenge."""

    id: bytes
    action: int
    parameter: int
    not_after: int


@dataclass(slots=True)
class Hooks:
    """What a session asks of its lock. Everything is answered at once."""

    key: Ed25519PrivateKey
    secret: bytes = field(repr=False)
    gateways: Callable[[], dict[bytes, bytes]]
    pairing_open: Callable[[], bool]
    paired: Callable[[bytes, str], bool]
    greeting: Callable[[], tuple[int, int, int]]
    accept: Callable[[Command], Code]
    outcome: Callable[[bytes], tuple[int, int, int, int] | Literal["moving"] | None]
    state: Callable[[], bytes]
    log: Callable[[int, int], tuple[list[bytes], int]]
    set_time: Callable[[int], None]
    bad_handshake: Callable[[], None]
    deaf: Callable[[], bool]
    now: Callable[[], float]
    lifetime_ms: int = 5000
    weak: frozenset[str] = frozenset()
    ephemeral: Callable[[], X25519PrivateKey] = X25519PrivateKey.generate
    random: Callable[[int], bytes] = os.urandom


class Session:
    """One connection. `received` takes a whole message and returns what the lock says to it."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._gateway = NOBODY
        self._hello = self._ack = b""
        self._shared = b""
        self._in: ChaCha20Poly1305 | None = None
        self._out: ChaCha20Poly1305 | None = None
        self._counter_in = self._counter_out = 0
        self._challenge: tuple[bytes, float] | None = None
        self.waits_for: set[bytes] = set()
        """Commands whose RESULT this gateway is to get when the motor stands."""

    @property
    def open(self) -> bool:
        """Whether both ends have proved their keys."""
        return self._in is not None

    def received(self, message: bytes) -> list[bytes]:
        """Answers, in order. Raises HangUp."""
        if not message:
            return []
        if self._in is not None:
            return [self.seal(inner) for inner in self._sealed(message)]
        if self._hooks.deaf():
            raise HangUp
        handler = {0x01: self._on_hello, 0x03: self._on_auth, 0x05: self._on_pair}.get(message[0])
        return [] if handler is None else handler(message)

    # Handshake.

    def _refuse(self, code: Code, *, bad: bool = True) -> list[bytes]:
        self._hello = b""
        if bad:
            self._hooks.bad_handshake()
        return [bytes((0x07, code))]

    def _on_hello(self, message: bytes) -> list[bytes]:
        if len(message) != 43 or message[1:3] != b"\x01\x01":
            return self._refuse(Code.PARAMETER)
        gateway = message[3:11]
        if gateway == NOBODY and not self._hooks.pairing_open():
            return self._refuse(Code.PAIRING_CLOSED, bad=False)
        if gateway != NOBODY and gateway not in self._hooks.gateways():
            return self._refuse(Code.NOT_AUTHORISED)
        ephemeral = self._hooks.ephemeral()
        try:
            self._shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(message[11:]))
        except ValueError:  # a point of small order
            return self._refuse(Code.PARAMETER)
        public = ephemeral.public_key().public_bytes_raw()
        th1 = hashlib.sha256(message + public).digest()
        self._gateway, self._hello = gateway, message
        self._ack = b"\x02" + public + self._hooks.key.sign(b"lintel-lock/1 lock" + th1)
        return [self._ack]

    def _on_auth(self, message: bytes) -> list[bytes]:
        if not self._hello or self._gateway == NOBODY or len(message) != 65:
            return self._refuse(Code.PARAMETER)
        th2 = hashlib.sha256(self._hello + self._ack).digest()
        known = Ed25519PublicKey.from_public_bytes(self._hooks.gateways()[self._gateway])
        try:
            known.verify(message[1:], b"lintel-lock/1 gw" + th2)
        except InvalidSignature:
            return self._refuse(Code.BAD_SIGNATURE)
        keys = HKDF(SHA256(), 64, th2, b"lintel-lock/1 keys").derive(self._shared)
        self._in, self._out = ChaCha20Poly1305(keys[:32]), ChaCha20Poly1305(keys[32:])
        boots, seq, idle = self._hooks.greeting()
        return [self.seal(struct.pack("<BHIH", 0x04, boots, seq, idle))]

    def _on_pair(self, message: bytes) -> list[bytes]:
        if not self._hello or self._gateway != NOBODY or len(message) != 81:
            return self._refuse(Code.PARAMETER)
        if not self._hooks.pairing_open():
            return self._refuse(Code.PAIRING_CLOSED, bad=False)
        th1 = hashlib.sha256(self._hello + self._ack[1:33]).digest()
        public, name, proof = message[1:33], message[33:49], message[49:]
        wanted = hmac.digest(self._hooks.secret, b"lintel-lock/1 pair" + th1 + public + name, "sha256")
        if not hmac.compare_digest(wanted, proof):
            return self._refuse(Code.BAD_SIGNATURE)
        if not self._hooks.paired(public, name.rstrip(b"\0").decode("utf-8", "replace")):
            return self._refuse(Code.NOT_AUTHORISED, bad=False)
        ours = self._hooks.key.public_key().public_bytes_raw()
        self._hello = b""
        return [b"\x06" + ours + hmac.digest(self._hooks.secret, b"lintel-lock/1 paired" + th1 + ours, "sha256")]

    # Sealed messages.

    def seal(self, inner: bytes) -> bytes:
        """A message of the lock, with the next number."""
        if self._out is None:
            raise HangUp
        head = b"\x10" + struct.pack("<I", self._counter_out)
        self._counter_out += 1
        return head + self._out.encrypt(head[1:] + bytes(8), inner, head)

    def _sealed(self, message: bytes) -> list[bytes]:
        head, body = message[:5], message[5:]
        if self._in is None or len(message) < 5 + 16 + 1 or head[0] != 0x10:
            raise HangUp
        counter = int.from_bytes(head[1:], "little")
        if counter != self._counter_in and "counter" not in self._hooks.weak:
            raise HangUp
        try:
            inner = self._in.decrypt(head[1:] + bytes(8), body, head)
        except InvalidTag:
            raise HangUp from None
        self._counter_in = counter + 1
        return self._answer(inner[0], inner[1:], inner)

    def _answer(self, kind: int, body: bytes, inner: bytes) -> list[bytes]:
        sizes = {0x20: 0, 0x22: 39, 0x25: 16, 0x26: 0, 0x28: 5, 0x2B: 4}
        if sizes.get(kind) != len(body):
            return [bytes((0x2C, Code.PARAMETER, kind))]
        if kind == 0x20:
            nonce = self._hooks.random(16)
            self._challenge = nonce, self._hooks.now() + self._hooks.lifetime_ms / 1000
            return [b"\x21" + nonce + struct.pack("<H", self._hooks.lifetime_ms)]
        if kind == 0x22:
            return self._command(inner)
        if kind == 0x25:
            stored = self._stored(body)
            return [b"\x23" + body + bytes((Code.NEVER_SEEN,))] if stored is None else stored
        if kind == 0x26:
            return [b"\x27" + self._hooks.state()]
        if kind == 0x28:
            first, most = struct.unpack("<IB", body)
            entries, following = self._hooks.log(first, most)
            return [b"\x29" + entry for entry in entries] + [b"\x2a" + struct.pack("<I", following)]
        self._hooks.set_time(int.from_bytes(body, "little"))
        return []

    def result(self, command: bytes) -> bytes:
        """The RESULT of a command that has one. Raises KeyError."""
        found = self._hooks.outcome(command)
        if not isinstance(found, tuple):
            raise KeyError(command)
        return b"\x24" + command + struct.pack("<BBBI", *found)

    def _stored(self, command: bytes) -> list[bytes] | None:
        found = self._hooks.outcome(command)
        if found == "moving":
            self.waits_for.add(command)
            return []
        return None if found is None else [self.result(command)]

    def _command(self, inner: bytes) -> list[bytes]:
        ident, action, parameter, not_after, nonce = struct.unpack("<x16sBHI16s", inner)
        if "memory" not in self._hooks.weak and (stored := self._stored(ident)) is not None:
            return stored or [b"\x23" + ident + b"\0"]
        code = Code.OK if self._fresh(nonce) else Code.CHALLENGE
        if code is Code.OK:
            code = self._hooks.accept(Command(ident, action, parameter, not_after))
        if code is Code.OK:
            self.waits_for.add(ident)
        return [b"\x23" + ident + bytes((code,))]

    def _fresh(self, nonce: bytes) -> bool:
        if "nonce" in self._hooks.weak:
            return True
        challenge, self._challenge = self._challenge, None  # single use, whatever becomes of the command
        if challenge is None or not hmac.compare_digest(challenge[0], nonce):
            return False
        return self._hooks.now() <= challenge[1] or "lifetime" in self._hooks.weak
