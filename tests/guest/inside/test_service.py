"""The shipped unit on a real systemd: ready, confined, restarted, and a fire input that opens its door."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.guest.inside.gpio_sim import SimChip

SHIPPED = Path("/clone/systemd")
STRIKE, CONTACT, FIRE = 0, 1, 2
CONFIG = """
state_dir = "/var/lib/lintel"
profile_dir = "/etc/lintel/profiles"
[site]
id = 1
timezone = "Asia/Shanghai"
door_groups = ["main"]
[[line]]
id = "board"
driver = "gpio"
chip = "{chip}"
[[device]]
id = "strike"
line = "board"
profile = "gpio-strike"
address = "RELAY_1"
door = "front"
[[device]]
id = "panel"
line = "board"
profile = "panel"
address = "FIRE"
door = "*"
[[line]]
id = "radio"
driver = "ble_lock"
[[device]]
id = "bolt"
line = "radio"
profile = "lintel-lock"
address = "C4:64:E3:00:00:01"
door = "back"
[[door]]
id = "front"
groups = ["main"]
lock = "strike"
[[door]]
id = "back"
groups = ["main"]
lock = "bolt"
"""
DROP_IN = """
[Service]
ExecStart=
ExecStart=/usr/bin/python3 -m lintel run --config /etc/lintel/gateway.toml
Environment=PYTHONPATH=/clone/src:/site PYTHONDONTWRITEBYTECODE=1
"""


def systemctl(*words, check=True):
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, timeout=90, check=False)
    if check and done.returncode:
        journal = ["journalctl", "-b", "-u", "lintel", "--no-pager"]
        log = subprocess.run(journal, capture_output=True, text=True, check=False).stdout
        pytest.fail(f"systemctl {' '.join(words)}: {done.stderr}\n{log[-3000:]}")
    return done.stdout.strip()


def shows(name):
    return systemctl("show", "lintel", "--property", name, "--value")


def until(what, seconds):
    begun = time.monotonic()
    while not what():
        assert time.monotonic() - begun < seconds, f"it did not happen in {seconds} s: {shows('ActiveState')}"
        time.sleep(0.05)
    return time.monotonic() - begun


@pytest.fixture(scope="module")
def chip():
    with SimChip(4, {STRIKE: "RELAY_1", CONTACT: "DOOR_1", FIRE: "FIRE"}) as made:
        yield made


@pytest.fixture(scope="module")
def adapter():
    """A powered Bluetooth adapter, hci0."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.guest.inside.ble_world"], stdout=subprocess.PIPE, text=True, cwd="/clone"
    ) as world:
        assert world.stdout.readline() == "powered\n"
        yield
        world.terminate()


@pytest.fixture(scope="module")
def box(chip, adapter):
    """The unit and its files where the README puts them. The fire loop has a resistor of its own, and is closed."""
    for name, folder in (("lintel.sysusers", "sysusers.d"), ("lintel.tmpfiles", "tmpfiles.d")):
        target = Path("/usr/lib") / folder
        shutil.copy(SHIPPED / name, target / "lintel.conf")
    subprocess.run(["systemd-sysusers"], check=True)
    subprocess.run(["systemd-tmpfiles", "--create"], check=False)
    for rules in SHIPPED.glob("*.rules"):
        shutil.copy(rules, "/etc/udev/rules.d")
    subprocess.run(["udevadm", "control", "--reload"], check=True)
    subprocess.run(["udevadm", "trigger", "--action=add"], check=True)
    subprocess.run(["udevadm", "settle"], check=True)
    etc = Path("/etc/lintel")
    (etc / "profiles").mkdir(parents=True, exist_ok=True)
    (etc / "gateway.toml").write_text(CONFIG.format(chip=chip.path))
    fire = Path("/clone/src/lintel/firmware_profiles/gpio-fire-nc.toml").read_text()
    fire = fire.replace('name = "gpio-fire-nc"', 'name = "panel"').replace('bias = "pull_up"', 'bias = "as_is"')
    (etc / "profiles" / "panel.toml").write_text(fire)
    chip.wire(FIRE, high=False)
    shutil.copy(SHIPPED / "lintel.service", "/etc/systemd/system")
    drop_in = Path("/etc/systemd/system/lintel.service.d")
    drop_in.mkdir(exist_ok=True)
    (drop_in / "clone.conf").write_text(DROP_IN)
    systemctl("daemon-reload")
    begun = time.monotonic()
    systemctl("start", "lintel")
    print(f"start to ready: {(time.monotonic() - begun) * 1000:.0f} ms")
    yield chip
    systemctl("stop", "lintel")


