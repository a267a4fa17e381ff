"""The line as it runs on a box: bleak's own BlueZ backend and the watch over the adapter, on a message bus."""

import asyncio
import json
import os
import sys

import pytest

from lintel.edge.drivers import ble_radio
from lintel.edge.errors import Lost
from lintel.simulators.bluez import BlueZ, bus
from lintel.simulators.client import Simulator
from tests.ble_air import Air
from tests.edge.drivers.stage import until

SECRET = bytes(range(16)).hex()
ADDRESS = "C4:64:E3:00:00:01"
LOCK = {"kind": "ble-lintel", "id": "lock", "address": ADDRESS, "secret": SECRET, "interval": 50.0}
GATEWAY = """
import asyncio, sys, time
from dataclasses import replace
from lintel.edge.drivers import ble_lock
from lintel.edge.drivers.base import Line
from lintel.edge.errors import Lost
from lintel.edge.model import Action
from tests.edge.drivers.ble_rig import Inlet, MemoryKeys, device, order, until
from tests.edge.drivers.contract import context

class Told(Inlet):
    def report(self, fact):
        print(fact.notice, flush=True)
    def up(self):
        print("up", flush=True)

async def keep(driver, inlet):
    while True:
        try:
            await driver.run(inlet)
        except Lost as error:
            print("lost", flush=True)
            print(error, file=sys.stderr, flush=True)
        await asyncio.sleep(0.5)

async def main():
    ctx = replace(context(), keys=MemoryKeys())
    driver = ble_lock.build(Line("locks", "ble_lock", {}), [device("lock", sys.argv[1])], ctx)
    task = asyncio.create_task(keep(driver, Told()))
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while command := (await lines.readline()).decode().split():
        if command[0] == "pair":
            print(await driver.execute(order(Action.INSTALL, 5, seconds=60, text=command[1], name="i")), flush=True)
        else:
            start = time.monotonic()
            print(await driver.execute(order(within=20, name=command[1])), flush=True)
            print(command[1], time.monotonic() - start, file=sys.stderr, flush=True)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

asyncio.run(main())
"""


async def restarted(folder, monkeypatch, wait):
    """What the watch says within `wait` s of a BlueZ that was started anew, and scans as before."""
    async with Air() as air, bus(folder) as address:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        asked = []
        async with BlueZ(address, air) as bluez:
            bluez._bus.add_message_handler(lambda message: asked.append(message.member))
            await bluez.scanner.start()
            bluez._adapter.discovering = True
            watch = asyncio.create_task(ble_radio._stay("hci0"))
            await until(lambda: "GetAll" in asked, 10.0)
            assert not watch.done()
        async with BlueZ(address, air) as bluez:
            await bluez.scanner.start()
            bluez._adapter.discovering = True
            try:
                await asyncio.wait_for(watch, wait)
            except (Lost, TimeoutError) as error:
                return error


def test_a_bluez_that_began_anew_is_noticed_at_once(tmp_path, monkeypatch):
    """Not by looking: the next look is far away."""
    monkeypatch.setattr(ble_radio, "LOOK_S", 600.0)
    assert "BlueZ" in str(asyncio.run(restarted(tmp_path, monkeypatch, 10.0)))


def test_control_who_does_not_listen_notices_nothing_until_the_next_look(tmp_path, monkeypatch):
    monkeypatch.setattr(ble_radio, "LOOK_S", 600.0)
    monkeypatch.setattr(ble_radio, "_OWNER", "type='signal',member='Nothing'")
    assert isinstance(asyncio.run(restarted(tmp_path, monkeypatch, 0.5)), TimeoutError)


@pytest.mark.parametrize("address", ["unix:path=/nowhere/bus", "no address"])
def test_a_message_bus_that_is_not_there_loses_the_line(monkeypatch, address):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
    with pytest.raises(Lost):
        asyncio.run(ble_radio._stay("hci0"))


def test_a_message_bus_that_ends_is_noticed_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(ble_radio, "LOOK_S", 600.0)

    async def scene():
        asked = []
        async with Air() as air, bus(tmp_path) as address:
            monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
            async with BlueZ(address, air) as bluez:
                bluez._bus.add_message_handler(lambda message: asked.append(message.member))
                monkeypatch.setattr(ble_radio, "_OWNER", "type='signal',member='Nothing'")
                watch = asyncio.create_task(ble_radio._stay("hci0"))
                await until(lambda: "GetAll" in asked, 10.0)
        with pytest.raises(Lost):
            await asyncio.wait_for(watch, 10.0)

    asyncio.run(scene())


@pytest.mark.long
def test_pair_open_lose_the_lock_and_lose_bluez(tmp_path):
    async def scene():
        options = ("--folder", str(tmp_path), "--locks", json.dumps([{**LOCK, "file": str(tmp_path / "lock.json")}]))
        environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={tmp_path / 'bus'}"}
        gateway = None
        try:
            async with Simulator("bluetooth", *options, timeout=30) as adapter:
                gateway = await asyncio.create_subprocess_exec(
                    sys.executable, "-c", GATEWAY, ADDRESS, stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE, env=environment,
                )  # fmt: skip

                async def said():
                    return (await asyncio.wait_for(gateway.stdout.readline(), 60)).decode().strip()

                async def tell(command):
                    gateway.stdin.write(command.encode() + b"\n")
                    return await said()

                assert [await said(), await said()] == ["device_fault", "up"]  # it is not paired
                await adapter.command("lock", name="lock", order="button")
                assert await tell(f"pair {SECRET}") == "executed"
                assert await said() == "key_set"
                assert await tell("open one") == "executed"
                await adapter.command("drop", name="lock")
                assert await tell("open two") == "executed"
                ledger = await adapter.command("lock", name="lock", order="ledger")
                assert ledger["turns"] == 2
                await adapter.command("restart")
                assert await said() == "lost"
                while (word := await said()) != "up":
                    assert word == "lost"
                assert await tell("open three") == "executed"
            assert await said() == "lost"
            async with Simulator("bluetooth", *options, timeout=30) as adapter:
                while (word := await said()) != "up":
                    assert word == "lost"
                assert await tell("open four") == "executed"
                ledger = await adapter.command("lock", name="lock", order="ledger")
                assert ledger["turns"] == 1
                gateway.stdin.close()
                assert await asyncio.wait_for(gateway.wait(), 30) == 0
        finally:
            if gateway is not None and gateway.returncode is None:
                gateway.kill()
                await gateway.wait()

    asyncio.run(scene())
