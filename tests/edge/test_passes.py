"""Visitor passes: the published vectors, the other libraries as judges, and the ways to cheat with a signature."""

import contextlib
import hashlib
import hmac

import base45
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_core_ed25519_add

from lintel.edge.model import MAX_CREDENTIAL, Method, Reason, credential_bytes
from lintel.edge.passes import (
    MAX_LENGTH,
    REVIEW,
    ROTATING_ONLY,
    BadPass,
    Claims,
    PassKey,
    RotatingCode,
    StaticPass,
    base45_decode,
    base45_encode,
    check_step,
    issue,
    parse,
    rotating,
    verify,
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


# --- vectors


@pytest.mark.parametrize(("data", "text"), [(b"AB", "BB8"), (b"Hello!!", "%69 VD92EX0"), (b"base-45", "UJCLQE7W581")])
def test_base45_vectors(data, text):
    assert base45_encode(data) == text
    assert base45_decode(text) == data


def test_static_vector():
    assert CLAIMS.pack().hex() == "1007075bcd1501bf975501e000ff03"
    assert issue(SEED, SITE, CLAIMS) == TOKEN
    assert len(TOKEN) == 122
    found = static(TOKEN)
    assert found.claims == CLAIMS
    assert found.signature.hex() == (
        "f3c2b88cd4765bc3f6897d2cbef3aaba6dd65c4eda7b899c156d75a6d2ae36b0"
        "fedf48ed92e85e1d8d0d461e22cdcb2d2359d1859a179d05bcae1b30d46ee402"
    )
    assert verify(found, KEYS, SITE) is None
    assert openssl_accepts(PUBLIC, found.signature, message())


def test_rotating_vector():
    assert rotating(SECRET, 123456789, NOW) == CODE
    found = parse(CODE)
    assert found == RotatingCode(123456789, 0x2EAA, bytes.fromhex("0c861d7cfff52eac6879"))
    assert check_step(found, SECRET, NOW) == 58666666


def test_the_key_derivation_agrees_with_another_library():
    key = HKDF(hashes.SHA256(), 32, bytes(32), b"lintel-pass/rot" + (123456789).to_bytes(4, "big")).derive(SECRET)
    assert key.hex() == "d6655f4ae5270260b581f711ff311b0051529024df509dac177d25f9d3135fba"
    mac = hmac.new(key, (123456789).to_bytes(4, "big") + (58666666).to_bytes(8, "big"), "sha256").digest()[:10]
    assert base45.b45decode(CODE[3:])[6:] == mac


def test_what_the_claims_mean():
    assert (CLAIMS.valid_from, CLAIMS.valid_to) == (1759999980, 1759999980 + 480 * 60)
    assert CLAIMS.groups == frozenset(range(8))
    assert not CLAIMS.review
    assert not CLAIMS.rotating_only
    assert credential_bytes(Method.PASS, TOKEN) == TOKEN.encode()
    assert MAX_LENGTH < MAX_CREDENTIAL
    assert repr(static(TOKEN)).count("b'") == 0, "no signature in logs"


# --- base45


@given(st.binary(max_size=90))
def test_base45_agrees_with_the_package(data):
    assert base45_encode(data) == base45.b45encode(data).decode()
    assert base45_decode(base45_encode(data)) == data


@settings(max_examples=500)
@given(st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:a€", max_size=9))
@example("GGW")
@example(":::")
@example("::")
@example("0")
def test_base45_refuses_what_the_package_refuses(text):
    try:
        expected = base45.b45decode(text)
    except (ValueError, UnicodeError):
        with pytest.raises(ValueError, match="base45"):
            base45_decode(text)
    else:
        assert base45_decode(text) == expected
        assert base45_encode(base45_decode(text)) == text


# --- form


@given(st.text())
def test_any_text_is_read_or_refused(text):
    for prefix in ("", "L1:", "L2:"):
        try:
            parse(prefix + text)
        except BadPass as error:
            assert error.reason is Reason.BAD_FORMAT


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(data):
    for prefix in ("", "L1:", "L2:"):
        for text in (prefix + data.decode("latin-1"), prefix + base45_encode(data)):
            try:
                found = parse(text)
            except BadPass:
                continue
            assert isinstance(found, RotatingCode) or verify(found, KEYS, SITE) is not None


@pytest.mark.parametrize("text", [TOKEN, CODE])
def test_a_changed_token_is_refused(text):
    bad(text.lower())
    bad("l" + text[1:])
    bad(text + " " * (MAX_LENGTH + 1 - len(text)))
    for n, letter in enumerate(text):
        for other in "0Z: ":
            changed = text[:n] + other + text[n + 1 :]
            if other == letter:
                continue
            try:
                found = parse(changed)
            except BadPass:
                continue
            if isinstance(found, StaticPass):
                assert verify(found, KEYS, SITE) in (Reason.BAD_SIGNATURE, Reason.UNTRUSTED_KEY)
            else:
                assert check_step(found, SECRET, NOW) is Reason.BAD_SIGNATURE


def test_a_token_with_a_space_removed_is_refused():
    assert " " in TOKEN
    short = TOKEN.replace(" ", "", 1)
    with contextlib.suppress(BadPass):
        assert verify(static(short), KEYS, SITE) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "L",
        "L1",
        "L1:",
        "L2:",
        "L3:" + TOKEN[3:],
        "L1:" + base45_encode(bytes(14)),
        "L1:" + base45_encode(bytes(79)),
        "L2:" + base45_encode(bytes(15)),
        "L2:" + base45_encode(bytes(17)),
        TOKEN + "0" * 6,
        "L1:" + "0" * 3000,
        "Ｌ１：" + TOKEN[3:],
        "L1:٠" + TOKEN[4:],
        "L1:²" + TOKEN[4:],
        " " + TOKEN,
    ],
)
def test_no_pass(text):
    bad(text)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("format_", (0, 2, 15)),
        ("flags", (4, 8, -1)),
        ("key_id", (0, 256)),
        ("pass_id", (-1, 1 << 32)),
        ("not_before", (-1, 1 << 32)),
        ("duration_min", (0, 65536)),
        ("group_mask", (-1, 65536)),
        ("uses", (-1, 256)),
    ],
)
def test_claims_out_of_range(field, values):
    fields = {name: getattr(CLAIMS, name) for name in CLAIMS.__slots__}
    for value in values:
        with pytest.raises(ValueError, match=field):
            Claims(**{**fields, field: value})


