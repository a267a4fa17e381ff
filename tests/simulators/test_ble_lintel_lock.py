"""The simulated Lintel lock keeps its promises on the air: pairing, challenges, memory, refusals, silence."""

import asyncio
import socket
import struct
import time

import pytest
from bumble.transport import open_transport
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lintel.simulators.ble_lintel_lock import lintel_lock
from lintel.simulators.client import Simulator
from tests.ble_air import Air
from tests.simulators.lintel_gateway import Gateway, Gone

ADDRESS = "C4:64:E3:00:00:01"


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
