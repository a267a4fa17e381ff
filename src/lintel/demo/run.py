"""Runs the demo: broker, devices, gateway, script, and at the end the books: was anything lost?"""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

from lintel.bench import percentile
from lintel.demo import lines
from lintel.demo.community import Community, address, settle
from lintel.demo.scenes import life_at, unplayed
from lintel.demo.view import View
from lintel.demo.world import World
from lintel.edge import broker
from lintel.edge.control import SOCKET, call
from lintel.edge.errors import LintelError
from lintel.edge.model import Stream
from lintel.edge.store.reading import reading
from lintel.edge.store.rows import read_rows
from lintel.edge.store.verify import verify
from lintel.simulators.client import Simulator

STARTED = 20.0
"""Seconds the gateway may take to start on a slow machine before the demo gives up."""


@dataclass(frozen=True, slots=True)
class Result:
    """What the demo counted. `lost`: presentations that are not in the journal after a clean stop.

    `scenes`: how often each scene of the script was played; `unplayed`: those that nobody saw, since it was stopped.
    """

    entries: int
    granted: int
    denied: Counter[str]
    opened: int
    lost: int
    p50_ms: float
    p99_ms: float
    wrong: tuple[str, ...]
    scenes: Counter[str]
    unplayed: tuple[str, ...]

    @property
    def held(self) -> bool:
        """Whether the whole script was played and every expectation of it held."""
        return not self.wrong and not self.unplayed and self.lost == 0

    def as_json(self) -> dict[str, Any]:
        """The line that `--json` prints."""
        return {
            "entries": self.entries, "granted": self.granted, "denied": dict(sorted(self.denied.items())),
            "opened": self.opened, "lost": self.lost, "p50_ms": self.p50_ms, "p99_ms": self.p99_ms,
            "scenes": dict(sorted(self.scenes.items())),
        }  # fmt: skip


def play(seconds: float, *, quiet: bool) -> Result:
    """Run the demo for `seconds`, and until each scene was played; Ctrl-C ends it early and cleanly."""
    with tempfile.TemporaryDirectory(prefix="lintel-") as folder:
        return asyncio.run(_play(Path(folder), seconds, quiet=quiet))


async def _play(folder: Path, seconds: float, *, quiet: bool) -> Result:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    seed = secrets.token_bytes(32)
    view = View(seconds, quiet=quiet)
    view.say("starting the broker", "启动消息代理")
    async with broker.start(folder / "broker") as mqtt:
        view.say(f"broker: {mqtt.kind}", f"消息代理:{mqtt.kind}")
        site = settle(
            folder,
            mqtt.port,
            bytes(SigningKey(seed).verify_key),
            seed,
            bluetooth=shutil.which("dbus-daemon") is not None,
        )
        await _lintel("allowlist", "import", str(site.allowlist), "--state", str(site.state))
        view.say(f"{len(site.residents)} residents imported", f"已导入 {len(site.residents)} 位住户")
        async with lines.readers(site, view) as cards, _devices(site, mqtt.port) as devices, _gateway(site, view):
            world = World(site, devices, cards, view.show)
            await _script(world, seconds, stopped, view)
    return _books(world, view)


