"""Fire and exit end to end: the daemon as a process, an MQTT relay and a terminal as locks, a strike on a wire.

The gate's lock is a Shelly (it knows a hold), the back door's a face terminal (it knows openings only), the side door's
a strike on a GPIO line. The panel releases all three; the daemon is killed meanwhile; an operator resets it.
"""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from lintel.edge.model import Stream

from .people import RELAY
from .site import LIMIT, Site, device

STRIKE, PANEL, BUTTON = 2, 27, 5


class Wires:
    """The wires of the daemon's chips."""

    def __init__(self, site):
        self.path, self.site = site.folder / "wires.sock", site

    async def __call__(self, chip, what, *values):
        reader, writer = await asyncio.open_unix_connection(self.path)
        try:
            writer.write(json.dumps([chip, what, *values]).encode() + b"\n")
            return json.loads(await asyncio.wait_for(reader.readline(), LIMIT))
        finally:
            writer.close()

    async def side(self):
        return await self("locks", "high", STRIKE)


def site():
    lines = []
    for chip in ("locks", "inputs"):
        lines += ["[[line]]", f'id = "{chip}"', 'driver = "gpio"', f'chip = "/dev/{chip}"']
    lines += ["[[door]]", 'id = "side"', 'groups = ["public"]', 'lock = "side-strike"', "open_s = 0.5"]
    lines += device("side-strike", "locks", "gpio-strike", "side", str(STRIKE))
    lines += device("panel", "inputs", "gpio-fire-nc", "*", str(PANEL))
    lines += device("button", "inputs", "gpio-exit", "side", str(BUTTON))
    made = Site(main=(str(Path(__file__).with_name("wired.py")),), extra="\n".join(lines))
    levels = {"inputs": {PANEL: False, BUTTON: True}}
    made.env |= {"LINTEL_WIRES": str(made.folder / "wires.sock"), "LINTEL_LEVELS": json.dumps(levels)}
    return made


async def until(what, limit=LIMIT):
    async with asyncio.timeout(limit):
        while not await what():
            await asyncio.sleep(0.02)


async def held(site):
    """Whether the gate's relay is on, and stays so by the same order for two of its pulses."""
    first = await site.devices.command("ledger", id=RELAY)
    if not first["on"]:
        return False
    await asyncio.sleep(1.0)
    later = await site.devices.command("ledger", id=RELAY)
    return later["on"] and later["orders"] == first["orders"]


async def off(site):
    return not (await site.devices.command("ledger", id=RELAY))["on"]


def lintel(site, *words):
    command = [sys.executable, "-c", "from lintel.edge.cli import main; main()", *words, "--state", str(site.state)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, "LC_ALL": "C.UTF-8", "LANGUAGE": ""})  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_fire_from_the_wire_to_three_kinds_of_locks_through_a_kill_and_a_reset():
    async def body():
        async with site() as s:
            wires = Wires(s)
            await wires("inputs", "wire", BUTTON, False)
            await s.event(type="access.decision", door="side", reason="egress")
            assert await wires.side()
            await wires("inputs", "wire", BUTTON, True)

            await s.ask("lockdown", groups=[], on=True)
            assert await s.resident("gate") == "lockdown"
            await wires("inputs", "wire", PANEL, True)
            await until(wires.side)
            await until(lambda: held(s))
            before = len(await s.orders("back"))
            await until(lambda: _more(s, before + 2))
            assert await s.resident("gate") == "fire_release"
            assert (await s.ask("status"))["alarms"]["fire"]

            code, said = await asyncio.to_thread(lintel, s, "fire", "reset")
            assert (code, "panel is active" in said) == (1, True)
            await wires("inputs", "wire", PANEL, False)

            await s.kill()
            await s.start()
            wires = Wires(s)
            assert (await wires("locks", "seen"))[0] == [STRIKE, True], "it begins unlocked"
            assert await s.resident("gate") == "fire_release"
            assert all(door["fire"] for door in (await s.ask("status"))["doors"])
            before = len(await s.orders("back"))
            await until(lambda: _more(s, before + 2))

            code, said = await asyncio.to_thread(lintel, s, "fire", "reset")
            assert code == 0, said
            await until(lambda: _not(wires.side))
            await until(lambda: off(s))
            assert await s.resident("gate") == "lockdown", "which was only overruled"
            assert await s.stop() == 0
            return s.journal()

    events = asyncio.run(body())
    orders = {(e.door, e.detail) for e in events if e.reason == "fire_release" and e.type == "door.order"}
    assert orders >= {("gate", "hold"), ("back", "open"), ("side", "hold"), ("gate", "release"), ("side", "release")}
    assert [e.result for e in events if e.type == "fire.reset"] == ["refused", "done"]
    assert [e.result for e in events if e.type == "input.fire"][:1] == ["active"]
    assert [e.stream for e in events if e.type == "notice" and e.reason == "fire"] == [Stream.ALARM] * 2


async def _more(site, count):
    return len(await site.orders("back")) >= count


async def _not(what):
    return not await what()
