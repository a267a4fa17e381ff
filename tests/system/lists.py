"""A gateway process with face terminals and their person lists, and nothing else: for power cuts and for size."""

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

from lintel.edge.control import call
from lintel.edge.errors import LintelError
from lintel.simulators.client import Simulator
from tests.brokers import Site as Broker
from tests.edge.roster.rig import jpeg

LIMIT = 60.0


class ListSite:
    """`terminals`: how many; `processes`: of simulators. People are put on the list by `fill`, as an operator does."""

    def __init__(self, terminals, *, processes=1, photo_url="", options=None, profile="mqtt-face", quick=True):
        self.ids = [str(2001 + n) for n in range(terminals)]
        self.folder = Path(tempfile.mkdtemp(prefix="ls-"))
        self.state = self.folder / "state"
        self.broker = Broker(self.folder / "broker")
        self.photo_url, self.options, self.profile, self.quick = photo_url, options or {}, profile, quick
        self.processes, self.sims, self.daemon = processes, [], None

    async def __aenter__(self):
        try:
            await self.broker.start()
            self.file = self._config()
            for n in range(self.processes):
                parts = [{"kind": "mqtt-face", "id": i} for i in self.ids[n :: self.processes]]
                defaults = {"utc_offset": 0.0, "batch_seconds": 0.0, "fetch_photos": False, "heartbeat": 0.2}
                sim = Simulator.fleet(
                    parts, broker=f"127.0.0.1:{self.broker.port}", retry=0.2, timeout=LIMIT, **(defaults | self.options)
                )
                self.sims.append(await sim.start())
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc):
        with contextlib.suppress(Exception):
            await self.kill()
        for sim in self.sims:
            await sim.stop()
        await self.broker.stop()
        if exc and exc[0] is not None:
            print(f"---- the daemon's log\n{self.log()}", file=sys.stderr)
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    def _config(self):
        url = f'photo_url = "{self.photo_url}"' if self.photo_url else ""
        lines = [
            f'state_dir = "{self.state}"', "[site]", "id = 7", 'timezone = "UTC"', "[clock]", 'trust = "system"',
            "[[line]]", 'id = "broker"', 'driver = "mqtt_terminal"', f"port = {self.broker.port}", url,
            "[[door]]", 'id = "gate"', 'groups = ["public"]', f'lock = "face-{self.ids[0]}"',
        ]  # fmt: skip
        for i in self.ids:
            lines += ["[[device]]", f'id = "face-{i}"', 'line = "broker"', f'profile = "{self._profile()}"',
                      'door = "gate"', f'address = "{i}"']  # fmt: skip
        (self.folder / "gateway.toml").write_text("\n".join(["profile_dir = 'profiles'", *lines, ""]))
        return self.folder / "gateway.toml"

    def _profile(self):
        """The model as shipped, or the same without the pause of a second between two commands."""
        folder = self.folder / "profiles"
        folder.mkdir(exist_ok=True)
        if not self.quick:
            return self.profile
        from importlib.resources import files  # noqa: PLC0415  for this alone

        text = (files("lintel") / "firmware_profiles" / f"{self.profile}.toml").read_text("utf-8")
        text = text.replace(f'name = "{self.profile}"', 'name = "brisk"', 1).replace("pause_s = 1\n", "")
        (folder / "brisk.toml").write_text(text, "utf-8")
        return "brisk"

    async def fill(self, people, *, photos=True):
        """`lintel allowlist import` of a file with these faces, with a folder of photos."""
        rows = "".join(f"per_{p},face,{p},public,granted,W*\n" for p in people)
        (self.folder / "list.csv").write_text("person,method,value,groups,consent,mask\n" + rows)
        arguments = ["allowlist", "import", str(self.folder / "list.csv"), "--replace", "--state", str(self.state)]
        if photos:
            faces = self.folder / "photos"
            faces.mkdir(exist_ok=True)
            for n, p in enumerate(people):
                (faces / f"{p}.jpg").write_bytes(jpeg(n))
            arguments += ["--photos", str(faces)]
        return await self.lintel(*arguments, "--json", "--timezone", "UTC")

    async def lintel(self, *arguments, code=0):
        """A command of the command line; its JSON."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "lintel", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode == code, (arguments, process.returncode, out, err)
        return json.loads(out)

    async def start(self):
        with (self.folder / "daemon.log").open("ab") as log:
            self.daemon = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "lintel.edge", str(self.file), stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip
        line = await asyncio.wait_for(self.daemon.stdout.readline(), LIMIT)
        assert line.startswith(b"lintel: ready"), f"{line!r}\n{self.log()}"

    async def kill(self):
        if self.daemon is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.daemon.pid, signal.SIGKILL)
            await self.daemon.wait()
            self.daemon = None

    async def stop(self):
        os.kill(self.daemon.pid, signal.SIGTERM)
        code = await asyncio.wait_for(self.daemon.wait(), 30)
        self.daemon = None
        return code

    async def ask(self, method, **params):
        return await asyncio.to_thread(call, self.state, method, params)

    async def persons(self):
        """The counts of each terminal's list, by the gateway."""
        with contextlib.suppress(LintelError):
            return {d["id"]: d["persons"] for d in (await self.ask("device.list"))["devices"]}
        return {}

    async def held(self, i):
        """Who is on a terminal, by itself."""
        n = self.ids.index(i) % self.processes
        answer = await self.sims[n].command("persons", id=i, timeout=LIMIT)
        return [p["customId"] for p in answer["persons"]]

    async def counts(self):
        """How many are on each terminal, by itself."""
        return [len(await self.held(i)) for i in self.ids]

    async def converged(self, count, limit):
        """Wait until the gateway says that everybody is stored everywhere; seconds it took."""
        began = time.monotonic()
        async with asyncio.timeout(limit):
            while True:
                lists = await self.persons()
                if lists and all(p["stored"] == p["wanted"] == count and not p["deleting"] for p in lists.values()):
                    return time.monotonic() - began
                await asyncio.sleep(0.2)

    def log(self):
        path = self.folder / "daemon.log"
        return path.read_text("utf-8", "replace")[-5000:] if path.exists() else ""

    def rss_mb(self):
        text = Path(f"/proc/{self.daemon.pid}/status").read_text()
        return int(text.split("VmHWM:")[1].split()[0]) / 1024


def run(body, *args, **options):
    async def main():
        async with ListSite(*args, **options) as site:
            return await body(site)

    return asyncio.run(main())
