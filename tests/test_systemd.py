"""The unit and its neighbours: understood by systemd, confined, and still allowed what the gateway needs."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lintel.edge import camera_wire
from lintel.edge.drivers.camera_process import COMMAND
from lintel.edge.store.files import CREDENTIAL
from lintel.simulators.rtsp_camera import draw

ROOT = Path(__file__).resolve().parent.parent
UNIT = ROOT / "systemd/lintel.service"
MOST_EXPOSED = 17
"""Tenths of systemd's exposure level that the unit may reach at most. Two of them are `setpriority`, with which the
process that looks at pictures steps back; without a capability nobody can step forward by it."""


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as it would be if this clone were the installed one."""
    path = tmp_path / UNIT.name
    path.write_text(UNIT.read_text().replace("/opt/lintel", str(ROOT)))
    return path


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def verdict(unit: Path) -> int:
    return analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", unit).returncode


def settings(unit: Path) -> dict[str, list[str]]:
    """Every setting of the unit, in the order of the file; a repeated key has several values."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def test_systemd_understands_every_line(unit: Path) -> None:
    done = analyze("verify", unit)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_misspelt_key_is_noticed(unit: Path) -> None:
    """The control: the exit status says nothing about it, so standard error must."""
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchdogSecs="))
    assert "WatchdogSecs" in analyze("verify", unit).stderr


def test_the_service_is_confined(unit: Path) -> None:
    assert verdict(unit) == 0


def test_a_bare_unit_is_not_confined(tmp_path: Path) -> None:
    bare = tmp_path / "bare.service"
    bare.write_text(f"[Service]\nExecStart={ROOT}/lintel run\n")
    assert verdict(bare) != 0


@pytest.mark.parametrize("key", ["CapabilityBoundingSet", "NoNewPrivileges", "ProtectSystem", "IPAddressDeny"])
def test_each_wall_counts(unit: Path, key: str) -> None:
    kept = [line for line in unit.read_text().splitlines() if not line.startswith(f"{key}=")]
    unit.write_text("\n".join(kept) + "\n")
    assert verdict(unit) != 0


def test_the_gateway_may_do_what_it_needs() -> None:
    has = settings(UNIT)
    assert has["Type"] == ["notify"]
    assert has["WatchdogSec"] == ["10"]
    assert has["LoadCredential"] == has["LoadCredentialEncrypted"] == [CREDENTIAL]
    assert has["ProtectClock"] == ["no"], "clock.py reads adjtimex(2)"
    assert has["SystemCallFilter"][-1] == "adjtimex clock_adjtime"
    assert has["OOMPolicy"] == ["continue"], "a camera's worker that runs out of memory must not end the gateway"
    assert "ProcSubset" not in has, "clock.py reads the boot id from /proc/sys"
    assert "PrivateDevices" not in has, "serial lines"
    serial = {"char-ttyUSB", "char-ttyACM", "char-ttyS"}
    assert {line.split()[0] for line in has["DeviceAllow"]} == serial | {"char-gpiochip", "char-video4linux"}


GATEWAY = """
state_dir = "state"
[site]
id = 1
timezone = "Asia/Shanghai"
door_groups = ["main"]
[[line]]
id = "port"
driver = "serial_qr"
path = "/dev/serial/by-id/unplugged"
[[device]]
id = "reader"
line = "port"
profile = "generic-cr"
door = "front"
[[line]]
id = "broker"
driver = "mqtt_terminal"
port = 9
[[device]]
id = "relay"
line = "broker"
profile = "shelly-gen2"
address = "relay"
door = "front"
[[door]]
id = "front"
groups = ["main"]
lock = "relay"
"""


def members(group: str) -> set[str]:
    """The system calls of one of systemd's groups, with those of the groups in it."""
    lines = [line.strip() for line in analyze("syscall-filter", group).stdout.splitlines()[1:]]
    names = {line for line in lines if line and not line.startswith(("#", "@"))}
    return names.union(*(members(line) for line in lines if line.startswith("@")))


def allowed(filters: list[str]) -> set[str]:
    """What a sequence of SystemCallFilter= lines lets through."""
    found = members("@default")
    for line in filters:
        names = line.removeprefix("~").split()
        calls = set().union(*(members(name) if name.startswith("@") else {name} for name in names))
        found = found - calls if line.startswith("~") else found | calls
    return found