async def _script(world: World, seconds: float, stopped: asyncio.Event, view: View) -> None:
    """Play the script at all doors until the time is up and all was seen, or somebody presses Ctrl-C."""
    watching = asyncio.create_task(world.watch())
    await asyncio.sleep(0.2)
    await lines.install(world, view)
    until = time.monotonic() + seconds
    doors = asyncio.create_task(_life(world, until))
    ended = asyncio.create_task(stopped.wait())
    with view.live():
        await asyncio.wait({doors, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not doors.done():
            world.stopping.set()
            await asyncio.wait({doors}, timeout=10)
    doors.cancel()
    ended.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await doors
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def _life(world: World, until: float) -> None:
    async with asyncio.TaskGroup() as doors:
        for n, door in enumerate(world.site.doors):
            doors.create_task(life_at(door, world, until, n))


def _books(world: World, view: View) -> Result:
    """Compare what was presented with what the journal holds after the gateway has stopped."""
    with reading(world.site.state) as database:
        if not verify(database).ok:
            world.wrong.append("the journal does not verify")
        rows = read_rows(database.reader, Stream.ACCESS)
        ids = [row.event.id for row in rows if row.event.type == "access.decision"]
    if len(ids) != len(set(ids)):
        world.wrong.append("an entry stands in the journal twice")
    world.times_ms.sort()
    result = Result(
        world.presented, world.granted, world.denied, world.opened, world.presented - len(world.decided & set(ids)),
        round(percentile(world.times_ms, 0.5), 1), round(percentile(world.times_ms, 0.99), 1), tuple(world.wrong),
        world.played, tuple(unplayed(world)),
    )  # fmt: skip
    view.summary(result, world.notices)
    return result


async def _lintel(*arguments: str) -> None:
    """Run a `lintel` command as a user would; raises LintelError with what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lintel", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )  # fmt: skip
    output, _ = await process.communicate()
    if process.returncode:
        raise LintelError(f"lintel {' '.join(arguments)}: {output.decode().strip()}")


@contextlib.asynccontextmanager
async def _devices(site: Community, port: int) -> AsyncIterator[Simulator]:
    """All devices of the community in one process of their own."""
    people = site.folder / "persons.json"
    known = (*site.residents, site.revoked, site.blocked, site.moved_out)
    people.write_text(json.dumps([{"customId": r.id, "name": r.name} for r in known], ensure_ascii=False), "utf-8")
    parts: list[dict[str, Any]] = []
    for door in site.doors:
        if door.reader:
            commands = {"zkteco-zkb200": "zk", "newland-serial": "newland"}.get(door.reader[1], "none")
            parts.append({
                "kind": "qr-reader", "id": f"{door.id}-qr", "framing": door.reader[0], "commands": commands,
                "link": site.ports[door.id], "baud": 115200,
            })  # fmt: skip
        if door.terminal:
            parts.append({
                "kind": "face-terminal", "dialect": door.terminal[0], "id": address(door.id, "face"),
                "persons": str(people), "relay_seconds": 1.0, "utc_offset": 8.0,
            })  # fmt: skip
        if door.lock == "relay":
            relay = {"kind": "relay", "id": address(door.id, "relay"), "open_after": 0.3, "close_after": 0.5}
            parts.append(relay)
    parts += lines.locks(site)
    async with Simulator.fleet(parts, ready=True, broker=f"127.0.0.1:{port}") as devices:
        yield devices


@contextlib.asynccontextmanager
async def _gateway(site: Community, view: View) -> AsyncIterator[None]:
    """`lintel run`, the real daemon in a process of its own."""
    log = (site.folder / "gateway.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lintel", "run", "--config", str(site.config), stdout=log, stderr=log,
        start_new_session=True, env=os.environ | lines.environment(site),
    )  # fmt: skip
    try:
        async with asyncio.timeout(STARTED):
            while not await _all_up(site):
                if process.returncode is not None:
                    raise LintelError(f"the gateway ended: {(site.folder / 'gateway.log').read_text('utf-8')[-2000:]}")
                await asyncio.sleep(0.1)
        view.say(
            f"gateway: pid {process.pid}, {len(site.doors)} doors", f"网关进程 {process.pid},{len(site.doors)} 扇门"
        )
        yield
    except TimeoutError:
        raise LintelError(f"the gateway is not up after {STARTED:.0f} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()
        log.close()


async def _all_up(site: Community) -> bool:
    """Whether the gateway answers and all its lines are up."""
    if not (site.state / SOCKET).exists():
        return False
    with contextlib.suppress(LintelError):
        status = await asyncio.to_thread(call, site.state, "status")
        return all(line["state"] == "up" for line in status["lines"])
    return False
