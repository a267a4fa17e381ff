"""Rows A8, A9, A12 and A13 at the gate: forged passes, foreign scopes, blocks and guesses, each with its word."""

import asyncio
import random
from dataclasses import replace

import pytest
from nacl.bindings import crypto_core_ed25519_add

from lintel.edge.drivers.base import qr_code
from lintel.edge.model import Door, Instant, Method, Notice, Reading, Stream
from lintel.edge.passes import Claims, PassKey, base45_encode, issue, parse
from lintel.edge.policy import decide
from lintel.edge.store import ItemPut, Type
from lintel.edge.witness import Witness
from tests.edge.pass_vectors import IDENTITY, L, P
from tests.edge.rig import GROUPS, PUBLIC, SEED, SITE, T0, run, visitor
from tests.edge.test_pass_signatures import NON_CANONICAL, ORDER_8, SMALL

GOOD = visitor()


def scanned(rig, text, door="gate"):
    """What a reader makes of a code, as both drivers do it."""
    code, rig.count = qr_code(rig.digest, text), rig.count + 1
    return Reading(
        f"evt_{rig.count}", door, f"{door}-reader", code.method, code.digest, rig.time.wall,
        token=code.token, fault=code.fault, detail=code.detail,
    )  # fmt: skip


async def scan(rig, text, door="gate"):
    reading = scanned(rig, text, door)
    receipt = await rig.gate.present(reading)
    await rig.flush()
    await receipt
    return rig.reason(reading.id)


# ---- A8


def signed(signature, claims=b""):
    return "L1:" + base45_encode((claims or parse(GOOD).signed) + signature)


def flipped():
    signature = bytearray(parse(GOOD).signature)
    signature[random.randrange(64)] ^= 1 << random.randrange(8)
    return signed(bytes(signature))


def beyond_the_order():
    signature = parse(GOOD).signature
    return signed(signature[:32] + (int.from_bytes(signature[32:], "little") + L).to_bytes(32, "little"))


def key(**fields):
    return {7: replace(PassKey(7, PUBLIC, SITE), **fields)}


RSA = random.Random(8).randbytes(256)
FORGED = {
    "one flipped bit": (flipped, {}, "bad_signature"),
    "63 bytes": (lambda: signed(parse(GOOD).signature[:63]), {}, "bad_signature"),
    "empty": (lambda: signed(b""), {}, "bad_signature"),
    "algorithm none": (lambda: signed(b"", b"\x00" + parse(GOOD).signed[1:]), {}, "bad_format"),
    "64 zeros": (lambda: signed(bytes(64)), {}, "bad_signature"),
    "an RSA blob": (lambda: signed(RSA), {}, "bad_format"),
    "the head of an RSA blob": (lambda: signed(RSA[:64]), {}, "bad_signature"),
    "a key of small order": (lambda: signed(IDENTITY + bytes(32)), {"keys": key(public=SMALL[0])}, "untrusted_key"),
    "a key that is not canonical": (lambda: signed(IDENTITY + bytes(32)), {"keys": key(public=NON_CANONICAL[0])},
                                    "untrusted_key"),
    "a key with a small part": (lambda: GOOD, {"keys": key(public=crypto_core_ed25519_add(PUBLIC, ORDER_8))},
                                "untrusted_key"),
    "s beyond the order": (beyond_the_order, {}, "bad_signature"),
    "r not canonical": (lambda: signed((P + 1).to_bytes(32, "little") + parse(GOOD).signature[32:]), {},
                        "bad_signature"),
    "a retired key": (lambda: GOOD, {"keys": key(retired_at=T0 - 3600)}, "untrusted_key"),
    "the policy key": (lambda: GOOD, {"keys": key(role="policy")}, "untrusted_key"),
    "a delegate without review": (lambda: GOOD, {"keys": key(role="delegate")}, "untrusted_key"),
    "a key nobody pinned": (lambda: visitor(key_id=8), {}, "untrusted_key"),
    "another signer": (lambda: visitor(seed=bytes(32)), {}, "bad_signature"),
}  # fmt: skip


@pytest.mark.parametrize("variant", FORGED)
def test_a8_a_forged_pass_opens_nothing(tmp_path, variant):
    token, options, reason = FORGED[variant]

    async def body(rig):
        assert await scan(rig, token()) == reason
        assert rig.lock.orders == []

    run(body, tmp_path, **options)


def test_a8_control_the_same_pass_unforged_opens(tmp_path):
    async def body(rig):
        assert await scan(rig, GOOD) == "granted"
        assert await scan(rig, signed(parse(GOOD).signature)) == "granted", "and the forger's tools can also be honest"

    run(body, tmp_path)


# ---- A9

NAMES = tuple(f"g{n}" for n in range(12))
FOREIGN, STRANGE = 4711, 4712


def scope(site, mask, names, door):
    """The oracle: what a pass's site and mask mean at a door."""
    if site == STRANGE:
        return "bad_signature"
    opened = {name for bit, name in enumerate(names) if mask >> bit & 1}
    return "granted" if site == SITE and opened & door else "wrong_scope"


