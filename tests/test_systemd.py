"""The unit and its neighbours: understood by systemd, confined, and still allowed what the gateway needs."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lintel.edge.store.files import CREDENTIAL

ROOT = Path(__file__).resolve().parent.parent
UNIT = ROOT / "systemd/lintel.service"
MOST_EXPOSED = 15
"""Tenths of systemd's exposure level that the unit may reach at most."""


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
    assert "ProcSubset" not in has, "clock.py reads the boot id from /proc/sys"
    assert "PrivateDevices" not in has, "serial lines"
    assert {line.split()[0] for line in has["DeviceAllow"]} == {"char-ttyUSB", "char-ttyACM", "char-ttyS"}


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