def pid():
    return int(shows("MainPID"))


def test_it_says_ready_runs_as_its_own_user_and_keeps_its_state(box):
    assert shows("ActiveState") == "active"
    owner = Path(f"/proc/{pid()}").stat().st_uid
    assert owner != 0
    state = Path("/var/lib/lintel")
    assert (state.stat().st_uid, state.stat().st_mode & 0o777) == (owner, 0o700)


def test_its_lines_are_its_own(box):
    """The unit's device policy and udev's rules together let the user `lintel` at the chip."""
    until(lambda: "lintel" in _consumers(box), 15.0)


def _consumers(chip):
    import gpiod  # noqa: PLC0415

    with gpiod.Chip(str(chip.path)) as opened:
        return {opened.get_line_info(at).consumer for at in range(4)}


def test_its_radio_is_reached_through_the_sandbox(box):
    """BlueZ lets its user in, and it listens to advertisements: nobody else does here."""

    def shown():
        return subprocess.run(["bluetoothctl", "show"], capture_output=True, text=True, check=True).stdout

    until(lambda: "Discovering: yes" in shown(), 20.0)
    systemctl("stop", "lintel")
    until(lambda: "Discovering: no" in shown(), 20.0)
    systemctl("start", "lintel")


def test_control_without_its_line_in_the_unit_the_chip_stays_closed(box):
    allowed = ("--property=DevicePolicy=closed", "--property=DeviceAllow=char-gpiochip rw")
    for properties, fine in ((allowed[:1], False), (allowed, True)):
        command = ["systemd-run", "--quiet", "--pipe", "--wait", *properties, "head", "-c0", str(box.path)]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        assert (done.returncode == 0) is fine, properties


def test_it_can_not_write_where_it_has_nothing_to_write(box):
    def touch(path, *more):
        inside = ["nsenter", f"--target={pid()}", "--mount", *more, "touch", path]
        return subprocess.run(inside, capture_output=True, text=True, check=False).stderr

    for path in ("/etc/x", "/usr/x", "/clone/x", "/home/x"):
        assert "Read-only file system" in touch(path), f"even as root: {path}"
    owner = Path(f"/proc/{pid()}").stat()
    itself = (f"--setuid={owner.st_uid}", f"--setgid={owner.st_gid}")
    assert "Permission denied" in touch("/etc/lintel/x", *itself)
    assert touch("/var/lib/lintel/x", *itself) == ""


def test_killed_it_is_there_again(box):
    before = pid()
    os.kill(before, signal.SIGKILL)
    took = until(lambda: shows("ActiveState") == "active" and pid() not in (0, before), 30.0)
    print(f"kill -9 to active: {took * 1000:.0f} ms")


def test_hung_it_is_ended_by_the_watchdog_and_is_there_again(box):
    before = pid()
    os.kill(before, signal.SIGSTOP)
    took = until(lambda: shows("ActiveState") == "active" and pid() not in (0, before), 60.0)
    print(f"hung to active: {took * 1000:.0f} ms")
    assert took > 5.0, "not before its time"


def test_fire_opens_its_door_through_the_service_and_it_stays_open(box):
    until(lambda: "lintel" in _consumers(box), 15.0)
    assert not box.high(STRIKE)
    begun = time.monotonic()
    box.wire(FIRE, high=True)
    until(lambda: box.high(STRIKE), 10.0)
    print(f"fire to relay: {(time.monotonic() - begun) * 1000:.0f} ms")
    box.wire(FIRE, high=False)
    time.sleep(5.0)
    assert box.high(STRIKE), "until an operator resets it"
    before = pid()
    os.kill(before, signal.SIGKILL)
    until(lambda: shows("ActiveState") == "active" and pid() not in (0, before), 30.0)
    until(lambda: "lintel" in _consumers(box), 15.0)
    until(lambda: box.high(STRIKE), 5.0)
