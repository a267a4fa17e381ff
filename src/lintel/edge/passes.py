"""Visitor passes: the text in the QR code, signed or rotating. Pure; the bytes: docs/pass-format.md.

A static pass `L1:` is 15 bytes of claims and an Ed25519 signature that binds the site; it works on paper. A rotating
code `L2:` is a pass id, a 30 s step and a MAC under the secret of that pass; a screenshot of it dies with its step.
Time, doors, revocation and uses are judged by policy, not here.
"""

import hashlib
import hmac
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from nacl.bindings import crypto_core_ed25519_is_valid_point
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from lintel.edge.errors import LintelError
from lintel.edge.model import Reason

STATIC = "L1:"
ROTATING = "L2:"
MAX_LENGTH = 127
"""Longest token in characters: terminals store fewer than 128 bytes."""
STEP_S = 30
"""How long one rotating code is shown (s)."""
REVIEW = 0b01
"""Flag: signed at the guard post with a delegated key; to be looked at later."""
ROTATING_ONLY = 0b10
"""Flag: not good as a static code; the phone must show rotating codes."""

_CONTEXT = b"lintel-pass/1"
_ROT_INFO = b"lintel-pass/rot"
_CLAIMS = struct.Struct(">BBIIHHB")
_CODE = struct.Struct(">IH10s")
_SIGNATURE = 64
_U32 = 1 << 32
_LIMITS = {
    "format_": (1, 1),
    "flags": (0, REVIEW | ROTATING_ONLY),
    "key_id": (1, 255),
    "pass_id": (0, _U32 - 1),
    "not_before": (0, _U32 - 1),
    "duration_min": (1, 65535),
    "group_mask": (0, 65535),
    "uses": (0, 255),
}


class BadPass(LintelError):
    """The text is no pass. `reason` is the word for the journal; the text itself is never quoted."""

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason = reason
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a static pass says. `not_before` in Unix minutes, `duration_min` in minutes, `uses` 0 is unlimited.

    Valid during [valid_from, valid_to). Raises ValueError when a field is out of its range.
    """

    format_: int
    flags: int
    key_id: int
    pass_id: int
    not_before: int
    duration_min: int
    group_mask: int
    uses: int

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be {low} to {high}")

    @property
    def valid_from(self) -> int:
        """First second of validity, Unix time."""
        return self.not_before * 60

    @property
    def valid_to(self) -> int:
        """First second after validity, Unix time."""
        return (self.not_before + self.duration_min) * 60

    @property
    def groups(self) -> frozenset[int]:
        """Numbers of the door groups, 0 to 15: the bits that are set in the mask."""
        return frozenset(n for n in range(16) if self.group_mask >> n & 1)

    @property
    def review(self) -> bool:
        """Signed with a delegated key."""
        return bool(self.flags & REVIEW)

    @property
    def rotating_only(self) -> bool:
        """Not good as a static code."""
        return bool(self.flags & ROTATING_ONLY)

    def pack(self) -> bytes:
        """The 15 bytes of the wire."""
        return _CLAIMS.pack(
            self.format_ << 4 | self.flags,
            self.key_id,
            self.pass_id,
            self.not_before,
            self.duration_min,
            self.group_mask,
            self.uses,
        )


@dataclass(frozen=True, slots=True)
class StaticPass:
    """A static pass as scanned, not yet verified. `signed` is the 15 claim bytes; `signature` may have any length."""

    claims: Claims
    signature: bytes = field(repr=False)
    signed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RotatingCode:
    """A rotating code as scanned, not yet checked. `step` is the low 16 bits of Unix time / 30."""

    pass_id: int
    step: int
    mac: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PassKey:
    """A public key that may sign passes of one site. Retired (Unix seconds), it is good only for older passes."""

    key_id: int
    public: bytes
    site: int
    retired_at: float | None = None
    role: Literal["issuer", "delegate"] = "issuer"


def parse(text: str) -> StaticPass | RotatingCode:
    """Read a token. Raises BadPass; total over all strings.

    A token with whole claims and a signature of the wrong length is read; `verify` refuses it.
    """
    if len(text) > MAX_LENGTH:
        raise BadPass(Reason.BAD_FORMAT, f"a pass is at most {MAX_LENGTH} characters")
    prefix, body = text[:3], text[3:]
    try:
        if prefix == STATIC:
            return _static(base45_decode(body))
        if prefix == ROTATING:
            return RotatingCode(*_CODE.unpack(base45_decode(body)))
    except (ValueError, struct.error) as error:
        raise BadPass(Reason.BAD_FORMAT, f"not a whole {prefix} token") from error
    raise BadPass(Reason.BAD_FORMAT, f"a pass begins with {STATIC} or {ROTATING}")


def verify(
    pass_: StaticPass, keys: Mapping[int, PassKey], site: int, other_sites: Collection[int] = ()
) -> Reason | None:
    """Why a static pass is refused, or None when its signature is good here and now is for policy to judge.

    `untrusted_key`: not pinned, of another site or role, unusable, or retired before the pass began. `bad_signature`:
    not signed by that key for any known site. `wrong_scope`: signed for one of `other_sites`, or for no door at all.
    `method_disabled`: good, but only as rotating codes. The algorithm is fixed by the key, never by the pass; libsodium
    refuses non-canonical and small-order encodings.
    """
    claims = pass_.claims
    key = keys.get(claims.key_id)
    if key is None or key.role not in ("issuer", "delegate") or not _usable(key.public):
        return Reason.UNTRUSTED_KEY
    if not _signed(pass_, key, site):
        return Reason.WRONG_SCOPE if any(_signed(pass_, key, other) for other in other_sites) else Reason.BAD_SIGNATURE
    if key.site != site or (key.role == "delegate" and not claims.review):
        return Reason.UNTRUSTED_KEY
    if key.retired_at is not None and claims.valid_from >= key.retired_at:
        return Reason.UNTRUSTED_KEY
    if not claims.group_mask:
        return Reason.WRONG_SCOPE
    return Reason.METHOD_DISABLED if claims.rotating_only else None


def issue(seed: bytes, site: int, claims: Claims) -> str:
    """Sign a static pass with the issuer's 32-byte Ed25519 seed: 122 characters, QR version 5-M."""
    signed = claims.pack()
    return STATIC + base45_encode(signed + SigningKey(seed).sign(_message(site, signed)).signature)


