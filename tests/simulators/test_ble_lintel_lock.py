"""The simulated Lintel lock: its bytes are those of the published vectors, and it keeps its promises on the air."""

import asyncio
import hashlib
import socket
import struct
import time

import pytest
from bleak import BleakClient
from bumble.transport import open_transport
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from lintel.simulators.ble_lintel_lock import lintel_lock
from lintel.simulators.ble_lintel_session import Fragments, HangUp, Hooks, Session
from lintel.simulators.client import Simulator
from tests.ble_air import Air
from tests.simulators.lintel_gateway import Gateway, Gone

ADDRESS = "C4:64:E3:00:00:01"
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


class Bench:
    """An air with one lock, and gateways."""

    def __init__(self, air, lock):
        self.air, self.lock, self.key = air, lock, Ed25519PrivateKey.generate()

    def gateway(self, key=None, **more):
        return Gateway(self.air, ADDRESS, key or self.key, **more)

    async def paired(self):
        label = await self.lock.do_button()
        async with self.gateway() as gw:
            assert (await gw.pair(bytes.fromhex(label["secret"])))[0] == 6
        return self

    @property
    def turns(self):
        return [turn.action for turn in self.lock.motor.turns]


def on_air(scene, **options):
    async def main():
        async with Air() as air:
            lock = lintel_lock(address=ADDRESS, interval=20.0, **options)
            await lock.appear(air)
            await scene(await Bench(air, lock).paired())
            await lock.power_off()

    asyncio.run(main())


def test_pair_unlock_and_read_the_log():
    async def scene(bench):
        async with bench.gateway() as gw:
            info = await gw.client.read_gatt_char("f95c80c1-09dc-48b2-9d77-1ae2a66e1ae8")
            assert info[:2] == b"\1\1"
            assert info[2] == 0b1110, "pairing is closed by the pairing"
            assert info[11:] == b"\x04LL-1\x051.0.0"
            assert bytes(await gw.client.read_gatt_char("00002a19-0000-1000-8000-00805f9b34fb")) == bytes([85])
            ready = await gw.handshake(bench.lock.public)
            assert ready[0] == 4
            status, result = await gw.command(2)
            assert (status, result[:17], result[17:20]) == (0, b"\x24" + gw.ident, b"\0\3\2")
            assert (await gw.ask(b"\x26"))[:6] == b"\x27\3\2\x55\0\0"
            await asyncio.sleep(0.26)
            assert (await gw.command(1))[1][17:20] == b"\0\1\2"
            await gw.send(gw.sealed(b"\x28" + struct.pack("<IB", 0, 10)))
            kinds = []
            while (entry := await gw.unsealed())[0] == 0x29:
                kinds.append((entry[15], entry[16:32], entry[32]))
            assert [kind for kind, _, _ in kinds] == [1, 4, 2, 2]
            assert kinds[-1] == (2, gw.ident, 1)
            assert entry == b"\x2a" + struct.pack("<I", 4)
        assert bench.turns == ["unlock", "lock"]

    on_air(scene)


def test_latch_and_bolt_go_back_by_themselves_and_say_so():
    async def scene(bench):
        async with bench.gateway() as gw:
            await gw.handshake(bench.lock.public)
            assert (await gw.command(3, parameter=1))[1][18] == 5
            assert (await gw.unsealed())[:2] == b"\x27\3", "after 100 ms, as ordered"
            await bench.lock.do_door("open")
            assert (await gw.unsealed())[:3] == b"\x27\3\3"
            await asyncio.sleep(0.2)
            assert (await gw.command(2, parameter=2))[1][18] == 3
            assert [(await gw.unsealed())[1] for _ in range(2)] == [4, 1], "after 200 ms the bolt goes back"
            assert bench.lock.motor.returns == 1
            assert len(bench.turns) == 2

    on_air(scene)


@pytest.mark.parametrize(
    ("weak", "code"), [("", 3), ("nonce", 0)], ids=["guarded", "control: a lock that forgets to compare"]
)
def test_a_nonce_is_good_once_and_on_its_connection_only(weak, code):
    async def scene(bench):
        async with bench.gateway() as gw:
            await gw.handshake(bench.lock.public)
            used, other = await gw.challenge(), None
            assert (await gw.ask(gw.order(used)))[17] == 0
            await gw.unsealed()
            await asyncio.sleep(0.26)
            assert (await gw.ask(gw.order(used)))[17] == code, "twice"
            if not code:
                await gw.unsealed()
            other = await gw.challenge()
        await asyncio.sleep(0.26)
        async with bench.gateway() as gw:
            await gw.handshake(bench.lock.public)
            assert (await gw.ask(gw.order(other)))[17] == code, "of an earlier connection"
        await asyncio.sleep(0.1)
        assert len(bench.turns) == (1 if code else 3)

    on_air(scene, weak=weak)