def test_a9_only_a_group_of_this_door_in_a_pass_of_this_site_opens(tmp_path):
    async def body(rig):
        rng = random.Random("a9")
        now = Instant(T0, 0.0, rig.clock.now().state)
        seen, wrong = set(), 0
        for n in range(1500):
            site = rng.choice((SITE, SITE, SITE, FOREIGN, STRANGE))
            mask = rng.choice((0, 1 << rng.randrange(16), rng.randrange(1 << 16), 0xF000))
            names = NAMES[: rng.randrange(13)]
            door = frozenset(rng.sample((*NAMES, "elsewhere"), rng.randrange(1, 4)))
            token = issue(SEED, site, Claims(1, 0, 7, n, int(T0 // 60) - 1, 60, mask, 1))
            witness = Witness(rig.store.allowlist, rig.keys, SITE, rig.gate.witness.zone, names, (FOREIGN,))
            where = Door("gate", "", door, "lock")
            reading = scanned(rig, token)
            reason = decide(reading, witness.find(reading, where, now).facts, where, now).reason
            assert reason == scope(site, mask, names, door), (site, mask, names, door)
            seen.add(reason)
            wrong += reason != ("granted" if site == SITE and mask and names else "wrong_scope")
        assert seen == {"granted", "wrong_scope", "bad_signature"}
        assert wrong > 50, "control: an oracle that lets every bit open every door is found out"

    run(body, tmp_path)


def test_a9_a_pass_of_another_scope_burns_no_use(tmp_path):
    doors = {
        "gate": Door("gate", "", frozenset({"public"}), "gate-lock"),
        "tower": Door("tower", "", frozenset({"tower-a"}), "tower-lock"),
    }

    async def body(rig):
        one = visitor(uses=1, mask=1 << GROUPS.index("tower-a") | 0x8000)
        for _ in range(3):
            assert await scan(rig, one, "gate") == "wrong_scope"
        assert await scan(rig, visitor(uses=1, mask=0x8000, pass_id=43)) == "wrong_scope", "a group nobody named"
        assert rig.store.allowlist.visitor_pass(42) is None
        assert await scan(rig, one, "tower") == "granted"
        assert await scan(rig, one, "tower") == "already_used"

    run(body, tmp_path, doors=doors)


# ---- A12


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("blocked", [True, False])
@pytest.mark.parametrize("subject", ["person", "card", "plate"])
def test_a12_deny_wins_for_every_kind_of_subject(tmp_path, subject, blocked, allowed):
    method = {"person": Method.QR, "card": Method.CARD, "plate": Method.PLATE}[subject]

    async def body(rig):
        put = replace(rig.credential("alice", method), id=f"cred-{subject}")
        block = ItemPut(Type.BLOCK, "alice" if subject == "person" else put.id, {"until": None})
        puts = [put] * allowed + [block] * blocked
        await rig.store.allowlist.apply_checkpoint(puts, epoch=1, seq=1, synced_at=T0)
        word = await rig.present("alice", method=method)
        assert word == ("unknown_credential" if not allowed else "blocked" if blocked else "granted")
        assert len(rig.lock.orders) == (allowed and not blocked)

    run(body, tmp_path)


# ---- A13


def test_a13_five_thousand_guesses_at_one_reader(tmp_path):
    """20 a second: one alarm, hardly any guess is looked up; another reader and a signed pass are not held up."""

    async def body(rig):
        await rig.allow("alice")
        rng = random.Random("a13")
        for n in range(5_000):
            rig.time.move(0.05)
            guess = rng.choice((Method.CARD, Method.PIN))
            await rig.gate.present(rig.reading(f"{rng.randrange(10**8):08}", method=guess))
            if n % 500 == 499:
                assert await rig.present("alice", door="back") == "granted"
                assert await rig.present(visitor(now=rig.time.wall, pass_id=n), method=Method.PASS) == "granted"
            elif n % 20 == 0:
                await asyncio.sleep(0)
        await rig.flush()
        words = [e.reason for e in rig.decisions() if e.device == "gate-reader"]
        assert len(words) == 5_010
        assert words[:6] == ["unknown_credential"] * 5 + ["rate_limited"]
        assert set(words) == {"unknown_credential", "rate_limited", "granted"}
        assert words.count("unknown_credential") <= 5 + 6 + 250 / 60 + 1
        assert [e.reason for e in rig.events(Stream.ALARM)] == [Notice.GUESSING]
        assert len(rig.lock.orders) == 20

    run(body, tmp_path)


def test_a13_control_without_the_back_off_every_guess_is_tried(tmp_path, monkeypatch):
    monkeypatch.setattr("lintel.edge.guessing.LONGEST", 0.0)

    async def body(rig):
        for _ in range(50):
            assert await rig.present(f"{random.randrange(10**8)}", method=Method.CARD) == "unknown_credential"

    run(body, tmp_path)
