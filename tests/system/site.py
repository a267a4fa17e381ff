"""A whole site: mosquitto, simulated devices as processes, and the daemon as a process. `async with Site() as site:`

Doors: `gate` (QR reader on a pty, face terminal 1001, Shelly relay), `back` (QR reader, face terminal 1002 whose own
relay is the lock). The test presents, follows the `watch` feed, and reads the journal after the stop.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from lintel.edge.control import SOCKET, call
from lintel.edge.digests import Digester
from lintel.edge.errors import LintelError
from lintel.edge.model import Stream
from lintel.edge.store import Store, derive, state_key, state_lock
from lintel.edge.store.reading import reading
from lintel.edge.store.rows import read_rows
from lintel.edge.store.verify import verify
from lintel.simulators.client import Simulator
from tests.brokers import Site as Broker

from .people import DOORS, GROUPS, LOCK, PASSWORD, PUBLIC, RELAY, RESIDENTS, SITE, TERMINAL, credentials

LIMIT = 30.0
"""Seconds that anything may take on a busy machine: paid only for what does not happen."""
STOP = 20.0
"""TimeoutStopSec of the unit."""
PYTHON = (sys.executable, "-X", "dev") if os.environ.get("LINTEL_DEV") else (sys.executable,)


class Site:
    """Everything that runs. Options: `trust` of the clock, `people` and `passes` besides RESIDENTS, `doors` (keys),
    `rate` of the broker line, `main` (module or script to run instead of the daemon), `state` (another directory),
    `repush` (s) after which a terminal sends again what is not acknowledged, its Online too.
    """

    def __init__(
        self, *, trust="system", people=(), passes=(), doors=None, line="", main=("-m", "lintel.edge"),
        devices=True, state=None, extra="", wrap=(), env=None, before=None, repush=1.0,
    ):  # fmt: skip
        self.trust, self.people, self.passes, self.door_options = (
            trust,
            [*RESIDENTS, *people],
            list(passes),
            doors or {},
        )
        self.line, self.main, self.with_devices, self.extra, self.wrap = line, main, devices, extra, wrap
        self.before, self.env, self.repush = before, dict(env or {}), repush
        self.folder = Path(tempfile.mkdtemp(prefix="lt-"))  # short: a unix socket's path has at most 107 characters
        self.state = state or self.folder / "state"
        self.where = self.state  # how the test sees it, where the daemon lives in a namespace of its own
        self.broker = Broker(self.folder / "broker")
        self.devices = None
        self.daemon = None
        self.presented = 0
        self.feed = []
        self._taken = self._turn = 0
        self._heard = asyncio.Condition()
        self._following = asyncio.Event()
        self._watching = None
        self.started_in = 0.0

    # life

    async def __aenter__(self):
        try:
            await self.broker.start()
            self.file = self.write_config()
            await self.fill()
            if self.with_devices:
                await self.plug_in()
            if self.before is not None:
                await self.before(self)
            await self.start()
        except BaseException as error:
            await self.__aexit__(type(error))
            raise
        return self

    async def __aexit__(self, *exc):
        with contextlib.suppress(Exception):
            await self.kill()
        if self.devices is not None:
            await self.devices.stop()
        await self.broker.stop()
        if exc and exc[0] is not None:
            print(f"---- the daemon's log\n{self.log()}", file=sys.stderr)
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    async def plug_in(self):
        parts = [{"kind": "relay", "id": RELAY, "open_after": None}]
        for door in DOORS:
            parts += [
                {"kind": "qr-reader", "id": f"{door}-qr", "link": str(self.port(door)), "framing": "crlf", "baud": 0,
                 "commands": "none"},
                {"kind": "mqtt-face", "id": TERMINAL[door], "utc_offset": 0.0, "repush": self.repush,
                 "fetch_photos": False, "persons": str(self.persons_file()), "relay_seconds": 0.5},
            ]  # fmt: skip
        self.devices = Simulator.fleet(parts, broker=f"127.0.0.1:{self.broker.port}", retry=0.2, timeout=LIMIT)
        await self.devices.start()

    def persons_file(self):
        path = self.folder / "persons.json"
        path.write_text(json.dumps([{"customId": p.id, "name": "CANARY-name"} for p in self.people if p.face]))
        return path

    def port(self, door):
        return self.folder / f"{door}-port"

    def write_config(self):
        lines = [
            f'state_dir = "{self.state}"', "[site]", f"id = {SITE}", 'timezone = "UTC"',
            f"door_groups = {json.dumps(GROUPS)}", "other_sites = [4711]", "[clock]", f'trust = "{self.trust}"',
            "[[pass_key]]", "id = 7", f'public_key = "{PUBLIC}"',
            "[[line]]", 'id = "broker"', 'driver = "mqtt_terminal"', f"port = {self.broker.port}",
            'username = "lintel"', 'password = "mqtt"', self.line,
        ]  # fmt: skip
        for door in DOORS:
            lock = "gate-relay" if door == "gate" and self.with_devices else f"{door}-face"
            lines += ["[[line]]", f'id = "{door}-port"', 'driver = "serial_qr"', f'path = "{self.port(door)}"']
            lines += [
                "[[door]]",
                f'id = "{door}"',
                f'groups = ["{door}", "public"]',
                f'lock = "{lock}"',
                "open_s = 0.5",
            ]
            lines += [self.door_options.get(door, "")]
            lines += device(f"{door}-qr", f"{door}-port", "generic-cr", door)
            lines += device(f"{door}-face", "broker", "mqtt-face", door, TERMINAL[door])
        lines += device("gate-relay", "broker", "shelly-gen2", "gate", RELAY)
        path = self.folder / "gateway.toml"
        path.write_text("\n".join([*lines, self.extra, ""]), "utf-8")
        self.state.mkdir(mode=0o700, exist_ok=True)
        (self.state / "credentials").mkdir(mode=0o700, exist_ok=True)
        secret = self.state / "credentials" / "mqtt"
        secret.write_text(PASSWORD)
        secret.chmod(0o600)
        return path

    async def fill(self):
        """Everybody on the allowlist, as a checkpoint of the cloud would put them there."""
        with state_lock(self.state):
            key = state_key(self.state)
            digest = Digester(derive(key, "digest"))
            store = Store.open(self.state, key)
            try:
                puts = list(self.passes)
                for p in self.people:
                    puts += credentials(digest, p)
                await store.allowlist.apply_checkpoint(puts, epoch=1, seq=1, synced_at=time.time())
            finally:
                await store.close()

    async def start(self, *, up=True):
        """Start the daemon; wait until its doors decide, and with `up` until its lines are up."""
        begun = time.monotonic()
        log = (self.folder / "daemon.log").open("ab")
        try:
            self.daemon = await asyncio.create_subprocess_exec(
                *self.wrap, *PYTHON, *self.main, str(self.file), stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE, stderr=log, start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.env},
            )  # fmt: skip
        finally:
            log.close()
        line = await asyncio.wait_for(self.daemon.stdout.readline(), LIMIT)
        self.started_in = time.monotonic() - begun
        assert line.startswith(b"lintel: ready"), f"not ready: {line!r}\n{self.log()}"
        self._following.clear()
        self._watching = asyncio.create_task(self._watch())
        if up:
            await self.up()

    async def _watch(self):
        with contextlib.suppress(ConnectionError, FileNotFoundError):
            reader, writer = await asyncio.open_unix_connection(self.where / SOCKET, limit=1 << 20)
            writer.write(b'{"method": "watch"}\n')
            try:
                while line := await reader.readline():
                    event = json.loads(line)["result"]
                    async with self._heard:
                        self.feed.append(event)
                        self._heard.notify_all()
                    self._following.set()
            finally:
                writer.close()

    async def stop(self, limit=STOP):
        """SIGTERM; returns the exit code."""
        process = self.daemon
        os.kill(process.pid, signal.SIGTERM)
        return await self._ended(limit)

    async def kill(self):
        if self.daemon is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.daemon.pid, signal.SIGKILL)
            await self._ended(LIMIT)

    async def _ended(self, limit):
        code = await asyncio.wait_for(self.daemon.wait(), limit)
        self.daemon = None
        if self._watching is not None:
            await asyncio.wait({self._watching}, timeout=LIMIT)
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            self._watching = None
        return code

    @property
    def pid(self):
        return self.daemon.pid

    # asking

    async def ask(self, method, **params):
        return await asyncio.to_thread(call, self.where, method, params)

    async def up(self, limit=LIMIT, lines=None):
        """After a start: wait until the lines are up and the feed is on. (One just broken may still count as up.)"""
        if lines is None and self.devices is None:
            lines = ["broker"]
        async with asyncio.timeout(limit):
            while True:
                with contextlib.suppress(LintelError):
                    status = await self.ask("status")
                    states = {line["id"]: line["state"] for line in status["lines"]}
                    wanted = [s for i, s in states.items() if lines is None or i in lines]
                    if self._following.is_set() and set(wanted) == {"up"}:
                        return
                await asyncio.sleep(0.02)

    async def event(self, limit=LIMIT, **match):
        """The next event of the feed, in order, that has these fields; others are passed over."""
        async with asyncio.timeout(limit), self._heard:
            while True:
                while self._taken < len(self.feed):
                    event = self.feed[self._taken]
                    self._taken += 1
                    if match.items() <= event.items():
                        return event
                await self._heard.wait()

    async def seen(self, limit=LIMIT, **match):
        """An event anywhere in the feed with these fields, waiting for it; the feed's place does not move."""
        async with asyncio.timeout(limit), self._heard:
            while True:
                for event in self.feed:
                    if match.items() <= event.items():
                        return event
                await self._heard.wait()

    async def decision(self, door, limit=LIMIT):
        event = await self.event(limit, type="access.decision", door=door)
        return event["reason"]

    # presenting: each returns the reason word

    async def scan(self, text=None, door="gate", **shown):
        self.presented += 1
        await self.devices.command("scan", id=f"{door}-qr", **({"text": text} if text is not None else shown))
        return await self.decision(door)

    async def resident(self, door="gate"):
        """The next resident holds a code before the reader of a door."""
        return await self.scan(self.next_resident(), door)

    def next_resident(self):
        self._turn += 1
        return RESIDENTS[self._turn % len(RESIDENTS)].code

    async def raw(self, data, door="gate"):
        """Bytes on the serial line; no decision is waited for."""
        return await self.devices.command("garbage", id=f"{door}-qr", hex=data.hex())

    async def face(self, who, door="gate", **options):
        self.presented += 1
        await self.devices.command("face", id=TERMINAL[door], person=who, **options)
        return await self.decision(door)

    async def shown(self, text, door="gate"):
        """A QR code before the camera of the face terminal."""
        self.presented += 1
        await self.devices.command("qr", id=TERMINAL[door], text=text)
        return await self.decision(door)

    async def orders(self, door):
        """Monotonic times of the orders that reached the lock of a door."""
        return (await self.devices.command("ledger", id=LOCK[door]))["times"]

    async def ordered(self, door, count, limit=LIMIT):
        """Wait until the lock has had `count` orders, and see that no more come."""
        async with asyncio.timeout(limit):
            while len(await self.orders(door)) < count:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.05)
        assert len(await self.orders(door)) == count

    # afterwards

    def log(self):
        path = self.folder / "daemon.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def journal(self, *streams):
        """Every event of the streams (all when none is named), after the daemon has stopped; the chain verified."""
        with reading(self.where) as database:
            report = verify(database)
            assert report.ok, report.breaks[:3]
            return [r.event for s in streams or Stream for r in read_rows(database.reader, s)]

    def decisions(self):
        return [e for e in self.journal(Stream.ACCESS) if e.type == "access.decision"]


def device(name, line, profile, door, address=""):
    lines = ["[[device]]", f'id = "{name}"', f'line = "{line}"', f'profile = "{profile}"', f'door = "{door}"']
    return [*lines, f'address = "{address}"'] if address else lines


def run(body, *args, **options):
    """Run `async body(site)` on a fresh site."""

    async def main():
        async with Site(**options) as site:
            return await body(site, *args)

    return asyncio.run(main())