def test_every_system_call_of_the_gateway_is_allowed(tmp_path: Path) -> None:
    """From start to orderly stop. The control: without the clock's line the filter would stop it."""
    (tmp_path / "gateway.toml").write_text(GATEWAY)
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-qq", "-o", str(trace), sys.executable, "-m", "lintel", "run"]
    command += ["--config", str(tmp_path / "gateway.toml")]
    english = os.environ | {"LC_ALL": "C.UTF-8"}
    with subprocess.Popen(command, env=english, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as gateway:
        assert gateway.stdout is not None
        said = ""
        for line in gateway.stdout:
            said += line
            if ready := re.search(r"ready.*pid (\d+)", line):
                os.kill(int(ready[1]), signal.SIGTERM)
    assert "ready" in said, said
    used = set(re.findall(r"^\d+ +([a-z]\w+)\(", trace.read_text(errors="replace"), re.MULTILINE))
    assert {"openat", "fsync", "clock_adjtime"} <= used, "the trace is of the gateway"
    if os.geteuid() == 0:
        used.discard("fchown")  # SQLite keeps a file's owner, but only as root
    filters = settings(UNIT)["SystemCallFilter"]
    assert used - allowed(filters) == set()
    assert used - allowed(filters[:-1]) == {"clock_adjtime"}


def test_every_system_call_of_a_cameras_worker_is_allowed(tmp_path: Path) -> None:
    """From start to end, with a picture read. `mbind` is OpenBLAS's, which goes on without it: here it is refused."""
    trace, folder = tmp_path / "trace", tmp_path / "pictures"
    folder.mkdir()
    ours, theirs = socket.socketpair()
    ours.sendall(camera_wire.encode(camera_wire.Start("file", str(folder))))
    command = ["strace", "-f", "-qq", "-o", str(trace), "-e", "inject=mbind:error=EPERM", *COMMAND, "gate-cam"]
    with ours, subprocess.Popen(command, stdin=theirs) as worker, ours.makefile("rb") as said:
        theirs.close()

        def told() -> camera_wire.Message:
            return camera_wire.decode(said.read(camera_wire.size(said.read(4))))

        assert told() == camera_wire.Opened()
        picture = folder / ".code.png"
        draw(["HELLO"], 200, 200, 5).save(picture)
        picture.rename(folder / "code.png")
        while isinstance(heard := told(), camera_wire.Alive):
            pass
        assert isinstance(heard, camera_wire.Seen)
        assert heard.codes == [b"HELLO"]
        ours.shutdown(socket.SHUT_RDWR)
        assert worker.wait(20) == 0
    used = set(re.findall(r"^\d+ +([a-z]\w+)\(", trace.read_text(errors="replace"), re.MULTILINE))
    filters = settings(UNIT)["SystemCallFilter"]
    assert used - allowed(filters) <= {"mbind"}
    assert "setpriority" in used - allowed([line for line in filters if line != "setpriority"])


def test_the_service_runs_as_the_user_that_is_made(tmp_path: Path) -> None:
    has = settings(UNIT)
    done = subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", "--dry-run", str(ROOT / "systemd/lintel.sysusers")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert f"Creating user '{has['User'][0]}'" in done.stderr
    assert has["Group"] == has["User"] == ["lintel"]


def test_the_folders_are_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "group"):
        shutil.copy(f"/etc/{name}", tmp_path / f"etc/{name}")
    mine = tmp_path / "lintel.conf"  # the same lines for a user that this machine has
    text = (ROOT / "systemd/lintel.tmpfiles").read_text()
    mine.write_text(text.replace(" lintel lintel ", " - - ").replace(" root root ", " - - "))
    done = subprocess.run(
        ["systemd-tmpfiles", f"--root={tmp_path}", "--create", str(mine)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "etc/credstore").stat().st_mode & 0o777 == 0o700


def test_udev_gives_the_lines_to_that_user() -> None:
    rules = (ROOT / "systemd/60-lintel-serial.rules").read_text()
    lines = [line for line in rules.splitlines() if line and not line.startswith("#")]
    term = re.compile(r'[A-Z_]+(\{[A-Za-z_]+\})?(==|!=|=|\+=)"[^"]*"')
    assert all(term.fullmatch(part) for line in lines for part in line.split(", "))
    assert any('GROUP="lintel"' in line and "ttyUSB" in line for line in lines)
