"""Visitor passes: the ways to cheat with a signature or a key, and what the signed flags allow."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nacl.bindings import crypto_core_ed25519_add

from lintel.edge.model import Reason
from lintel.edge.passes import (
    REVIEW,
    ROTATING_ONLY,
    Claims,
    PassKey,
    base45_encode,
    issue,
    verify,
)

from .pass_vectors import (
    CLAIMS,
    IDENTITY,
    KEYS,
    PUBLIC,
    SEED,
    SITE,
    TOKEN,
    L,
    P,
    bad,
    message,
    openssl_accepts,
    static,
    with_signature,
)

# --- the twelve ways to cheat with a signature, and more


def test_a8_1_each_flipped_bit():
    good = static(TOKEN)
    for bit in range(512):
        flipped = bytearray(good.signature)
        flipped[bit // 8] ^= 1 << bit % 8
        assert verify(with_signature(bytes(flipped)), KEYS, SITE) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("length", [0, 1, 32, 63])
def test_a8_2_3_short_and_empty_signature(length):
    text = "L1:" + base45_encode((CLAIMS.pack() + static(TOKEN).signature)[: 15 + length])
    assert verify(static(text), KEYS, SITE) is Reason.BAD_SIGNATURE


def test_a8_4_algorithm_none():
    bad("L1:" + base45_encode(b"\x00" + TOKEN.encode()[1:80]))
    assert verify(with_signature(bytes(64)), KEYS, SITE) is Reason.BAD_SIGNATURE


def test_a8_5_rsa_blob():
    blob = hashlib.shake_128(b"rsa").digest(256)
    bad("L1:" + base45_encode(CLAIMS.pack() + blob))
    assert verify(with_signature(blob), KEYS, SITE) is Reason.BAD_SIGNATURE
    assert verify(with_signature(blob[:64]), KEYS, SITE) is Reason.BAD_SIGNATURE


ORDER_8 = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
SMALL = [
    IDENTITY,
    bytes(32),  # order 4
    (P - 1).to_bytes(32, "little"),  # order 2
    ORDER_8,
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
]
NON_CANONICAL = [
    (P + 1).to_bytes(32, "little"),  # y = 1 again
    P.to_bytes(32, "little"),  # y = 0 again
    b"\xff" * 32,
    (1 | 1 << 255).to_bytes(32, "little"),  # x = 0 with the sign bit
    (P - 1 | 1 << 255).to_bytes(32, "little"),
]


@pytest.mark.parametrize("public", SMALL + NON_CANONICAL)
def test_a8_6_7_small_order_and_non_canonical_keys(public):
    for r in (IDENTITY, public):
        forged = with_signature(r + bytes(32))
        assert verify(forged, {7: PassKey(7, public, SITE)}, SITE) is Reason.UNTRUSTED_KEY


def test_a8_6_control_another_library_lets_a_small_order_key_verify_what_nobody_signed():
    assert openssl_accepts(IDENTITY, IDENTITY + bytes(32), message())


def test_a8_8_a_key_with_a_small_part():
    mixed = crypto_core_ed25519_add(PUBLIC, ORDER_8)
    assert verify(static(TOKEN), {7: PassKey(7, mixed, SITE)}, SITE) is Reason.UNTRUSTED_KEY


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a8_8_a_key_of_the_wrong_length(length):
    assert verify(static(TOKEN), {7: PassKey(7, bytes(length), SITE)}, SITE) is Reason.UNTRUSTED_KEY


def test_a8_9_s_beyond_the_order():
    good = static(TOKEN).signature
    s = int.from_bytes(good[32:], "little")
    for more in range(1, 15):
        if (s + more * L).bit_length() <= 256:
            second = good[:32] + (s + more * L).to_bytes(32, "little")
            assert verify(with_signature(second), KEYS, SITE) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("r", [IDENTITY, (P + 1).to_bytes(32, "little"), (1 | 1 << 255).to_bytes(32, "little")])
def test_a8_10_small_order_r_though_the_equation_holds(r):
    digest = hashlib.sha512(SEED).digest()
    scalar = (int.from_bytes(digest[:32], "little") & ((1 << 254) - 8)) | 1 << 254
    h = int.from_bytes(hashlib.sha512(r + PUBLIC + message()).digest(), "little") % L
    signature = r + (h * scalar % L).to_bytes(32, "little")
    assert verify(with_signature(signature), KEYS, SITE) is Reason.BAD_SIGNATURE
    if r == IDENTITY:
        assert openssl_accepts(PUBLIC, signature, message()), "control: the forgery is well made"


@pytest.mark.parametrize(
    ("retired", "reason"), [(0.0, Reason.UNTRUSTED_KEY), (-1.0, Reason.UNTRUSTED_KEY), (0.5, None)]
)
def test_a8_11_retired_key(retired, reason):
    keys = {7: PassKey(7, PUBLIC, SITE, retired_at=CLAIMS.valid_from + retired)}
    assert verify(static(TOKEN), keys, SITE) is reason


def test_a8_12_unknown_key_and_policy_key():
    assert verify(static(TOKEN), {}, SITE) is Reason.UNTRUSTED_KEY
    assert verify(static(TOKEN), {8: KEYS[7]}, SITE) is Reason.UNTRUSTED_KEY
    policy = PassKey(7, PUBLIC, SITE, role="policy")  # type: ignore[arg-type]
    assert verify(static(TOKEN), {7: policy}, SITE) is Reason.UNTRUSTED_KEY


def test_a8_another_key_and_another_context():
    other = issue(bytes(32), SITE, CLAIMS)
    assert verify(static(other), KEYS, SITE) is Reason.BAD_SIGNATURE
    signer = Ed25519PrivateKey.from_private_bytes(SEED)
    for context in (b"", b"lintel-pass/2" + SITE.to_bytes(4, "big"), b"lintel-pass/1"):
        assert verify(with_signature(signer.sign(context + CLAIMS.pack())), KEYS, SITE) is Reason.BAD_SIGNATURE


def test_the_signature_covers_the_bytes_as_scanned():
    other = Claims(1, 0, 7, 123456789, 1760000000 // 60, 65535, 0xFFFF, 0)
    text = "L1:" + base45_encode(other.pack() + static(TOKEN).signature)
    assert verify(static(text), KEYS, SITE) is Reason.BAD_SIGNATURE


# --- flags


def test_a_guard_post_may_only_sign_for_review():
    keys = {7: PassKey(7, PUBLIC, SITE, role="delegate")}
    reviewed = Claims(1, REVIEW, 7, 1, 29333333, 480, 1, 0)
    assert reviewed.review
    assert verify(static(issue(SEED, SITE, reviewed)), keys, SITE) is None
    assert verify(static(issue(SEED, SITE, CLAIMS)), keys, SITE) is Reason.UNTRUSTED_KEY
    assert verify(static(issue(SEED, SITE, reviewed)), KEYS, SITE) is None


def test_a_rotating_only_pass_is_not_good_on_paper():
    token = issue(SEED, SITE, Claims(1, ROTATING_ONLY, 7, 1, 29333333, 480, 1, 0))
    assert verify(static(token), KEYS, SITE) is Reason.METHOD_DISABLED


def test_a_pass_for_no_door():
    token = issue(SEED, SITE, Claims(1, 0, 7, 1, 29333333, 480, 0, 0))
    assert verify(static(token), KEYS, SITE) is Reason.WRONG_SCOPE
