"""Visitor passes: the published vectors, other libraries as judges, the form of tokens, rotating codes."""

import contextlib
import hmac

import base45
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lintel.edge.digests import MAX_CREDENTIAL, credential_bytes
from lintel.edge.model import Method, Reason
from lintel.edge.passes import (
    MAX_LENGTH,
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

from .pass_vectors import (
    CLAIMS,
    CODE,
    KEYS,
    NOW,
    PUBLIC,
    SECRET,
    SEED,
    SITE,
    TOKEN,
    bad,
    message,
    openssl_accepts,
    static,
)

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
    assert check_step(code, SECRET, NOW + wrap) is Reason.BAD_SIGNATURE, (
        "the low 16 bits are the same, the full step is not"
    )
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