CLAIM = st.builds(
    Claims, st.just(1), st.integers(0, 3), st.integers(1, 255), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1),
    st.integers(1, 65535), st.integers(0, 65535), st.integers(0, 255),
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(CLAIM, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_issue_and_verify(claims, site, other):
    token = issue(SEED, site, claims)
    assert len(token) == 122
    assert len(token) <= MAX_LENGTH
    found = static(token)
    assert found.claims == claims
    keys = {claims.key_id: PassKey(claims.key_id, PUBLIC, site)}
    expected = Reason.WRONG_SCOPE if not claims.group_mask else Reason.METHOD_DISABLED if claims.rotating_only else None
    assert verify(found, keys, site) is expected
    if other != site:
        elsewhere = {claims.key_id: PassKey(claims.key_id, PUBLIC, other)}
        assert verify(found, elsewhere, other) is Reason.BAD_SIGNATURE
        assert verify(found, elsewhere, other, [site]) is Reason.WRONG_SCOPE
        assert verify(found, elsewhere, site) is Reason.UNTRUSTED_KEY, "that key is not for this site"


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


# --- rotating


@pytest.mark.parametrize(("later", "good"), [(-31, False), (-30, True), (0, True), (29, True), (30, True), (59, True),
                                             (60, False), (90, False), (300, False), (-300, False)])  # fmt: skip
def test_a_screenshot_dies(later, good):
    start = 58666666 * 30
    code = parse(rotating(SECRET, 5, start))
    assert isinstance(code, RotatingCode)
    assert check_step(code, SECRET, start + later) == (58666666 if good else Reason.REPLAYED)


def test_the_step_of_a_wrapped_counter():
    wrap = (1 << 16) * 30
    code = parse(rotating(SECRET, 5, NOW))
    assert isinstance(code, RotatingCode)
    assert check_step(code, SECRET, NOW + wrap) is Reason.BAD_SIGNATURE, "the low 16 bits are the same, the full step is not"
    for now in (wrap - 1.0, 0.0, 29.9):
        first = parse(rotating(SECRET, 5, now))
        assert isinstance(first, RotatingCode)
        assert check_step(first, SECRET, now) == int(now // 30)
    before = RotatingCode(5, 0xFFFF, bytes(10))
    assert check_step(before, SECRET, 0.0) is Reason.BAD_SIGNATURE


@settings(deadline=None)
@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1), st.floats(0, 4e9), st.integers(-200, 200))
def test_rotating_codes(secret, pass_id, now, off):
    code = parse(rotating(secret, pass_id, now))
    assert isinstance(code, RotatingCode)
    assert code.pass_id == pass_id
    step = check_step(code, secret, max(0.0, now + off))
    near = abs(int(max(0.0, now + off) // 30) - int(now // 30)) <= 1
    assert step == (int(now // 30) if near else Reason.REPLAYED)
    assert check_step(code, bytes(32) if secret != bytes(32) else b"1" * 32, now) is Reason.BAD_SIGNATURE


def test_a_secret_has_32_bytes():
    for call in (lambda: rotating(b"short", 5, NOW), lambda: check_step(parse(CODE), b"", NOW)):
        with pytest.raises(ValueError, match="32 bytes"):
            call()
