"""Pairing with a Nuki, the lock's side: five steps in the clear; of an Ultra the last one sealed, with the PIN."""

import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass

from nacl.bindings import crypto_box_beforenm
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from lintel.simulators import ble_nuki_wire as wire

NOBODY = b"\x7f\xff\xff\xff"
"""The user id that stands in the sealed step of an Ultra."""


@dataclass(frozen=True, slots=True)
class Applicant:
    """Who was paired."""

    user: int
    app: int
    name: str
    kind: int
    key: bytes


class Pairing:
    """One connection. `received` returns the answer. `number` gives the next user id, `keep` is told who was paired."""

    def __init__(
        self, private: bytes, public: bytes, *, window: Callable[[], bool], number: Callable[[], int],
        keep: Callable[[Applicant], None], pin: int | None,
    ) -> None:  # fmt: skip
        self._private, self._public = private, public
        self._window, self._number, self._keep, self._pin = window, number, keep, pin
        self._step = 0
        self._peer = self._key = self._nonce = b""
        self._applicant: Applicant | None = None

    def received(self, data: bytes) -> bytes:
        """The answer to a frame. `pin` not None: an Ultra, whose fourth step comes sealed."""
        if self._pin is not None and self._step == 3:
            return self._sealed(data)
        got = wire.unframe(data)
        if got is None:
            return wire.frame(wire.ERROR, bytes((wire.BAD_CRC, 0, 0)))
        _, command, body = got
        if not self._window():
            return self._refuse(wire.NOT_PAIRING, command)
        if command == wire.REQUEST_DATA and body == b"\x03\x00":
            self._step = 1
            return wire.frame(wire.PUBLIC_KEY, self._public)
        if command == wire.PUBLIC_KEY and self._step == 1 and len(body) == 32:
            self._step, self._peer, self._key = 2, body, crypto_box_beforenm(body, self._private)
            return self._challenge()
        if command == wire.AUTHENTICATOR and self._step == 2 and self._proved(body, self._peer + self._public):
            self._step = 3
            return self._challenge() if self._pin is None else wire.frame(wire.AUTHORIZATION_INFO, b"\x01")
        if command == wire.AUTHORIZATION and self._step == 3 and len(body) == 101 and self._proved(body, body[32:]):
            return self._authorize(body)
        applicant = self._applicant
        user = b"" if applicant is None else applicant.user.to_bytes(4, "little")
        if applicant and command == wire.CONFIRMATION and self._step == 4 and self._proved(body, user):
            self._step = 0
            self._keep(applicant)
            return wire.frame(wire.STATUS, b"\0")
        return self._refuse(wire.BAD_PROOF if self._step > 1 else wire.BAD_PARAMETER, command)

    def _proved(self, body: bytes, over: bytes) -> bool:
        return hmac.compare_digest(hmac.digest(self._key, over + self._nonce, hashlib.sha256), body[:32])

    def _challenge(self) -> bytes:
        self._nonce = os.urandom(32)
        return wire.frame(wire.CHALLENGE, self._nonce)

    def _apply(self, kind: int, app: bytes, name: bytes) -> Applicant:
        text = name.rstrip(b"\0").decode("utf-8", "replace")
        self._applicant = Applicant(self._number(), int.from_bytes(app, "little"), text, kind, self._key)
        return self._applicant

    def _authorize(self, body: bytes) -> bytes:
        theirs, self._nonce, self._step = body[-32:], os.urandom(32), 4
        applicant = self._apply(body[32], body[33:37], body[37:69])
        answer = applicant.user.to_bytes(4, "little") + os.urandom(16) + self._nonce
        proof = hmac.digest(self._key, answer + theirs, hashlib.sha256)
        return wire.frame(wire.AUTHORIZATION_ID, proof + answer)

    def _sealed(self, data: bytes) -> bytes:
        self._step = 0
        try:
            clear = SecretBox(self._key).decrypt(data[:24] + data[30:])
        except (CryptoError, ValueError):
            return self._refuse(wire.BAD_PROOF, wire.AUTHORIZATION)
        got = wire.unframe(clear, 4)
        if got is None or got[:2] != (NOBODY, wire.AUTHORIZATION) or len(got[2]) != 40:
            return self._refuse(wire.BAD_PARAMETER, wire.AUTHORIZATION)
        body = got[2]
        if int.from_bytes(body[36:], "little") != self._pin:
            return wire.seal(self._key, NOBODY, wire.ERROR, bytes((wire.BAD_PIN, wire.AUTHORIZATION, 0)))
        applicant = self._apply(0, body[:4], body[4:36])
        self._keep(applicant)
        answer = applicant.user.to_bytes(4, "little") + os.urandom(16)
        return wire.seal(self._key, NOBODY, wire.AUTHORIZATION_ID, answer)

    def _refuse(self, code: int, command: int) -> bytes:
        self._step = 0
        return wire.frame(wire.ERROR, bytes((code,)) + command.to_bytes(2, "little"))
