"""The simulated Nuki and Yale locks: published vectors, and clients of others (pyNukiBT, yalexs-ble) that use them."""

import asyncio
import json
import os
import subprocess
import sysconfig
from pathlib import Path

import pytest
from bleak import BleakClient, BleakScanner
from bleak.exc import BleakGATTProtocolError
from nacl.bindings import crypto_box_beforenm, crypto_scalarmult_base
from nacl.secret import SecretBox

from lintel.simulators import ble_yale as yale
from lintel.simulators.ble_nuki import nuki_lock
from lintel.simulators.ble_nuki_wire import ERROR, STATUS, frame, unframe
from tests.ble_air import Air

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "C4:64:E3:00:00:02"


def peer(kind):
    """What a client of somebody else saw of our lock, in a process and an environment of its own."""
    python, script = ROOT / ".venv-peers/locks/bin/python", ROOT / "tests/simulators/peer_locks.py"
    done = subprocess.run(
        [python, script, kind, sysconfig.get_path("purelib")],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_pynukibt_pairs_unlocks_and_reads():
    seen = peer("nuki")
    assert seen == {
        "rssi": -55,
        "closed": "P_ERROR_NOT_PAIRING",
        "paired": [True, "02000000"],
        "state": ["DOOR_MODE", "LOCKED", "DOOR_CLOSED"],
        "battery": 84,
        "config": ["Nuki_2B9F0C11", "SMARTLOCK_3_4"],
        "unlock": "COMPLETED",
        "unlocked": ["UNLOCKED", "UNLOCK"],
        "jam": "K_ERROR_MOTOR_BLOCKED",
        "pin": [False, True],
        "log": [[2, "peer", "LOCK", "MOTOR_BLOCKED"], [1, "peer", "UNLOCK", "SUCCESS"]],
        "beacon": True,
        "turns": ["unlock", "lock"],
    }


def test_pynukibt_pairs_with_the_pin_of_an_ultra():
    assert peer("ultra") == {
        "wrong_pin": "K_ERROR_BAD_PIN",
        "paired": [True, "02000000"],
        "unlatch": "COMPLETED",
        "pin": [False, True],
        "log": 1,
        "turns": ["unlatch"],
    }


def test_yalexs_ble_opens_and_is_told_of_changes():
    seen = peer("yale")
    assert seen["info"] == ["ASL-03", "M1XXX0000123", "2.0.0"]
    assert seen["status"] == ["LockStatus.LOCKED", "DoorStatus.CLOSED"]
    assert seen["unlocked"] == "LockStatus.UNLOCKED"
    assert seen["battery"] == [6.014, 93]
    assert (seen["jam"], seen["unlatch"]) == (
        "force_lock failed: MECH_TIMEOUT (0x1E)",
        "force_unlatch failed: INVALID_OPERATION (0x37)",
    )
    assert {"LockStatus.UNLOCKING", "LockStatus.LOCKING", "LockStatus.JAMMED"} <= set(seen["pushed"])
    assert (seen["wrong_key"], seen["wrong_slot"]) == ("AuthError", "AuthError")
    assert seen["push"] == ["LockStatus.LOCKED", "M1XXX0000123"]
    assert seen["turns"] == ["unlock", "lock", "lock"]
    assert seen["links"] == 0


# Published vectors.


def test_nuki_frames_are_the_published_ones():
    assert frame(1, b"\3\0").hex() == "0100030027a7"
    assert frame(STATUS, b"\0").hex() == "0e00009dd7"
    assert frame(ERROR, b"\x10\1\0").hex() == "12001001008721"
    own = bytes.fromhex("8caa54672307bffdf5ea183fc607158d2011d008eca6a1088614ff0853a5aa07")
    lock = bytes.fromhex("2fe57da347cd62431528daac5fbb290730fff684afc4cfc2ed90995f58cb3b74")
    assert crypto_scalarmult_base(own).hex() == "f88127ccf48023b5cbe9101d24baa8a368da94e8c2e3cde2ded29ce96ab50c15"
    shared = crypto_box_beforenm(lock, own)
    assert shared.hex() == "217fcb0f18caf284e9bdea0b94b83b8d10867ed706bfdedbd2381f4cb3b8f730"
    clear = frame(1, b"\x0c\0", bytes.fromhex("02000000"))
    assert clear.hex() == "0200000001000c00418d"
    sealed = SecretBox(shared).encrypt(clear, bytes(range(0x40, 0x58))).ciphertext
    assert sealed.hex() == "e339f41f0bfca1432b639adfb3a21e6173817eb969c66028a8bf"


def test_a_changed_nuki_frame_is_none():
    good = frame(STATUS, b"\0")
    assert unframe(good) == (b"", STATUS, b"\0")
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        assert unframe(bytes(bad)) is None
    assert unframe(b"") is None


def test_nuki_states_have_the_published_form():
    async def main():
        lock = nuki_lock(battery=100)
        told = frame(0xC, lock._states(), b"\2\0\0\0")
        published = "020000000c00020100ea070b16041e00e001c801000200000200e3ae"
        assert len(told) == len(bytes.fromhex(published)) + 1, "one field more, as newer models have"
        assert told[4:9].hex() == published[8:18], "door mode, locked, by a command"
        assert told[18] == 0xC8, "battery"

    asyncio.run(main())


def test_yale_frames_are_the_published_ones():
    key, session = bytes(range(16)), bytes(range(0x10, 0x18)) + bytes(range(0x20, 0x28))
    first = yale.secure_frame(1, bytes(range(0x10, 0x18)), 1)
    assert first.hex() == "010000001011121314151617dbd9d7d50f01"
    assert yale.Cryptor(key, chained=False).seal(first).hex() == "8057b7a941466a2eac73547cf56b366e0f01"
    answer = yale.secure_frame(2, bytes(range(0x20, 0x28)), 1)
    assert yale.Cryptor(key, chained=False).seal(answer).hex() == "2d970bb8635a8bc893a0e8a2cf42b6360f01"
    third = yale.secure_frame(3, bytes(range(0x18, 0x20)), 1)
    assert yale.Cryptor(session, chained=False).seal(third).hex() == "a983bea66fcd0e67d710046275dab5750f01"
    chain, frames = yale.Cryptor(session, chained=True), [(0x02, 0x02), (0x0A, 0), (0x0B, 0)]
    assert [chain.seal(yale.normal_frame(0xEE, *each)).hex() for each in frames] == [
        "1d3d5219c4d1c9f8e1b7897c0be5e56c0200",
        "7312174148e23a7d1bf0adf467f9149a0200",
        "5a1bd26364bf6795f948d74176accda90200",
    ]


# What no client does: orders that are not fresh.


class NukiTalk:
    """Raw frames of somebody who has the key."""

    USER = bytes.fromhex("02000000")

    def __init__(self, client, lock, key):
        self.client, self.key, self.answers = client, key, asyncio.Queue()
        self.box = SecretBox(crypto_box_beforenm(lock.public, key))

    async def start(self):
        await self.client.start_notify("a92ee202-5501-11e4-916c-0800200c9a66", lambda _, v: self.answers.put_nowait(v))
        return self

    def sealed(self, command, payload):
        nonce = os.urandom(24)
        sealed = self.box.encrypt(frame(command, payload, self.USER), nonce).ciphertext
        return nonce + self.USER + len(sealed).to_bytes(2, "little") + sealed

    async def raw(self, data):
        await self.client.write_gatt_char("a92ee202-5501-11e4-916c-0800200c9a66", data, response=True)

    async def answer(self):
        data = bytes(await asyncio.wait_for(self.answers.get(), 5))
        _, command, body = unframe(self.box.decrypt(data[:24] + data[30:]), 4)
        return command, body

    async def until(self, command):
        while (got := await self.answer())[0] != command:
            pass
        return got[1]

    async def order(self, nonce, action=1):
        sent = self.sealed(0xD, bytes((action,)) + bytes(4) + b"\0" + nonce)
        await self.raw(sent)
        return sent

    async def challenge(self):
        await self.raw(self.sealed(1, b"\4\0"))
        return await self.until(4)


def nuki_air(scene, **options):
    async def main():
        key = os.urandom(32)
        lock = nuki_lock(address=ADDRESS, interval=20.0, **options)
        shared = crypto_box_beforenm(crypto_scalarmult_base(key), lock._private)
        lock.memory.users["2"] = {"type": 1, "app": 0, "name": "raw", "key": shared.hex(), "enabled": True}
        async with Air() as air:
            await lock.appear(air)

            async def connect():
                device = await BleakScanner.find_device_by_address(ADDRESS, 5, backend=air.scanner_backend)
                client = BleakClient(device, timeout=5, backend=air.client_backend)
                await client.connect()
                return await NukiTalk(client, lock, key).start()

            await scene(connect, lock)
            await lock.power_off()

    asyncio.run(main())


@pytest.mark.parametrize("weak", ["", "nonce"], ids=["guarded", "control: a lock that forgets to compare"])
def test_a_replayed_nuki_order_moves_nothing(weak):
    async def scene(connect, lock):
        talk = await connect()
        recorded = await talk.order(await talk.challenge())
        assert await talk.until(STATUS) == b"\1"
        assert await talk.until(STATUS) == b"\0"
        await talk.raw(recorded)
        if not weak:
            assert (await talk.until(ERROR))[:1] == b"\x22"
        else:
            assert await talk.until(STATUS) == b"\1"
            assert await talk.until(STATUS) == b"\0"
        unused = await talk.challenge()
        await talk.client.disconnect()
        talk = await connect()
        await talk.raw(recorded)
        await talk.order(unused)
        for _ in range(2):
            if not weak:
                assert (await talk.until(ERROR))[:1] == b"\x22"
            else:
                await talk.until(STATUS)
        await talk.client.disconnect()
        assert (len(lock.motor.turns) == 1) == (not weak)

    nuki_air(scene, weak=weak)


def test_a_nuki_lock_says_nothing_to_who_is_not_known():
    async def scene(connect, lock):
        talk = await connect()
        lock.memory.users["2"]["enabled"] = False
        await talk.raw(talk.sealed(1, b"\4\0"))
        assert (await talk.until(ERROR))[:1] == b"\x25"
        changed = bytearray(talk.sealed(1, b"\4\0"))
        changed[40] ^= 1
        await talk.raw(changed)
        while talk.client.is_connected:
            await asyncio.sleep(0.01)
        await lock.do_forget(2)
        talk = await connect()
        await talk.raw(talk.sealed(1, b"\4\0"))
        while talk.client.is_connected:
            await asyncio.sleep(0.01)
        assert talk.answers.empty()

    nuki_air(scene)


def test_a_yale_frame_cut_short_ends_the_connection():
    async def main():
        async with Air() as air:
            lock = yale.yale_lock(address=ADDRESS, interval=20.0)
            await lock.appear(air)
            device = await BleakScanner.find_device_by_address(ADDRESS, 5, backend=air.scanner_backend)
            client = BleakClient(device, timeout=5, backend=air.client_backend)
            await client.connect()
            with pytest.raises(BleakGATTProtocolError):
                await client.write_gatt_char(yale.SECURE_WRITE, bytes(17), response=True)
            while client.is_connected:
                await asyncio.sleep(0.01)
            await lock.power_off()
            assert not lock.motor.turns

    asyncio.run(main())
