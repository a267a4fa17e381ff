"""All lines in one daemon: 30 Bluetooth locks, 20 terminals, 16 OSDP readers, 10 QR readers; then a cable, a broker.

The readers stand at doors with Bluetooth locks, the terminals open their own relays.

The daemon is a process of its own, as are its devices and the broker: its decisions are timed by its feed.
"""

import asyncio
import contextlib
import json
import os
import random
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from lintel.bench import percentile, resident
from lintel.bench.lines_ble import adapter, address, pair
from lintel.bench.lines_site import CARDS, FACILITY, Plan, code, face, lines_up
from lintel.edge import broker
from lintel.edge.control import SOCKET
from lintel.edge.errors import LintelError
from lintel.simulators.client import Simulator

LOCKS, TERMINALS, OSDP, QR = 30, 20, 16, 10
PER_BUS: Final = 8
WAIT: Final = 60.0


class World:
    """The running site: what is presented, and what the daemon's feed says of it."""

    def __init__(self, mixed: Simulator, osdp: Simulator) -> None:
        self.mixed, self.osdp = mixed, osdp
        self.decisions: dict[str, asyncio.Queue[float]] = {}

    async def watch(self, state: Path) -> None:
        """Note when each decision arrives, by device."""
        reader, writer = await asyncio.open_unix_connection(state / SOCKET)
        try:
            writer.write(b'{"method": "watch"}\n')
            while line := await reader.readline():
                event = json.loads(line)["result"]
                if event.get("type") == "access.decision":
                    self.decided(event["device"]).put_nowait(time.monotonic())
        finally:
            writer.close()

    def decided(self, device: str) -> asyncio.Queue[float]:
        """When decisions of a device arrived."""
        return self.decisions.setdefault(device, asyncio.Queue())

    async def present(self, device: str, n: int) -> float:
        """Somebody comes: seconds from the last byte at the device to the decision."""
        if device.startswith("reader"):
            await self.osdp.command("card", id=device, facility=FACILITY, number=n)
            shown = (await self.osdp.event("scanned", WAIT, id=device))["t"]
        elif device.startswith("face"):
            await self.mixed.command("face", id=f"{2000 + int(device[4:])}", person=face(n))
            shown = (await self.mixed.event("pushed", WAIT, id=f"{2000 + int(device[4:])}"))["t"]
        else:
            await self.mixed.command("scan", id=device, text=code(n))
            shown = (await self.mixed.event("scanned", WAIT, id=device))["t"]
        try:
            return await asyncio.wait_for(self.decided(device).get(), WAIT) - float(shown)
        except TimeoutError:
            raise LintelError(f"{device}: presented, and never decided") from None


def _plan(folder: Path, port: int) -> tuple[Plan, list[dict[str, Any]], list[dict[str, Any]]]:
    plan = Plan(folder)
    plan.line("ble", "ble_lock", slots=8)
    plan.line("broker", "mqtt_terminal", port=port)
    people = folder / "people.json"
    people.write_text(json.dumps([{"customId": face(n), "name": face(n)} for n in range(CARDS)]), "utf-8")
    mixed, osdp = [adapter(folder, LOCKS)], []
    for n in range(LOCKS):
        plan.door(f"door{n}", f"lock{n}")
        plan.device(f"lock{n}", "ble", "lintel-lock", f"door{n}", address(n))
    for n in range(TERMINALS):
        plan.door(f"gate{n}", f"face{n}")
        plan.device(f"face{n}", "broker", "mqtt-face", f"gate{n}", str(2000 + n))
        mixed.append({
            "kind": "mqtt-face", "id": str(2000 + n), "broker": f"127.0.0.1:{port}", "persons": str(people),
            "utc_offset": 0.0, "fetch_photos": False,
        })  # fmt: skip
    for n in range(OSDP):
        bus = n // PER_BUS
        if n % PER_BUS == 0:
            plan.line(f"bus{bus}", "osdp", path=str(folder / f"bus{bus}"), baud=115200)
        plan.keys[f"reader{n}"] = secrets.token_bytes(16)
        plan.device(f"reader{n}", f"bus{bus}", "osdp-generic", f"door{n}", str(n % PER_BUS))
        osdp.append({
            "kind": "osdp-reader", "id": f"reader{n}", "link": str(folder / f"bus{bus}"), "baud": 115200,
            "address": n % PER_BUS, "key": plan.keys[f"reader{n}"].hex(),
        })  # fmt: skip
    for n in range(QR):
        plan.line(f"port{n}", "serial_qr", path=str(folder / f"qr{n}"))
        plan.device(f"qr{n}", f"port{n}", "generic-cr", f"door{OSDP + n}")
        mixed.append({"kind": "qr-reader", "id": f"qr{n}", "link": str(folder / f"qr{n}"), "framing": "crlf"})
    return plan, mixed, osdp


