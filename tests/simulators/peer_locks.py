"""Clients of others against our locks, in their own environment: `peer_locks.py (nuki|ultra|yale) OUR_SITE_PACKAGES`.

The clients are unchanged: bleak is told that this platform's backend is the radio in this process. Their environment
comes first; only bumble, which it lacks, is taken from ours. Prints one JSON object.
"""

# ruff: noqa: PLC0415  each client is loaded where it is used
import asyncio
import contextlib
import json
import os
import sys

sys.path.append(sys.argv[2])

import bleak
from bleak import BleakScanner
from nacl.public import PrivateKey

from lintel.simulators.ble_air import Air
from lintel.simulators.ble_nuki import nuki_lock
from lintel.simulators.ble_yale import yale_lock

ADDRESS = "C4:64:E3:00:00:07"


@contextlib.asynccontextmanager
async def platform(lock):
    async with Air() as air:
        bleak.get_platform_client_backend_type = lambda: (air.client_backend, "air")
        bleak.get_platform_scanner_backend_type = lambda: (air.scanner_backend, "air")
        await lock.appear(air)
        yield air
        await lock.power_off()


async def nuki():
    from pyNukiBT import NukiDevice, NukiErrorException

    lock, seen = nuki_lock(address=ADDRESS, interval=20.0, pin=1234, travel=0.1), {}
    async with platform(lock):
        found = []
        scanner = BleakScanner(lambda device, data: found.append((device, data)))
        await scanner.start()
        while not found:
            await asyncio.sleep(0.01)
        key = PrivateKey.generate()
        keys = bytes(key.public_key), bytes(key)
        client = NukiDevice(ADDRESS, None, None, *keys, 4711, "peer", ble_device=found[0][0])
        client.parse_advertisement_data(*found[0])
        seen["rssi"] = client.rssi
        await client.connect()
        try:
            await client.pair()
        except NukiErrorException as error:
            seen["closed"] = str(error.error_code)
        await lock.do_button()
        await client.connect()
        paired = await client.pair()
        seen["paired"] = [paired["nuki_public_key"] == lock.public, paired["auth_id"].hex()]
        await client.connect()
        await client.update_state()
        seen["state"] = [str(client.last_state[n]) for n in ("nuki_state", "lock_state", "door_sensor_state")]
        seen["battery"] = client.battery_percentage
        seen["config"] = [client.config["name"], str(client.config["device_type"])]
        answer = await client.lock_action("UNLOCK", wait_for_completed=True)
        seen["unlock"] = str(answer.status)
        await client.update_state()
        seen["unlocked"] = [str(client.last_state["lock_state"]), str(client.last_state["last_lock_action"])]
        await lock.do_jam()
        try:
            await client.lock_action("LOCK", wait_for_completed=True)
        except NukiErrorException as error:
            seen["jam"] = str(error.error_code)
        await lock.do_jam(jammed=False)
        seen["pin"] = [await client.verify_security_pin(1), await client.verify_security_pin(1234)]
        entries = await client.request_log_entries(1234, count=5)
        seen["log"] = [[e.index, e.name, str(e.data.lock_action), str(e.data.completion_status)] for e in entries]
        await client.disconnect()
        found.clear()
        await lock.do_hand("locked")
        client._poll_needed = False
        for _ in range(200):
            await asyncio.sleep(0.01)
            for each in found:
                client.parse_advertisement_data(*each)
            found.clear()
            if client._poll_needed:
                break
        seen["beacon"] = client._poll_needed
        await scanner.stop()
    return seen | {"turns": [turn.action for turn in lock.motor.turns]}


async def ultra():
    from pyNukiBT import NukiDevice, NukiErrorException

    lock, seen = nuki_lock(address=ADDRESS, interval=20.0, pin=123456, ultra=True, travel=0.1), {}
    async with platform(lock):
        device = await BleakScanner.find_device_by_address(ADDRESS)
        key = PrivateKey.generate()
        client = NukiDevice(ADDRESS, None, None, bytes(key.public_key), bytes(key), 4711, "peer", ble_device=device)
        await client.connect()
        await lock.do_button()
        try:
            await client.pair(security_pin=654321)
        except NukiErrorException as error:
            seen["wrong_pin"] = str(error.error_code)
        paired = await client.pair(security_pin=123456)
        seen["paired"] = [paired["nuki_public_key"] == lock.public, paired["auth_id"].hex()]
        await client.connect()
        await client.update_state()
        answer = await client.lock_action("UNLATCH", wait_for_completed=True)
        seen["unlatch"] = str(answer.status)
        seen["pin"] = [await client.verify_security_pin(1), await client.verify_security_pin(123456)]
        seen["log"] = len(await client.request_log_entries(123456, count=5))
        await client.disconnect()
    return seen | {"turns": [turn.action for turn in lock.motor.turns]}


async def yale():
    from yalexs_ble import AuthError
    from yalexs_ble.lock import Lock
    from yalexs_ble.push import PushLock
    from yalexs_ble.session import OperationFailedError

    key, seen, states = os.urandom(16).hex(), {}, []
    lock = yale_lock(address=ADDRESS, interval=20.0, key=key, slot=3, travel=0.1, model="ASL-03")
    async with platform(lock) as air:
        device = await BleakScanner.find_device_by_address(ADDRESS)

        def client(key, slot=3):
            return Lock(lambda: device, key, slot, "peer", states.extend)

        peer = client(key)
        await peer.connect()
        info = await peer.lock_info()
        seen["info"] = [info.model, info.serial, info.firmware]
        seen["status"] = [str(await peer.lock_status()), str(await peer.door_status())]
        battery = await peer.battery()
        seen["battery"] = [battery.voltage, battery.percentage]
        await peer.force_unlock()
        seen["unlocked"] = str(await peer.lock_status())
        await lock.do_jam()
        try:
            await peer.force_lock()
        except OperationFailedError as error:
            seen["jam"] = str(error)
        await lock.do_jam(jammed=False)
        try:
            await peer.force_unlatch()
        except OperationFailedError as error:
            seen["unlatch"] = str(error)
        await peer.disconnect()
        seen["pushed"] = sorted({str(state) for state in states})
        for name, wrong in (("wrong_key", client("ff" * 16)), ("wrong_slot", client(key, 4))):
            try:
                await wrong.connect()
            except AuthError:
                seen[name] = "AuthError"
            finally:
                await wrong.disconnect()
        await lock.do_hand("unlocked")
        push = PushLock(address=ADDRESS, ble_device=device, key=key, key_index=3)
        scanner = BleakScanner(push.update_advertisement)
        await scanner.start()
        stop = await push.start()
        await push.wait_for_first_update(20)
        await push.lock()
        seen["push"] = [str(push.lock_status), push.lock_info.serial]
        await scanner.stop()
        stop()
        await push._execute_disconnect()
        seen["links"] = air.adapter.links
    return seen | {"turns": [turn.action for turn in lock.motor.turns]}


print(json.dumps(asyncio.run({"nuki": nuki, "ultra": ultra, "yale": yale}[sys.argv[1]]())))
