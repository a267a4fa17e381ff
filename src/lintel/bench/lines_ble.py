"""A Bluetooth lock through bleak and a BlueZ: unlock beside the bare write and notification, and back after a loss."""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from bleak import BleakClient

from lintel.bench import percentile
from lintel.bench.lines_site import Plan, gateway, lines_up
from lintel.edge.control import call
from lintel.edge.daemon import Daemon
from lintel.edge.errors import LintelError
from lintel.edge.ids import new_id
from lintel.edge.model import Action, Order, Outcome
from lintel.simulators.ble_echo import NOTIFY, WRITE
from lintel.simulators.client import Simulator

WAIT: Final = 60.0
ECHO: Final = "C4:64:E3:00:00:99"
COMMAND_BYTES: Final = 61
"""Size of a sealed COMMAND, in one fragment."""


def address(n: int) -> str:
    """Address of the n-th lock."""
    return f"C4:64:E3:00:01:{n:02X}"


def adapter(folder: Path, locks: int, *, echo: bool = False, interval: float = 0.0) -> dict[str, Any]:
    """The simulated adapter with its locks, whose motors take no time. `interval` (ms) as of a connection."""
    specs: list[dict[str, Any]] = [
        {"kind": "ble-lintel", "id": f"lock{n}", "address": address(n), "name": f"lock{n}", "travel": 0.0, "hold": 0.1}
        for n in range(locks)
    ]
    specs += [{"kind": "ble-echo", "address": ECHO}] if echo else []
    found = {"kind": "bluetooth", "id": "bluetooth", "folder": str(folder), "interval": interval}
    return {**found, "locks": json.dumps(specs)}


async def pair(state: Path, devices: Simulator, locks: int) -> None:
    """Give every lock its key, as an installer does with the button and the window. Raises LintelError."""
    reader, writer = await asyncio.open_unix_connection(state / "control.sock")
    try:
        writer.write(b'{"method": "watch"}\n')
        await reader.readline()
        for n in range(locks):
            button = {"cmd": "lock", "id": "bluetooth", "name": f"lock{n}", "order": "button", "seconds": 600.0}
            secret = (await devices.command(button))["secret"]
            params = {"device": f"lock{n}", "seconds": 600.0, "secret": secret}
            answer = await asyncio.to_thread(call, state, "device.install", params)
            if answer["outcome"] != "executed":
                raise LintelError(f"lock{n}: no install window: {answer['outcome']}")
        paired = 0
        async with asyncio.timeout(WAIT + 5 * locks):
            while paired < locks:
                event = json.loads(await reader.readline())["result"]
                paired += event.get("reason") == "key_set"
    except TimeoutError:
        raise LintelError("not all locks are paired") from None
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def _lock(folder: Path, interval: float) -> AsyncIterator[tuple[Simulator, Daemon]]:
    plan = Plan(folder)
    plan.line("ble", "ble_lock")
    plan.door("door", "lock0")
    plan.device("lock0", "ble", "lintel-lock", "door", address(0))
    path = await plan.write()
    before = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS")
    os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = f"unix:path={folder / 'bus'}"
    try:
        async with (
            Simulator.fleet([adapter(folder, 1, echo=True, interval=interval)], timeout=WAIT) as devices,
            gateway(path) as daemon,
        ):
            await lines_up(plan.state, ["ble"])
            await pair(plan.state, devices, 1)
            yield devices, daemon
    finally:
        if before is None:
            del os.environ["DBUS_SYSTEM_BUS_ADDRESS"]
        else:
            os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = before


async def unlock(daemon: Daemon, limit: float = WAIT) -> float:
    """Seconds that an order takes; tried again where it was certainly not sent. Raises LintelError."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        start = time.monotonic()
        order = Order(new_id("ord_"), "door", "lock0", Action.OPEN, start + 3.0, seconds=0.1)
        if await daemon.lines[0].driver.execute(order) is Outcome.EXECUTED:
            return time.monotonic() - start
        await asyncio.sleep(0.02)
    raise LintelError("the lock does not open")


async def measure(folder: Path, count: int, interval: float = 7.5) -> dict[str, float]:
    """Unlock against write and notify, in turn over the same adapter (ms, p50), and seconds back after a loss.

    `interval`: ms of a connection event, 7.5 is the shortest there is; 0 leaves the radio out.
    """
    async with _lock(folder, interval) as (devices, daemon), BleakClient(ECHO, timeout=30.0) as echo:
        back: asyncio.Queue[bytes] = asyncio.Queue()
        await echo.start_notify(NOTIFY, lambda _, value: back.put_nowait(bytes(value)))
        await unlock(daemon)
        floors, unlocks = [], []
        for _ in range(count):
            await asyncio.sleep(0.4)  # longer than the cool-down between commands, and the bolt is back
            start = time.monotonic()
            await echo.write_gatt_char(WRITE, bytes(COMMAND_BYTES), response=True)
            await asyncio.wait_for(back.get(), WAIT)
            floors.append(time.monotonic() - start)
            unlocks.append(await unlock(daemon))
        await devices.command("leave", id="bluetooth", name="lock0")
        await asyncio.sleep(5.0)
        start = time.monotonic()
        await devices.command("back", id="bluetooth", name="lock0")
        await unlock(daemon)
        returned = time.monotonic() - start
    floor, opened = percentile(sorted(floors), 0.5), percentile(sorted(unlocks), 0.5)
    return {
        "floor_ms": round(floor * 1000, 2), "unlock_ms": round(opened * 1000, 2),
        "ratio": round(opened / floor, 2), "reconnect_s": round(returned, 2),
    }  # fmt: skip
