"""The bytes of the simulated Lintel lock are those of the published vectors; what was changed on the way ends it."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from lintel.simulators.ble_lintel_session import Fragments, HangUp, Hooks, Session

GATEWAY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
LOCK = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
IDENT = bytes.fromhex("0190f3a0000070008000000000000001")
VECTORS = {
    "hello": "01010156475aa75463474c79a631eede1bf9c98f12032cdeadd0e7a079398fc786b88cc846ec89af85a51a",
    "hello_ack": "02675dd574ed7789310b3d2e7681f3790b466c773b1521fecf36577958371ea52ffb805d4b679fa38818ea10f88e4cf682f7"
    "bb022ce725e159e1a83d4cab16cc828110297448256230ff17c53d4de2a2896da8a90bad3560121d32d542058eeb0d",
    "auth": "030306e3a9329128e6810b6f4d16a38e9fd63d8b6e6b3ce712dc7f12e6d515d1fd25dbb01ff57ddf802b8f54aeb6ff0144026e097c"
    "2982bea9a9d6fa2acb10c80e",
    "ready": "100000000044219d58dbf1e3514887d6b1639bd8311624acb55a87e109f0",
    "get_challenge": "1000000000352ef8847b3fb96ffea54359aaa5b530df",
    "challenge": "10010000002023803c385000d129e66c3f29a71cc28ac12ffebbcda95d595557c822b2af369a21ba",
    "command": "10010000004ec4e3a98c3ee8ef780dcfbcdbdf3c36ed398ae904a34c6b3eeee48fa91f02c17add9a4e8b2eb3f0341ffa19b7a4"
    "c80f23d2134487b38ee4",
    "accepted": "1002000000ecc25e17d09a29a8c3bc8de4f53f487c7d5b48da01cb5f94cecc1648765befc37e0d",
    "result": "10030000005355b3da2827a7d5ad84fc5dae29a819308ac329db5a6b3f1e221b2bf0185d69e79dc9a1463f9c98",
    "pair_proof": "f30ecba26b7ec39c7b4baef0e6693fe16b5e230cdb04f54608b83153fc92a6bd",
    "paired_proof": "c8c92d02e8ca72f52e7000a2479c58568b7b059447bccf538e72b2788ea1d0a0",
}
V = {name: bytes.fromhex(text) for name, text in VECTORS.items()}


def vector_hooks(**more):
    public = GATEWAY.public_key().public_bytes_raw()
    done = {}

    def accept(command):
        done[command.id] = (0, 3, 2, 42)
        return 0

    return Hooks(
        **{
            "key": LOCK,
            "secret": bytes(range(0x70, 0x80)),
            "gateways": lambda: {hashlib.sha256(public).digest()[:8]: public},
            "pairing_open": lambda: True,
            "paired": lambda public, name: done.update({name: public}) or True,
            "greeting": lambda: (3, 41, 60),
            "accept": accept,
            "outcome": done.get,
            "state": lambda: bytes(9),
            "log": lambda first, most: ([], first),
            "set_time": lambda unix: None,
            "bad_handshake": lambda: done.update(bad=done.get("bad", 0) + 1),
            "deaf": lambda: False,
            "now": lambda: 0.0,
            "ephemeral": lambda: X25519PrivateKey.from_private_bytes(bytes(range(0x60, 0x80))),
            "random": lambda n: bytes(range(0xA0, 0xA0 + n)),
        }
        | more
    ), done


def test_the_lock_says_the_published_bytes():
    hooks, _ = vector_hooks()
    session = Session(hooks)
    assert session.received(V["hello"]) == [V["hello_ack"]]
    assert session.received(V["auth"]) == [V["ready"]]
    assert session.received(V["get_challenge"]) == [V["challenge"]]
    assert session.received(V["command"]) == [V["accepted"]]
    assert session.seal(session.result(IDENT)) == V["result"]


def test_pairing_says_the_published_bytes():
    hooks, done = vector_hooks()
    public, name = GATEWAY.public_key().public_bytes_raw(), b"lintel-gw-01".ljust(16, b"\0")
    # The published proof is over the transcript of the HELLO that names the gateway; a pairing HELLO has zeros instead,
    # so the lock is told here that this very id is nobody's.
    session = Session(hooks)
    session.received(V["hello"])
    session._gateway = bytes(8)
    answer = session.received(b"\x05" + public + name + V["pair_proof"])
    assert answer == [b"\x06" + LOCK.public_key().public_bytes_raw() + V["paired_proof"]]
    assert done["lintel-gw-01"] == public


def test_fragments_of_hello_are_the_published_ones():
    parts = Fragments.cut(V["hello"], 20)
    assert [p.hex() for p in parts] == [
        "0001010156475aa75463474c79a631eede1bf9c9", "018f12032cdeadd0e7a079398fc786b88cc846ec", "8289af85a51a",
    ]  # fmt: skip
    assert [Fragments().feed(parts[0]), Fragments().feed(parts[1])] == [None, None]
    whole = Fragments()
    assert [whole.feed(part) for part in parts] == [None, None, V["hello"]]


@given(st.binary(min_size=1, max_size=512), st.integers(6, 244), st.data())
def test_what_was_cut_is_put_together_and_a_part_out_of_turn_clears(message, size, data):
    parts = Fragments.cut(message, size)
    if len(parts) > 128:
        return
    buffer = Fragments()
    assert [buffer.feed(part) for part in parts][-1] == message
    if len(parts) > 1:
        lost = data.draw(st.integers(0, len(parts) - 1))
        assert all(buffer.feed(part) is None for i, part in enumerate(parts) if i != lost)
        assert [buffer.feed(part) for part in parts][-1] == message


def test_a_bit_changed_on_the_way_ends_the_session_without_an_answer():
    for bit in range(8 * len(V["command"])):
        hooks, done = vector_hooks()
        session = Session(hooks)
        for name in ("hello", "auth", "get_challenge"):
            session.received(V[name])
        changed = bytearray(V["command"])
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(HangUp):
            session.received(bytes(changed))
        assert not done


def test_a_wrong_proof_is_refused_and_counted():
    hooks, done = vector_hooks()
    session = Session(hooks)
    session.received(V["hello"])
    assert session.received(V["auth"][:-1] + b"\0") == [b"\x07\x02"]
    assert done["bad"] == 1
    assert session.received(V["auth"]) == [b"\x07\x08"], "a signature has one chance per HELLO"