@contextlib.asynccontextmanager
async def _daemon(path: Path, folder: Path) -> AsyncIterator[int]:
    """The gateway as a process; yields its pid."""
    bus = f"unix:path={folder / 'bus'}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lintel.edge", str(path), "warning", stdout=asyncio.subprocess.DEVNULL,
        env=os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": bus},
    )  # fmt: skip
    try:
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def measure(folder: Path, seconds: float) -> dict[str, float]:
    """p99 of a decision (ms) while all lines are in use, resident MB, and back after a pulled cable and a restart."""
    port = broker.free_port()
    plan, parts, buses = _plan(folder, port)
    path = await plan.write()
    async with contextlib.AsyncExitStack() as stack:
        mosquitto = contextlib.AsyncExitStack()
        stack.push_async_callback(mosquitto.aclose)
        await mosquitto.enter_async_context(broker.start_mosquitto(folder / "mqtt", port=port))
        mixed = await stack.enter_async_context(Simulator.fleet(parts, timeout=WAIT))
        osdp = await stack.enter_async_context(Simulator.fleet(buses, timeout=WAIT))
        pid = await stack.enter_async_context(_daemon(path, folder))
        lines = ["ble", "broker", "bus0", "bus1", *(f"port{n}" for n in range(QR))]
        await lines_up(plan.state, lines)
        await pair(plan.state, mixed, LOCKS)
        world = World(mixed, osdp)
        watching = asyncio.create_task(world.watch(plan.state))
        try:
            times = await _load(world, seconds)
            held = resident(pid)
            replug = await _replug(world)
            await mosquitto.aclose()
            await asyncio.sleep(2.0)
            start = time.monotonic()
            await mosquitto.enter_async_context(broker.start_mosquitto(folder / "mqtt", port=port))
            restart = await _again(world, "face0", start)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    return {
        "entries": len(times), "p50_ms": round(percentile(times, 0.5) * 1000, 1),
        "p99_ms": round(percentile(times, 0.99) * 1000, 1), "rss_mb": round(held / 1e6, 1),
        "replug_s": round(replug, 2), "broker_s": round(restart, 2),
    }  # fmt: skip


async def _load(world: World, seconds: float) -> list[float]:
    """Everybody at once: at each device somebody comes every ten seconds. Sorted times."""
    devices = (
        [f"face{n}" for n in range(TERMINALS)] + [f"reader{n}" for n in range(OSDP)] + [f"qr{n}" for n in range(QR)]
    )
    end = time.monotonic() + seconds

    async def life(device: str, seed: int) -> list[float]:
        rng = random.Random(seed)  # noqa: S311  who comes when
        found = []
        while time.monotonic() < end:
            await asyncio.sleep(rng.uniform(5.0, 15.0))
            found.append(await world.present(device, rng.randrange(CARDS)))
        return found

    return sorted(t for times in await asyncio.gather(*(life(d, n) for n, d in enumerate(devices))) for t in times)


async def _replug(world: World) -> float:
    """Seconds from a reader's cable being plugged in again to the first decision."""
    await world.mixed.command("unplug", id="qr0")
    await asyncio.sleep(2.0)
    start = time.monotonic()
    await world.mixed.command("replug", id="qr0")
    return await _again(world, "qr0", start)


async def _again(world: World, device: str, start: float) -> float:
    """Seconds from `start` to the first decision of a device at which somebody keeps coming. Raises LintelError."""
    queue = world.decided(device)
    for n in range(200):
        name = f"{2000 + int(device[4:])}" if device.startswith("face") else device
        shown = {"cmd": "scan", "text": code(n)} if device.startswith("qr") else {"cmd": "face", "person": face(n)}
        with contextlib.suppress(Exception):  # it may have no line yet
            await world.mixed.command({**shown, "id": name})
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(queue.get(), 0.1) - start
    raise LintelError(f"{device} is not back")
