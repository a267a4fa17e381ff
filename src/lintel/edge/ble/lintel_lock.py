"""The gateway's side of a session with a Lintel lock (suite 1): handshake or pairing, then sealed messages.

X25519 for the keys of one connection, Ed25519 for who is who, HKDF-SHA256, ChaCha20-Poly1305 (RFC 8439). Bytes and the
ephemeral private key are handed in. A `BadFrame` or `Refused` ends a session: whoever gets it drops the connection.
"""

import hashlib
import hmac
from typing import Final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lintel.edge.ble.words import KeyRefused, NotYet, WrongLock
from lintel.edge.errors import BadFrame, Refused

SERVICE: Final = "f95c80c0-09dc-48b2-9d77-1ae2a66e1ae8"
INFO: Final = "f95c80c1-09dc-48b2-9d77-1ae2a66e1ae8"
TX: Final = "f95c80c2-09dc-48b2-9d77-1ae2a66e1ae8"
RX: Final = "f95c80c3-09dc-48b2-9d77-1ae2a66e1ae8"

SECRET_BYTES: Final = 16
"""Length of the pairing secret that is printed on a lock."""

_HELLO, _HELLO_ACK, _AUTH, _PAIR, _PAIRED, _REFUSED, _SEALED = 0x01, 0x02, 0x03, 0x05, 0x06, 0x07, 0x10
_CONTEXT: Final = b"lintel-lock/1 "

REFUSALS: Final = {
    1: "not authorised",
    2: "bad signature",
    8: "parameter",
    9: "rate limited",
    0xA: "pairing closed",
}
"""What the code of a REFUSED means, as far as one can be sent in a handshake."""


def public_of(seed: bytes) -> bytes:
    """The Ed25519 public key of a 32-byte seed."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def key_id(public: bytes) -> bytes:
    """How a key is named on the wire: the first 8 bytes of its SHA-256."""
    return hashlib.sha256(public).digest()[:8]


class _Opening:
    """What handshake and pairing share: HELLO, the shared secret, TH1 and TH2."""

    def __init__(self, name: bytes, ephemeral: bytes) -> None:
        self._ephemeral = X25519PrivateKey.from_private_bytes(ephemeral)
        self.hello = bytes((_HELLO, 1, 1)) + name + self._ephemeral.public_key().public_bytes_raw()
        self._ack = b""

    def _take_ack(self, message: bytes) -> None:
        """Note HELLO_ACK, or raise what came in its place."""
        _expect(message, _HELLO_ACK, 97)
        self._ack = message

    @property
    def _th1(self) -> bytes:
        return hashlib.sha256(self.hello + self._ack[1:33]).digest()

    @property
    def _th2(self) -> bytes:
        return hashlib.sha256(self.hello + self._ack).digest()

    def _check_lock(self, public: bytes) -> None:
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(self._ack[33:], _CONTEXT + b"lock" + self._th1)
        except (InvalidSignature, ValueError):
            raise WrongLock("the signature is not that of this lock") from None


class Handshake(_Opening):
    """A session with a paired lock: send `hello`, then what `answer` makes of the lock's reply, then use `channel`.

    `seed`: own Ed25519 seed. `lock`: the lock's public key. `ephemeral`: 32 fresh random bytes.
    """

    def __init__(self, seed: bytes, lock: bytes, ephemeral: bytes) -> None:
        super().__init__(key_id(public_of(seed)), ephemeral)
        self._own, self._lock = Ed25519PrivateKey.from_private_bytes(seed), lock

    def answer(self, message: bytes) -> bytes:
        """AUTH, the answer to HELLO_ACK. Raises BadFrame (WrongLock), KeyRefused or Refused."""
        self._take_ack(message)
        self._check_lock(self._lock)
        return bytes((_AUTH,)) + self._own.sign(_CONTEXT + b"gw" + self._th2)

    def channel(self) -> "Channel":
        """The sealed channel, once AUTH was made. Raises BadFrame when the lock's share is no point of the curve."""
        try:
            shared = self._ephemeral.exchange(X25519PublicKey.from_public_bytes(self._ack[1:33]))
        except ValueError:
            raise BadFrame("no shared secret with this share") from None
        keys = HKDF(SHA256(), 64, self._th2, _CONTEXT + b"keys").derive(shared)
        return Channel(keys[:32], keys[32:])


class Pairing(_Opening):
    """A lock whose pairing window is open learns our key: send `hello`, then `answer`; `paired` gives the lock's key.

    `secret`: the lock's pairing secret, 16 bytes. Whoever knows it is believed, in both directions.
    """

    def __init__(self, public: bytes, name: bytes, secret: bytes, ephemeral: bytes) -> None:
        super().__init__(bytes(8), ephemeral)
        self._public, self._secret = public, secret
        self._name = name[:16].ljust(16, b"\0")

    def answer(self, message: bytes) -> bytes:
        """PAIR, the answer to HELLO_ACK. Raises BadFrame or Refused."""
        self._take_ack(message)
        proof = hmac.digest(self._secret, _CONTEXT + b"pair" + self._th1 + self._public + self._name, "sha256")
        return bytes((_PAIR,)) + self._public + self._name + proof

    def paired(self, message: bytes) -> bytes:
        """The lock's public key, proven by the secret and by its signature. Raises BadFrame or Refused."""
        _expect(message, _PAIRED, 65)
        public, proof = message[1:33], message[33:]
        if not hmac.compare_digest(
            proof, hmac.digest(self._secret, _CONTEXT + b"paired" + self._th1 + public, "sha256")
        ):
            raise WrongLock("the lock does not know the pairing secret")
        self._check_lock(public)
        return public


class Channel:
    """Sealed messages of one connection. Counters begin at 0 and step by one; anything else ends the channel."""

    def __init__(self, out: bytes, into: bytes) -> None:
        self._out, self._in = ChaCha20Poly1305(out), ChaCha20Poly1305(into)
        self._sent = self._received = 0
        self._broken = False

    def seal(self, inner: bytes) -> bytes:
        """The next message to the lock."""
        if self._broken:
            raise BadFrame("this channel is broken")
        head = bytes((_SEALED,)) + self._sent.to_bytes(4, "little")
        self._sent += 1
        return head + self._out.encrypt(head[1:] + bytes(8), inner, head)

    def open(self, message: bytes) -> bytes:
        """What the lock said. Raises BadFrame on a counter or tag that is wrong, for ever after; KeyRefused, Refused.

        A lock that refuses AUTH says so in clear, where its first sealed message would stand.
        """
        if not self._broken and self._received == 0 and message[:1] == bytes((_REFUSED,)):
            self._broken = True
            _expect(message, _SEALED, 0)
        head, body = message[:5], message[5:]
        self._broken = self._broken or head != bytes((_SEALED,)) + self._received.to_bytes(4, "little")
        if self._broken:
            raise BadFrame("no sealed message, or out of order")
        try:
            inner = self._in.decrypt(head[1:] + bytes(8), body, head)
        except InvalidTag:
            self._broken = True
            raise BadFrame("a message that was changed on its way") from None
        self._received += 1
        return inner


def _expect(message: bytes, kind: int, length: int) -> None:
    """Raise unless `message` is of this kind and length."""
    if message[:1] == bytes((_REFUSED,)) and len(message) == 2:
        why = REFUSALS.get(message[1], f"code {message[1]}")
        kind_of = {1: KeyRefused, 2: KeyRefused, 0xA: NotYet}.get(message[1], Refused)
        raise kind_of(f"the lock refused: {why}")
    if message[:1] != bytes((kind,)) or len(message) != length:
        raise BadFrame("not the message that is due")