@pytest.mark.parametrize(("weak", "code"), [("", 3), ("lifetime", 0)], ids=["guarded", "control: no lifetime"])
def test_a_challenge_dies_of_age(weak, code):
    async def scene(bench):
        async with bench.gateway() as gw:
            await gw.handshake(bench.lock.public)
            nonce = await gw.challenge()
            await asyncio.sleep(0.15)
            assert (await gw.ask(gw.order(nonce)))[17] == code

    on_air(scene, weak=weak, lifetime=100)


@pytest.mark.parametrize(("weak", "turns"), [("", 1), ("memory", 2)], ids=["guarded", "control: no memory"])
def test_a_repeated_command_moves_nothing(weak, turns):
    async def scene(bench):
        async with bench.gateway() as gw:
            await gw.handshake(bench.lock.public)
            _, first = await gw.command()
            await asyncio.sleep(0.26)
            status, again = await gw.command(ident=gw.ident)
            assert (status is None) == (not weak)
            assert again[:20] == first[:20]
        assert len(bench.turns) == turns

    on_air(scene, weak=weak)


@pytest.mark.parametrize("weak", ["", "counter"], ids=["guarded", "control: any number is taken"])
def test_a_number_left_out_ends_the_connection(weak):
    async def scene(bench):
        async with bench.gateway() as gw:
            await gw.handshake(bench.lock.public)
            await gw.send(gw.sealed(b"\x26", counter=1))
            if weak:
                assert (await gw.unsealed())[0] == 0x27
            else:
                with pytest.raises(Gone):
                    await gw.unsealed()

    on_air(scene, weak=weak)


def test_a_command_whose_answer_was_lost_is_resolved_by_its_id():
    async def scene(bench):
        async with bench.gateway() as gw:
            await gw.handshake(bench.lock.public)
            order = gw.order(await gw.challenge())
            bench.air.cut(ADDRESS, "notify")
            await gw.send(gw.sealed(order))
            with pytest.raises(Gone):
                await gw.unsealed()
        known = gw.ident
        async with bench.gateway() as gw:
            await gw.handshake(bench.lock.public)
            assert (await gw.ask(b"\x25" + known))[:20] == b"\x24" + known + b"\0\3\2"
            assert await gw.ask(b"\x25" + bytes(16)) == b"\x23" + bytes(16) + b"\x0b"
        assert bench.turns == ["unlock"]

    on_air(scene)


def test_a_question_about_a_moving_bolt_is_answered_when_it_stands():
    async def scene(bench):
        async with bench.gateway() as gw:
            await gw.handshake(bench.lock.public)
            nonce = await gw.challenge()
            assert (await gw.ask(gw.order(nonce)))[17] == 0
            await gw.send(gw.sealed(gw.order(await gw.challenge())))
            assert (await gw.unsealed())[17] == 4, "busy"
        known = bench.lock.motor.turns[0].source
        async with bench.gateway() as gw:
            await gw.handshake(bench.lock.public)
            answer = await gw.ask(b"\x25" + bytes.fromhex(known))
            assert answer[17:20] == b"\0\3\2"

    on_air(scene, travel=0.6)


def test_memory_outlives_the_battery(tmp_path):
    file = tmp_path / "lock.json"

    async def scene(bench):
        async with bench.gateway() as gw:
            ready = await gw.handshake(bench.lock.public)
            _, done = await gw.command()
            finished = gw.ident
            await asyncio.sleep(0.26)
            assert (await gw.ask(gw.order(await gw.challenge())))[17] == 0
            begun = gw.ident
            await asyncio.sleep(0.01)
            await bench.lock.do_reboot()
            with pytest.raises(Gone):
                await gw.unsealed()
        async with bench.gateway() as gw:
            again = await gw.handshake(bench.lock.public)
            assert again[1] == ready[1] + 1, "boots"
            assert await gw.ask(b"\x25" + finished) == done
            assert (await gw.ask(b"\x25" + begun))[17:19] == b"\5\0", "it began; how far it came nobody knows"
            status, result = await gw.command(ident=finished)
            assert (status, result) == (None, done)
        assert len(bench.turns) == 2

    on_air(scene, file=str(file), travel=0.2)
    assert "commands" in file.read_text()


