"""The daemon as a service: watchdog, start and stop, wrong configurations, and what the commands say beside it."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time

from .invariants import finish, vitals
from .site import LIMIT, Site, run
from .terminals import Terminals, record_of

LINTEL = (sys.executable, "-m", "lintel")


class Manager:
    """A stub service manager: the notify socket, and when which message came."""

    def __init__(self, folder):
        self.path = str(folder / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(self.path)
        self.heard = []
        asyncio.get_running_loop().add_reader(self.socket, self._read)

    def _read(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                self.heard.append((time.monotonic(), self.socket.recv(4096).decode()))

    def when(self, word):
        self._read()
        return [at for at, text in self.heard if word in text.splitlines()]

    async def next(self, word):
        count = len(self.when(word))
        async with asyncio.timeout(LIMIT):
            while len(self.when(word)) == count:
                await asyncio.sleep(0.02)

    def close(self):
        asyncio.get_running_loop().remove_reader(self.socket)
        self.socket.close()


@contextlib.asynccontextmanager
async def managed(**options):
    site = Site(**options)
    manager = Manager(site.folder)
    site.env["NOTIFY_SOCKET"] = manager.path
    try:
        async with site:
            yield site, manager
    finally:
        manager.close()


def test_r10_alive_messages_come_from_the_loop_that_decides():
    """Ready within 3 s; stopped, nothing comes; resumed, it comes again; SIGTERM says goodbye and leaves nothing."""

    async def main():
        async with managed() as (site, manager):
            (ready,) = manager.when("READY=1")
            first = site.started_in
            print(f"ready after {first:.2f} s, alive after {manager.when('WATCHDOG=1')[0] - ready:.2f} s")
            await manager.next("WATCHDOG=1")
            os.kill(site.pid, signal.SIGSTOP)
            await asyncio.sleep(0.5)  # until it has stopped
            stopped = len(manager.when("WATCHDOG=1"))
            await asyncio.sleep(7.0)
            assert len(manager.when("WATCHDOG=1")) == stopped, "who does not decide is not alive"
            os.kill(site.pid, signal.SIGCONT)
            await manager.next("WATCHDOG=1")
            assert await site.resident() == "granted"
            assert await site.stop() == 0
            assert len(manager.when("STOPPING=1")) == 1
            assert not (site.state / "control.sock").exists()
            await site.start()  # the lock of the state directory is free
            assert min(first, site.started_in) <= 3.0
            assert await site.resident() == "granted"
            await finish(site)

    asyncio.run(main())


def test_r10_control_a_loop_that_hangs_is_silent_and_a_message_from_a_thread_would_hide_it(tmp_path):
    """A planted handler blocks the loop for 9 s: no message comes. With the message in a thread none is missing."""
    script = tmp_path / "hang.py"
    script.write_text(
        "import asyncio, signal, sys, threading, time\n"
        "from lintel.edge import daemon\n"
        "from lintel.edge.health import sd_notify\n"
        "from lintel.edge.__main__ import main\n"
        "class Hanging(daemon.Daemon):\n"
        "    async def run(self):\n"
        "        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, time.sleep, 9.0)\n"
        "        await super().run()\n"
        "daemon.Daemon = Hanging\n"
        "def beat():\n"
        "    while True: time.sleep(1.0); sd_notify('WATCHDOG=1')\n"
        "if sys.argv[1] == 'thread':\n"
        "    threading.Thread(target=beat, daemon=True).start()\n"
        "del sys.argv[1]\n"
        "sys.exit(main())\n"
    )

    async def longest_silence(how):
        async with managed(main=(str(script), how), devices=False) as (site, manager):
            os.kill(site.pid, signal.SIGUSR1)
            start = time.monotonic()
            await asyncio.sleep(8.5)
            times = [start, *(at for at in manager.when("WATCHDOG=1") if at > start), time.monotonic()]
            await site.kill()
            return max(b - a for a, b in itertools.pairwise(times))

    async def main():
        async with asyncio.TaskGroup() as group:
            honest, thread = (group.create_task(longest_silence(how)) for how in ("loop", "thread"))
        print(f"longest silence: {honest.result():.1f} s from the loop, {thread.result():.1f} s from a thread")
        assert honest.result() > 7.0 > 5.0 > thread.result()

    asyncio.run(main())


WRONG = """
state_dir = "state"
[site]
id = 0
timezone = "Mars/Olympus"
[[line]]
id = "port"
driver = "serial_qr"
path = "/dev/null"
baud = 1234
[[device]]
id = "qr"
line = "nowhere"
profile = "generic-cr"
door = "gate"
colour = "red"
[[door]]
id = "gate"
groups = ["public"]
lock = "qr"
open_s = 3600
"""


def test_a_wrong_configuration_says_all_its_mistakes_at_once(tmp_path):
    file = tmp_path / "wrong.toml"
    file.write_text(WRONG)
    done = subprocess.run(
        [*LINTEL, "run", "--config", str(file)], capture_output=True, check=False, text=True, timeout=60
    )
    assert done.returncode == 1
    for where in ("site.id", "site.timezone", "baud", "device[0].line", "colour", "open_s", "door[0].lock"):
        assert where in done.stderr, done.stderr
    assert "7 mistakes" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "state").exists(), "nothing is made of a file that is refused"


def test_a_second_daemon_on_the_same_state_is_refused_and_the_first_goes_on():
    async def body(site):
        before = vitals(site.pid)
        second = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "lintel.edge", str(site.file), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = await asyncio.wait_for(second.communicate(), LIMIT)
        assert (second.returncode, out) == (1, b"")
        assert b"another Lintel process is using" in err
        assert b"Traceback" not in err
        assert await site.resident() == "granted", "its control socket and its lines are still its own"
        assert (await site.ask("status"))["pid"] == site.pid
        await finish(site, before)

    run(body)


def test_sigterm_under_load_loses_nothing():
    async def main():
        async with Site(devices=False, line="rate = 100000.0\nburst = 100000") as site:
            async with Terminals(site.broker.port, ["1001", "1002"]) as players:

                async def load():
                    for n in range(600):
                        await players.recognise(("1001", "1002")[n % 2], f"res{n % 6}")

                sending = asyncio.create_task(load())
                for _ in range(3):
                    await asyncio.sleep(0.3)
                    assert await site.stop() == 0
                    acked = set(players.acked)
                    stored = {("1001" if e.door == "gate" else "1002", record_of(e)) for e in site.decisions()}
                    assert acked <= stored
                    await site.start(up=False)
                await sending
                await site.up()
                await players.again(await players.settled(5.0))
                assert not await players.settled()
            assert await site.stop() == 0
            stored = [("1001" if e.door == "gate" else "1002", record_of(e)) for e in site.decisions()]
            assert sorted(stored) == sorted(players.sent)
            assert "Traceback" not in site.log()

    asyncio.run(main())


async def cli(*words):
    process = await asyncio.create_subprocess_exec(
        *LINTEL, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "LANG": "C.UTF-8"}
    )
    out, err = await asyncio.wait_for(process.communicate(), LIMIT)
    return process.returncode, out.decode(), err.decode()


def test_status_metrics_and_lockdown_from_the_command_line():
    async def body(site):
        state = str(site.state)
        assert await site.resident() == "granted"
        code, out, _ = await cli("status", "--state", state)
        assert code == 0
        assert "door gate" in out
        assert "line broker: up" in out
        code, out, _ = await cli("status", "--state", state, "--json")
        status = json.loads(out)
        assert (code, status["pid"], status["decisions"], status["alarms"]) == (0, site.pid, 1, {})
        code, out, _ = await cli("status", "--state", state, "--metrics")
        assert code == 0
        assert 'lintel_decisions_total{door="gate",reason="granted"} 1' in out
        assert "lintel_lines_up 3" in out
        code, out, _ = await cli("lockdown", "on", "--group", "gate", "--state", state)
        assert code == 0
        assert await site.resident() == "lockdown"
        assert await site.resident("back") == "granted"
        assert "LOCKDOWN" in (await cli("status", "--state", state))[1]
        assert (await cli("lockdown", "on", "--group", "moon", "--state", state))[0] == 1
        await site.stop()
        code, _, err = await cli("status", "--state", state)
        assert (code, "no gateway is running" in err) == (1, True)
        await site.start()
        assert await site.resident() == "lockdown", "it outlives a restart"
        assert (await cli("lockdown", "off", "--state", state))[0] == 0
        assert await site.resident() == "granted"
        await finish(site)

    run(body)
