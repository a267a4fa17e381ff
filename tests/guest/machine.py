"""Boots the guest, runs a script of the host in it as root, and brings back what it said. One boot for each script."""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MEMORY_MB = 768
CLONE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Box:
    """What a guest is made of: the kernel, the disk (never written to), the Python packages."""

    kernel: Path
    disk: Path
    site: Path


@dataclass(frozen=True, slots=True)
class Result:
    """How a script ended: `rc` is None where the guest died or ran past its limit. `seconds` count from power-on."""

    rc: int | None
    output: str
    console: str
    seconds: float

    def __str__(self) -> str:
        return f"rc {self.rc} after {self.seconds:.1f} s\n{self.output}\n--- console\n{self.console[-4000:]}"


def run(box: Box, script: str, *, limit: float = 120.0, files: Mapping[str, str] | None = None) -> Result:
    """Boot, run `script` with sh, power off. The clone is read-only at /clone, `files` lie beside the script in /share.

    Changes to the disk are thrown away. PYTHONPATH holds the clone and its packages.
    """
    with tempfile.TemporaryDirectory(prefix="guest-", dir=_plain_folder()) as name:
        folder = Path(name)
        share = folder / "share"
        share.mkdir()
        for file, text in (files or {}).items():
            (share / file).write_text(text, "utf-8")
        (share / "script").write_text(_PREPARE.format(clone=CLONE, site=box.site) + script, "utf-8")
        start = time.monotonic()
        console = _boot(box, folder, limit)
        seconds = time.monotonic() - start
        rc, output = share / "rc", share / "output"
        return Result(
            int(rc.read_text()) if rc.exists() else None,
            output.read_text("utf-8", "replace") if output.exists() else "",
            console,
            seconds,
        )


def tests(box: Box, *files: str, limit: float) -> Result:
    """Run tests of `inside/` in the guest: its output is pytest's."""
    names = [f"tests/guest/inside/{file}" for file in files]
    command = ["python3", "-m", "pytest", "-q", "-rP", "--tb=short", "-p", "no:cacheprovider", *names]
    return run(box, f"cd /clone\n{shlex.join(command)}\n", limit=limit)


_PREPARE = """\
set -eu
mkdir -p /clone /site
mount -t hostfs -o ro,{clone} none /clone
mount -t hostfs -o ro,{site} none /site
export PYTHONPATH=/clone/src:/clone:/site PYTHONDONTWRITEBYTECODE=1 LANG=C.UTF-8 HOME=/root LINTEL_GUEST=1
"""


def _boot(box: Box, folder: Path, limit: float) -> str:
    """The console's text. The whole process group of the guest is gone afterwards."""
    command = [
        str(box.kernel),
        f"mem={MEMORY_MB}M",
        f"ubd0={folder / 'changes'},{box.disk}",
        *("root=/dev/ubda", "rootfstype=ext4", "rw", "con=null", "con0=fd:0,fd:1", "ssl=null"),
        *("quiet", "panic=-1", "seccomp=auto", "random.trust_cpu=on", "systemd.show_status=0"),
        f"guest.share={folder / 'share'}",
    ]
    with (folder / "console").open("w+b") as console:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            env=os.environ | {"TMPDIR": _memory_folder(folder)},
            start_new_session=True,
        )
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            console.write(f"\nno end within {limit:.0f} s: killed\n".encode())
        finally:
            _kill(process)
        console.seek(0)
        return console.read().decode("utf-8", "replace")


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _memory_folder(folder: Path) -> str:
    """Where the guest's memory lies: in memory, where there is room (a container often has 64 MB there)."""
    shm = Path("/dev/shm")
    roomy = shm.is_dir() and os.access(shm, os.W_OK) and shutil.disk_usage(shm).free > MEMORY_MB * 2**20 * 1.2
    return str(shm if roomy else folder)


def _plain_folder() -> str:
    """A folder whose path has no blank: it stands on the kernel's command line."""
    place = tempfile.gettempdir()
    return place if not set(place) & set(" ,\t") else "/tmp"
