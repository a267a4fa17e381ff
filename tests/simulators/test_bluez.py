"""The BlueZ of the simulators: bleak as it is installed, with its own BlueZ backend, scans, connects and talks."""

import asyncio
import json
import os
import sys

from lintel.simulators.client import Simulator

LOCK = {"kind": "ble-lintel", "id": "lock-1", "address": "C4:64:E3:00:00:01", "name": "Front door", "battery": 71}
CLIENT = """
import asyncio, sys
from bleak import BleakClient, BleakScanner
async def main():
    device = await BleakScanner.find_device_by_name("Front door", timeout=30)
    gone = asyncio.Event()
    async with BleakClient(device, disconnected_callback=lambda _: gone.set(), timeout=30) as client:
        print((await client.read_gatt_char("00002a19-0000-1000-8000-00805f9b34fb"))[0], flush=True)
        info = await client.read_gatt_char("f95c80c1-09dc-48b2-9d77-1ae2a66e1ae8")
        print(info[0], flush=True)
        heard = asyncio.Queue()
        await client.start_notify("f95c80c3-09dc-48b2-9d77-1ae2a66e1ae8", lambda _, value: heard.put_nowait(value))
        hello = bytes([1, 1, 1]) + bytes(8) + bytes([9]) + bytes(31)
        await client.write_gatt_char("f95c80c2-09dc-48b2-9d77-1ae2a66e1ae8", b"\\x80" + hello, response=True)
        answer = await asyncio.wait_for(heard.get(), 30)
        print(answer[1], flush=True)
        sys.stdin.readline()
        await asyncio.wait_for(gone.wait(), 30)
        print("gone", flush=True)
asyncio.run(main())
"""


def test_bleak_finds_connects_reads_writes_is_notified_and_sees_the_link_go(tmp_path):
    async def scene():
        async with Simulator(
            "bluetooth", "--folder", str(tmp_path), "--locks", json.dumps([LOCK]), timeout=30
        ) as adapter:
            client = await asyncio.create_subprocess_exec(
                sys.executable, "-c", CLIENT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={tmp_path / 'bus'}"},
            )  # fmt: skip

            async def said():
                return (await asyncio.wait_for(client.stdout.readline(), 60)).decode().strip()

            try:
                assert [await said(), await said()] == ["71", "1"]
                assert await said() in ("2", "7"), "HELLO is answered: with an ephemeral key, or refused"
                await adapter.command("drop", name="lock-1")
                client.stdin.write(b"\n")
                assert await said() == "gone"
                assert await asyncio.wait_for(client.wait(), 30) == 0
                ledger = await adapter.command("lock", name="lock-1", order="ledger")
                assert ledger["turns"] == 0
            finally:
                if client.returncode is None:
                    client.kill()
                    await client.wait()

    asyncio.run(scene())