def rotating(secret: bytes, pass_id: int, now: float) -> str:
    """The code of a rotating pass at `now` (Unix seconds): 27 characters. `secret` is the 32 bytes of that pass."""
    step = int(now // STEP_S)
    return ROTATING + base45_encode(_CODE.pack(pass_id, step & 0xFFFF, _mac(secret, pass_id, step)))


def check_step(code: RotatingCode, secret: bytes, now: float) -> int | Reason:
    """The full step of a good code, at most one step off `now`; else why not. Use each step once per direction.

    `replayed`: genuine, but of another time (a screenshot, a wrong clock). `bad_signature`: of another pass.
    """
    current = int(now // STEP_S)
    off = ((code.step - current + 0x8000) & 0xFFFF) - 0x8000  # the nearest step with these low 16 bits
    step = current + off
    if step < 0 or not hmac.compare_digest(_mac(secret, code.pass_id, step), code.mac):
        return Reason.BAD_SIGNATURE
    return step if abs(off) <= 1 else Reason.REPLAYED


_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
_VALUE = {letter: value for value, letter in enumerate(_ALPHABET)}


def base45_encode(data: bytes) -> str:
    """RFC 9285: two bytes become three characters, a last single byte becomes two."""
    letters = []
    for n in range(0, len(data), 2):
        pair = data[n : n + 2]
        value = int.from_bytes(pair)
        for _ in range(len(pair) + 1):
            value, digit = divmod(value, 45)
            letters.append(_ALPHABET[digit])
    return "".join(letters)


def base45_decode(text: str) -> bytes:
    """RFC 9285, strict: no other characters, no lone last character, no group above its range. Raises ValueError."""
    data = bytearray()
    for n in range(0, len(text), 3):
        group = text[n : n + 3]
        value = 0
        for letter in reversed(group):
            digit = _VALUE.get(letter)
            if digit is None:
                raise ValueError("not base45: a character outside the alphabet")
            value = value * 45 + digit
        if len(group) == 1 or value >> 8 * (len(group) - 1):
            raise ValueError("not base45: a group that no bytes give")
        data += value.to_bytes(len(group) - 1)
    return bytes(data)


def _static(data: bytes) -> StaticPass:
    signed, signature = data[: _CLAIMS.size], data[_CLAIMS.size :]
    head, *rest = _CLAIMS.unpack(signed)
    return StaticPass(Claims(head >> 4, head & 0x0F, *rest), signature, signed)


def _message(site: int, signed: bytes) -> bytes:
    return _CONTEXT + site.to_bytes(4) + signed


def _signed(pass_: StaticPass, key: PassKey, site: int) -> bool:
    if len(pass_.signature) != _SIGNATURE:
        return False
    try:
        VerifyKey(key.public).verify(_message(site, pass_.signed), pass_.signature)
    except BadSignatureError:
        return False
    return True


@lru_cache(maxsize=256)
def _usable(public: bytes) -> bool:
    """Whether the key is a canonical point of the main subgroup: one of small order verifies what nobody signed."""
    return len(public) == 32 and crypto_core_ed25519_is_valid_point(public)


def _step_key(secret: bytes, pass_id: int) -> bytes:
    """HKDF-SHA256 (RFC 5869) with 32 zero bytes of salt and one block of output."""
    if len(secret) != 32:
        raise ValueError("the secret of a rotating pass is 32 bytes")
    inner = hmac.digest(bytes(32), secret, hashlib.sha256)
    return hmac.digest(inner, _ROT_INFO + pass_id.to_bytes(4) + b"\x01", hashlib.sha256)


def _mac(secret: bytes, pass_id: int, step: int) -> bytes:
    message = pass_id.to_bytes(4) + step.to_bytes(8)
    return hmac.digest(_step_key(secret, pass_id), message, hashlib.sha256)[:10]
