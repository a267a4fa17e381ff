"""The secure channel of OSDP: AES-128 handshake, a MAC chain over every frame, encrypted data. Sans-IO.

A command's MAC and encryption start from the last MAC of the reader, a reply's from ours, so that a frame fits one
place of one session only. A lost reply is recovered by repeating the identical command; anything else breaks the chain.
Source: OSDP 2.2, annex D.
"""

import hmac
from itertools import pairwise
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from lintel.edge.osdp.frames import Packet, check, head

DEFAULT_KEY: Final = bytes(range(0x30, 0x40))
"""SCBK-D: printed in the standard. It protects nothing; it only carries a new key, inside an install window."""

_PLAIN, _CIPHERED = b"\x02\x15", b"\x02\x17"
PLAIN_REPLY: Final = 0x16
"""Security block of a reply without data: only its MAC protects it."""
_CIPHERED_REPLY: Final = 0x18
_BLOCK: Final = 16
_ONES: Final = (1 << 128) - 1


def patterned(key: bytes) -> bool:
    """Whether a key can be guessed: not 16 bytes, one byte repeated, a constant step, or SCBK-D (which is one)."""
    return len(key) != _BLOCK or len({(b - a) & 0xFF for a, b in pairwise(key)}) == 1


class _Aes:
    """AES of single blocks with one key. The contexts are kept: making one costs ten times a block."""

    __slots__ = ("decrypt", "encrypt")

    def __init__(self, key: bytes) -> None:
        cipher = Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305  single blocks; chained below as the standard says
        self.encrypt = cipher.encryptor().update
        self.decrypt = cipher.decryptor().update


class Handshake:
    """One attempt with one key. `default` says that it is SCBK-D. Holds key material; `repr` shows none."""

    def __init__(self, key: bytes, rnd_a: bytes, *, default: bool) -> None:
        self.rnd_a, self.default = rnd_a, default
        base, seed = _Aes(key), rnd_a[:6] + bytes(8)
        self._enc, self._mac1, self._mac2 = (
            _Aes(base.encrypt(kind + seed)) for kind in (b"\x01\x82", b"\x01\x01", b"\x01\x02")
        )
        self._answer = b""

    @property
    def block(self) -> bytes:
        """The last byte of the handshake's security blocks: which kind of key it is about."""
        return b"\x00" if self.default else b"\x01"

    def accept(self, data: bytes) -> bool:
        """Whether CCRYPT's data (cUID 8, RndB 8, cryptogram 16) proves that the reader has the key."""
        if len(data) != 32:
            return False
        rnd_b, cryptogram = data[8:16], data[16:]
        proof = self._enc.encrypt(self.rnd_a + rnd_b)
        self._answer = self._enc.encrypt(rnd_b + self.rnd_a)
        return hmac.compare_digest(proof, cryptogram)

    @property
    def cryptogram(self) -> bytes:
        """SCRYPT's data: our proof. After `accept`."""
        return self._answer

    def session(self, data: bytes) -> "Session | None":
        """The session that RMAC_I's data begins; None where the reader computed something else."""
        first = self._mac2.encrypt(self._mac1.encrypt(self._answer))
        return Session(self._enc, self._mac1, self._mac2, first) if hmac.compare_digest(first, data) else None


class Session:
    """An established channel, the panel's side. `seal` each command once, `open` each reply once, in turn."""

    def __init__(self, enc: _Aes, mac1: _Aes, mac2: _Aes, first: bytes) -> None:
        self._enc, self._mac1, self._mac2 = enc, mac1, mac2
        self._ours = self._theirs = first

    def seal(self, address: int, sequence: int, code: int, data: bytes = b"") -> bytes:
        """The next command as it goes on the line. Sending it again means sending the same bytes again."""
        scb = _PLAIN
        if data:
            scb = _CIPHERED
            data = self._encrypt(data + b"\x80" + bytes(-(len(data) + 1) % _BLOCK), self._theirs)
        frame = head(address, sequence, code, data=data, scb=scb, extra=6)
        self._ours = self._chain(frame, self._theirs)
        frame += self._ours[:4]
        return frame + check(frame)

    def open(self, packet: Packet) -> bytes | None:
        """The data of the reply to the last command. None, and nothing changes, where it is not that."""
        ciphered = packet.block == _CIPHERED_REPLY
        if (packet.block != PLAIN_REPLY and not ciphered) or len(packet.scb) != 2:
            return None
        mac = self._chain(packet.covered, self._ours)
        if not hmac.compare_digest(mac[:4], packet.mac):
            return None
        if not ciphered:
            self._theirs = mac
            return packet.data
        if not packet.data or len(packet.data) % _BLOCK:
            return None
        padded = self._decrypt(packet.data, self._ours).rstrip(b"\0")
        if padded[-1:] != b"\x80":
            return None
        self._theirs = mac
        return padded[:-1]

    def _chain(self, data: bytes, start: bytes) -> bytes:
        """The 16 bytes of a MAC: CBC with the first key, the last block with the second, padded if it is not full."""
        if rest := len(data) % _BLOCK:
            data += b"\x80" + bytes(_BLOCK - 1 - rest)
        value = int.from_bytes(start)
        last = len(data) - _BLOCK
        for at in range(0, last, _BLOCK):
            block = int.from_bytes(data[at : at + _BLOCK]) ^ value
            value = int.from_bytes(self._mac1.encrypt(block.to_bytes(_BLOCK)))
        return self._mac2.encrypt((int.from_bytes(data[last:]) ^ value).to_bytes(_BLOCK))

    def _encrypt(self, data: bytes, start: bytes) -> bytes:
        value, out = int.from_bytes(start) ^ _ONES, b""
        for at in range(0, len(data), _BLOCK):
            block = self._enc.encrypt((int.from_bytes(data[at : at + _BLOCK]) ^ value).to_bytes(_BLOCK))
            value = int.from_bytes(block)
            out += block
        return out

    def _decrypt(self, data: bytes, start: bytes) -> bytes:
        value, out = int.from_bytes(start) ^ _ONES, b""
        for at in range(0, len(data), _BLOCK):
            block = data[at : at + _BLOCK]
            out += (int.from_bytes(self._enc.decrypt(block)) ^ value).to_bytes(_BLOCK)
            value = int.from_bytes(block)
        return out
