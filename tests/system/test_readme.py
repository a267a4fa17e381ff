"""The README's walk through a site, typed as it stands there: broker, devices, gateway, a resident, a pass twice."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from lintel.edge import broker

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 60.0
"""Seconds that anything may take on a busy machine; all of it takes about five."""


def steps(page):
    """Shell blocks of the walk, one list of commands each; and what is typed into the reader's terminal."""
    text = (ROOT / page).read_text("utf-8")
    walk = re.split(r"^## ", text, flags=re.MULTILINE)[4]
    blocks = [block.split("\n") for block in re.findall(r" +```sh\n(.*?)\n +```", walk, re.DOTALL)]
    code = re.search(r"`(R-\w+)`", walk)
    scan = re.search(r'`(\{"cmd".*?\})`', walk)
    return [[line.strip() for line in block] for block in blocks], code[1], scan[1]


class Desk:
    """Somebody with a clone, a home and several terminals."""

    def __init__(self):
        self.home = Path(tempfile.mkdtemp(prefix="lt-"))  # short: a unix socket's path has at most 107 characters
        self.port = str(broker.free_port())
        self.open = []
        launcher = self.home / "lintel"
        launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -m lintel "$@"\n')
        launcher.chmod(0o755)
        (self.home / "examples").symlink_to(ROOT / "examples")

    def here(self, command):
        """The command in this test's own places: folders, and a port that is free."""
        for name in ("gateway.toml", "mosquitto.conf"):
            file = self.home / "site" / name
            if file.exists() and self.port not in (text := file.read_text("utf-8")):
                file.write_text(text.replace("1883", self.port).replace("/tmp/", f"{self.home}/"), "utf-8")
        command = command.replace("/tmp/", f"{self.home}/")
        return command + f" --broker 127.0.0.1:{self.port}" if "face-terminal" in command else command

    def environment(self):
        return {**os.environ, "HOME": str(self.home), "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1"}

    def type(self, command):
        """Run it and return what it printed."""
        done = subprocess.run(
            ["bash", "-c", self.here(command)], cwd=self.home, env=self.environment(), capture_output=True, text=True,
            timeout=LIMIT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def terminal(self, command):
        """Leave it running in a terminal of its own."""
        terminal = Terminal(self.here(command).replace("mosquitto -c", "exec mosquitto -c"), self)
        self.open.append(terminal)
        return terminal


class Terminal:
    """A window: what was printed there so far, and a keyboard."""

    def __init__(self, command, desk):
        self.command, self.lines = command, []
        plain = command if command.startswith("cd") else f"exec {command}"
        self.process = subprocess.Popen(
            ["bash", "-c", plain], cwd=desk.home, env=desk.environment(), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self.reader.start()

    def wait(self, text, times=1):
        end = time.monotonic() + LIMIT
        while sum(text in line for line in self.lines) < times:
            assert time.monotonic() < end, f"{self.command}: no {text!r} in {self.lines}"
            assert self.process.poll() is None, f"{self.command}: ended: {self.lines}"
            time.sleep(0.02)

    def type(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.terminate()
        self.process.wait(LIMIT)
        self.reader.join(LIMIT)
        self.process.stdout.close()


@pytest.fixture
def desk():
    desk = Desk()
    yield desk
    for terminal in reversed(desk.open):
        terminal.close()
    shutil.rmtree(desk.home)


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_the_walk_goes_as_the_readme_says(desk, page):
    (prepare, key, devices, gateway, issue, look), code, scan = steps(page)
    for command in prepare + key:
        desk.type(command)
    mosquitto, face, reader = (desk.terminal(command) for command in devices)
    face.wait("ready")
    reader.wait("ready")
    desk.terminal(gateway[0]).wait("ready, 1 doors")
    _wait_up(desk)
    reader.type(code)
    face.wait("unlocked", 1)
    reader.type("R-UNKNOWN")
    _decided(desk, 2)
    for command in issue:
        desk.type(command)
    reader.type(desk.here(scan))
    face.wait("unlocked", 2)
    _decided(desk, 3)
    time.sleep(1.6)  # a reader takes the same code within 1.5 s for one scan
    reader.type(desk.here(scan))
    reasons = _decided(desk, 4)
    assert reasons == re.search(r"# (.*)", look[0])[1].split(", ")
    assert mosquitto.process.poll() is None
    for command in look[1:]:
        desk.type(command)
    desk.type("./lintel journal verify --state ~/site/state")


def _wait_up(desk):
    end = time.monotonic() + LIMIT
    while True:
        status = json.loads(desk.type("./lintel status --json --state ~/site/state"))
        if all(line["state"] == "up" for line in status["lines"]):
            return
        assert time.monotonic() < end, status


def _decided(desk, count):
    """The reasons in the journal once there are `count`."""
    end = time.monotonic() + LIMIT
    while True:
        events = desk.type("./lintel journal tail --json --state ~/site/state").splitlines()
        reasons = [event["reason"] for event in map(json.loads, events) if event["type"] == "access.decision"]
        if len(reasons) >= count:
            return reasons
        assert time.monotonic() < end, reasons


def test_the_broker_of_the_example_is_the_one_we_ship():
    text = (ROOT / "examples/mosquitto.conf").read_text("utf-8")
    body = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    assert body == broker.mosquitto_conf(1883, Path())["mosquitto.conf"]