def test_what_a_lock_refuses(tmp_path):
    async def scene(bench):
        bench.lock.battery = 85
        async with bench.gateway() as gw:
            await gw.handshake(bench.lock.public)
            assert (await gw.command(3))[0] == 8, "this one has no latch to pull"
            assert (await gw.command(9))[0] == 8
            assert (await gw.command(not_after=int(time.time()) + 5))[0] == 7, "it does not know the time"
            await gw.send(gw.sealed(b"\x2b" + struct.pack("<I", int(time.time()))))
            assert (await gw.command(not_after=int(time.time()) - 5))[0] == 7
            assert (await gw.command(not_after=int(time.time()) + 60))[0] == 0
            assert (await gw.command())[0] == 9, "at once after another"
            await asyncio.sleep(0.26)
            await bench.lock.do_jam()
            assert (await gw.command())[1][17:19] == b"\5\xfe"
            await asyncio.sleep(0.26)
            bench.lock.battery = 3
            assert (await gw.command())[0] == 6
            assert await gw.ask(b"\x42") == b"\x2c\x08\x42", "an unknown word"
            assert await gw.ask(b"\x25abc") == b"\x2c\x08\x25", "half a word"
        assert len(bench.turns) == 2

    on_air(scene, unlatch=False)


def test_pairing_needs_the_button_and_the_secret():
    async def scene(bench):
        stranger = Ed25519PrivateKey.generate()
        async with bench.gateway(stranger) as gw:
            assert await gw.pair(bench.lock.secret) == b"\x07\x0a", "the window is closed"
            assert await gw.hello() == b"\x07\x01", "a key that is not known"
        await bench.lock.do_button()
        async with bench.gateway(stranger) as gw:
            assert await gw.pair(bytes(16)) == b"\x07\x02"
        for _ in range(7):
            await bench.lock.do_button()
            async with bench.gateway(Ed25519PrivateKey.generate()) as gw:
                assert (await gw.pair(bench.lock.secret))[0] == 6
        await bench.lock.do_button()
        async with bench.gateway(stranger) as gw:
            assert await gw.pair(bench.lock.secret) == b"\x07\x01", "eight gateways are all"
        async with bench.gateway() as gw:
            with pytest.raises(InvalidSignature):
                await gw.handshake(stranger.public_key().public_bytes_raw())

    on_air(scene)


def test_five_bad_handshakes_bring_silence():
    async def scene(bench):
        async with bench.gateway(Ed25519PrivateKey.generate()) as gw:
            for _ in range(5):
                assert await gw.hello() == b"\x07\x01"
            with pytest.raises(Gone):
                await gw.hello()
        began = time.monotonic()
        async with bench.gateway() as gw:
            with pytest.raises(Gone):
                await gw.handshake(bench.lock.public)
        await asyncio.sleep(max(0.0, began + 0.6 - time.monotonic()))
        async with bench.gateway() as gw:
            assert (await gw.handshake(bench.lock.public))[0] == 4

    on_air(scene, silence=0.5)


def test_an_idle_connection_is_closed():
    async def scene(bench):
        async with bench.gateway() as gw:
            await gw.handshake(bench.lock.public)
            with pytest.raises(Gone):
                await gw.unsealed(5)

    on_air(scene, idle=1)


def test_it_works_with_the_smallest_mtu_and_a_slow_link():
    async def scene(bench):
        bench.air.slow[ADDRESS] = 0.003
        async with bench.gateway(fragment=20) as gw:
            next(iter(bench.lock.links.values())).connection.att_mtu = 23
            await gw.handshake(bench.lock.public)
            assert (await gw.command())[0] == 0

    on_air(scene)


def test_a_lock_without_a_controller_says_what_it_needs():
    lock = lintel_lock()
    with pytest.raises(Exception, match="--transport"):
        asyncio.run(lock.run())
    assert isinstance(BleakClient, type)


def test_a_lock_in_a_process_of_its_own_is_found_through_its_controller():
    """`lintel simulate ble-lock --transport ...`: HCI over TCP to a controller on this air."""

    async def main():
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        async with Air() as air, await open_transport(f"tcp-server:127.0.0.1:{port}") as hci:
            controller = air.controller("far", ADDRESS, hci.source, hci.sink)
            options = ("--address", ADDRESS, "--interval", "20", "--transport", f"tcp-client:127.0.0.1:{port}")
            async with Simulator("ble-lintel", *options) as sim:
                label = await sim.command("button")
                async with Gateway(air, ADDRESS) as gw:
                    assert (await gw.pair(bytes.fromhex(label["secret"])))[0] == 6
                async with Gateway(air, ADDRESS, gw.key) as gw:
                    await gw.handshake(bytes.fromhex(label["public"]))
                    assert (await gw.command())[0] == 0
                assert (await sim.command("ledger"))["turns"] == 1
            controller.terminated.cancel()
            hci.server.close()  # which bumble forgets

    asyncio.run(main())
