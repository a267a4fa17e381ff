"""The side door of the demo: an OSDP reader by libosdp on a bus at true speed, and a Bluetooth lock behind a BlueZ.

The gateway begins without their keys. They are made as an installer would: the reader in install mode, the lock's
button pressed, and a window of the gateway open for both.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from lintel.demo.community import LOCK_ADDRESS, OSDP_ADDRESS, OSDP_BAUD, Community
from lintel.demo.view import View
from lintel.demo.world import World
from lintel.edge.control import call
from lintel.edge.errors import LintelError
from lintel.simulators.client import Simulator
from lintel.simulators.peers import present, program

INSTALLED_S: Final = 60.0
"""How long keys may take on a slow machine (s)."""


def _bus_folder(site: Community) -> Path:
    return site.folder / "bluetooth"


def environment(site: Community) -> dict[str, str]:
    """Where the gateway finds BlueZ."""
    return {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={_bus_folder(site) / 'bus'}"}


def locks(site: Community) -> list[dict[str, Any]]:
    """The Bluetooth adapter of the devices' process, with the locks around it."""
    found = [
        {"kind": "ble-lintel", "id": f"{door.id}-lock", "address": LOCK_ADDRESS, "name": door.id}
        for door in site.doors
        if door.lock == "lock"
    ]
    if not found:
        return []
    _bus_folder(site).mkdir()
    return [{"kind": "bluetooth", "id": "bluetooth", "folder": str(_bus_folder(site)), "locks": json.dumps(found)}]


@contextlib.asynccontextmanager
async def readers(site: Community, view: View) -> AsyncIterator[Simulator | None]:
    """The OSDP reader on its line: libosdp's where it is installed, else our own. None where no door has one."""
    for door in site.doors:
        if door.card:
            async with _reader(site.ports[door.id], f"{door.id}-card", site.folder, view) as found:
                yield found
            return
    yield None


@contextlib.asynccontextmanager
async def _reader(port: str, name: str, folder: Path, view: View) -> AsyncIterator[Simulator]:
    if not present("libosdp"):
        view.say("OSDP reader: our own (libosdp could not be built here)", "OSDP 读卡器:内置(此处无法编译 libosdp)")
        words = ("--link", port, "--id", name, "--address", str(OSDP_ADDRESS), "--baud", str(OSDP_BAUD))
        async with Simulator("osdp-reader", *words, "--install", "true") as pd:
            yield pd
        return
    from lintel.simulators.osdp_bus import Bus  # noqa: PLC0415  only here

    bus = Bus(Path(port), OSDP_BAUD)
    bus.plug()
    far = folder / "osdp-far-end"
    bus.drop(far)
    spec = {"id": name, "address": OSDP_ADDRESS, "key": None, "install": True, "enforce": False}
    try:
        view.say("OSDP reader: libosdp", "OSDP 读卡器:libosdp")
        async with Simulator("pd", "--link", str(far), "--pd", json.dumps(spec), program=program("libosdp")) as pd:
            yield pd
    finally:
        bus.close()


async def install(world: World, view: View) -> None:
    """Make the keys of the reader and the lock, as an installer does. Raises LintelError when that takes too long."""
    wanted = 0
    for door in world.site.doors:
        if door.card:
            await _arm(world, f"{door.id}-card", "")
            wanted += 1
        if door.lock == "lock":
            button = {"cmd": "lock", "id": "bluetooth", "name": f"{door.id}-lock", "order": "button"}
            await _arm(world, f"{door.id}-lock", (await world.devices.command(button))["secret"])
            wanted += 1
    try:
        await world.noticed("key_set", wanted, INSTALLED_S)
    except TimeoutError:
        raise LintelError(f"reader and lock have no keys after {INSTALLED_S:.0f} s") from None
    if wanted:
        view.say("OSDP reader and Bluetooth lock: keys made", "OSDP 读卡器与蓝牙门锁:密钥已生成")


async def _arm(world: World, device: str, secret: str) -> None:
    params = {"device": device, "seconds": 120.0, "secret": secret}
    answer = await asyncio.to_thread(call, world.site.state, "device.install", params)
    if answer["outcome"] != "executed":
        raise LintelError(f"{device}: the install window was not opened: {answer['outcome']}")
