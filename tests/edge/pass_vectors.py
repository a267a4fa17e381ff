"""The published vectors of visitor passes, and short ways to read, forge and judge one."""

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from lintel.edge.model import Reason
from lintel.edge.passes import (
    BadPass,
    Claims,
    PassKey,
    StaticPass,
    parse,
)

SEED, SITE, SECRET = bytes(range(32)), 0x00C0FFEE, bytes(range(0x20, 0x40))
CLAIMS = Claims(1, 0, 7, 123456789, 1760000000 // 60, 480, 0x00FF, 3)
TOKEN = (
    "L1:812%-0V-P.90-5JUA0U50LM0XRO7 HE/E YO7HHOT58 UPPNL4RQ/9ZRF.WJV$D14L31M+GMAASN1U-GT5X3NU1J 3X0QZV5/FB2+GF:2SW0"
    "L0MZ76%0E20"
)
CODE = "L2:%-0V-PL+5BQ1XW35GWN+5F9D"
NOW = 1760000000.0
PUBLIC = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()
KEYS = {7: PassKey(7, PUBLIC, SITE)}
L = 2**252 + 27742317777372353535851937790883648493
P = 2**255 - 19
IDENTITY = (1).to_bytes(32, "little")


def static(text: str) -> StaticPass:
    found = parse(text)
    assert isinstance(found, StaticPass)
    return found


def bad(text: str) -> bool:
    with pytest.raises(BadPass) as caught:
        parse(text)
    assert caught.value.reason is Reason.BAD_FORMAT
    assert len(text) < 4 or text not in str(caught.value)
    return True


def with_signature(signature: bytes, claims: Claims = CLAIMS) -> StaticPass:
    return StaticPass(claims, signature, claims.pack())


def openssl_accepts(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def message(claims: Claims = CLAIMS, site: int = SITE) -> bytes:
    return b"lintel-pass/1" + site.to_bytes(4, "big") + claims.pack()
