"""Builds what the guest is made of, once, into the user's cache directory: kernel, disk, Python packages.

Each part lies in a folder named by a hash of what it is made from, so that a changed ingredient makes a new one. As
root on Debian or Ubuntu what is missing is installed with apt; else it is said.
"""

import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.guest.machine import CLONE, Box

HERE: Final = Path(__file__).parent
SUITE: Final = "bookworm"
PYTHON: Final = "3.11"
"""The suite's Python: the packages are fetched for it, whatever runs the tests."""

PACKAGES: Final = ("systemd", "systemd-sysv", "dbus", "udev", "bluez", "mosquitto", "python3")
MASKED: Final = (
    *("mosquitto.service", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer"),
    *("e2scrub_all.timer", "e2scrub_reap.service", "getty@tty1.service"),
)
SOURCE: Final = ("trixie-backports", "linux-source-7.3")
"""Of Debian's backports; when they have moved on, the newest there is taken. LINTEL_KERNEL_SOURCE: a folder instead."""

KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PROGRAMS: Final = {
    "gcc": "gcc", "make": "make", "flex": "flex", "bison": "bison", "bc": "bc", "xz": "xz-utils", "perl": "perl",
    "mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "dpkg-deb": "dpkg",
}  # fmt: skip
HEADERS: Final = {"/usr/include/libelf.h": "libelf-dev", str(KEYRING): "debian-archive-keyring"}


KEPT_S: Final = 30 * 86_400.0
"""Parts that were not used for so long are deleted when a new one is made (s)."""


class Unbuilt(Exception):
    """A part can not be made here; the text says what to do."""


def box() -> Box:
    """The whole box: what is cached, and what is not is built (the kernel takes 4 to 25 minutes). Raises Unbuilt."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise Unbuilt("the guest is a User-Mode Linux kernel for x86_64: run these tests on such a machine")
    return Box(kernel() / "linux", disk() / "disk", site())


def cache() -> Path:
    """Where the parts lie."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lintel" / "guest"


def kernel() -> Path:
    """The folder of the kernel `linux` and its `config`."""
    own = os.environ.get("LINTEL_KERNEL_SOURCE", "")
    return _part(
        "kernel", [(HERE / "kernel.config").read_bytes(), *(w.encode() for w in SOURCE), own.encode()], _kernel
    )


def disk() -> Path:
    """The folder of the `disk`."""
    files = sorted(p for p in (HERE / "root").rglob("*") if p.is_file())
    words = [SUITE, *PACKAGES, *MASKED, *(str(p.relative_to(HERE)) for p in files)]
    return _part("disk", [*(w.encode() for w in words), *(p.read_bytes() for p in files)], _disk)


def site() -> Path:
    """The folder of the Python packages, pinned by `constraints.txt`."""
    return _part("site", [PYTHON.encode(), (CLONE / "constraints.txt").read_bytes()], _site)


def _part(name: str, made_from: Sequence[bytes], make: Callable[[Path], None]) -> Path:
    """The finished folder of a part. Two builders take turns, and one that was killed leaves nothing half made."""
    key = hashlib.sha256(b"\0".join(made_from)).hexdigest()[:16]
    place = cache() / f"{name}-{key}"
    if place.is_dir():
        os.utime(place)
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with _turn(place.with_suffix(".lock")):
        if place.is_dir():
            return place
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=place.parent) as folder:
            done = Path(folder) / "done"
            done.mkdir()
            make(done)
            done.chmod(0o755)
            done.rename(place)
    for old in place.parent.glob(f"{name}-*"):
        if old.is_dir() and time.time() - old.stat().st_mtime > KEPT_S:
            shutil.rmtree(old, ignore_errors=True)
    return place


@contextmanager
def _turn(file: Path) -> Iterator[None]:
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _call(*command: str | Path, cwd: Path | None = None, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise Unbuilt(f"{' '.join(map(str, command))[:200]} ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout


def _tools() -> None:
    """The programs and headers that building needs: there, or installed, or named."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    missing = {package for name, package in PROGRAMS.items() if shutil.which(name, path=path) is None}
    missing |= {package for file, package in HEADERS.items() if not Path(file).exists()}
    if not missing or _apt(sorted(missing)):
        return
    raise Unbuilt(f"building the guest needs {' '.join(sorted(missing))}: run `apt-get install ...` as root")


def _apt(packages: Sequence[str]) -> bool:
    """Install as `./lintel` does."""
    spec = importlib.util.spec_from_file_location("lintel_setup", CLONE / "scripts" / "setup.py")
    if spec is None or spec.loader is None:
        return False
    setup = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(setup)
    return bool(setup.apt(packages))


def _say(text: str) -> None:
    print(f"guest: {text}", file=sys.stderr, flush=True)


def _kernel(done: Path) -> None:
    _tools()
    own = os.environ.get("LINTEL_KERNEL_SOURCE", "")
    work = done.parent / "source"
    if own:
        shutil.copytree(own, work, symlinks=True)
    else:
        work.mkdir()
        _unpack(done.parent, work)
    _say("building the kernel: once, 4 to 25 minutes")
    make = ("nice", "-n", "19", "make", "ARCH=um")
    _call(*make, "defconfig", cwd=work)
    _call("sh", "scripts/kconfig/merge_config.sh", "-m", ".config", HERE / "kernel.config", cwd=work, ARCH="um")
    _call(*make, "olddefconfig", cwd=work)
    if unset := _unset((work / ".config").read_text()):
        raise Unbuilt(f"this kernel does not take {', '.join(unset)} of kernel.config")
    _call(*make, f"-j{os.cpu_count() or 2}", "linux", cwd=work)
    _call("strip", "-o", done / "linux", work / "linux")
    shutil.copy(work / ".config", done / "config")


def _unset(config: str) -> list[str]:
    """The lines of our file that did not come true."""
    have = dict(line.split("=", 1) for line in config.splitlines() if line.startswith("CONFIG_"))
    want = dict(
        line.split("=", 1) for line in (HERE / "kernel.config").read_text().splitlines() if line[:7] == "CONFIG_"
    )
    return [f"{key}={value}" for key, value in want.items() if have.get(key, "n") != value]


def _unpack(folder: Path, work: Path) -> None:
    """Debian's kernel source, by a private list: the host's own sources stay as they are."""
    suite, name = SOURCE
    lists, file = folder / "apt", folder / "sources.list"
    for part in ("lists/partial", "cache/archives/partial"):
        (lists / part).mkdir(parents=True)
    file.write_text(f"deb [signed-by={KEYRING}] {_mirror()} {suite} main\n")
    private = (
        *("-o", f"Dir::Etc::sourcelist={file}", "-o", "Dir::Etc::sourceparts=-"),
        *("-o", f"Dir::State::lists={lists / 'lists'}", "-o", f"Dir::Cache={lists / 'cache'}"),
        *("-o", "APT::Sandbox::User=root"),
    )
    _call("apt-get", *private, "update")
    found = [line.split(" ")[0] for line in _call("apt-cache", *private, "search", "^linux-source-").splitlines()]
    if name not in found:
        if not found:
            raise Unbuilt(f"no linux-source in {suite} of {_mirror()}: set LINTEL_KERNEL_SOURCE to an unpacked kernel")
        name = max(found, key=lambda n: [int(p) for p in n.removeprefix("linux-source-").split(".") if p.isdigit()])
        _say(f"{SOURCE[1]} is no longer in {suite}; taking {name}")
    _call("apt-get", *private, "download", name, cwd=folder)
    package = next(folder.glob(f"{name}_*.deb"))
    _call("dpkg-deb", "-x", package, folder / "deb")
    _call("tar", "-xf", next((folder / "deb" / "usr" / "src").glob("*.tar.xz")), "-C", work, "--strip-components=1")


def _mirror() -> str:
    """The archive that this machine's apt uses for Debian; LINTEL_DEBIAN_MIRROR where it uses none."""
    if named := os.environ.get("LINTEL_DEBIAN_MIRROR"):
        return named
    said = _call("apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Created-By: Packages")
    for line in said.splitlines():
        origin, label, uri = line.split("|")
        if (origin, label) == ("Debian", "Debian"):
            return uri
    raise Unbuilt("apt knows no Debian archive here: set LINTEL_DEBIAN_MIRROR to one, or LINTEL_KERNEL_SOURCE")


def _disk(done: Path) -> None:
    _tools()
    if os.geteuid() != 0:
        raise Unbuilt("the guest's disk is built as root: run the tests once as root; booting it then needs no rights")
    _say("building the disk: once, 1 to 3 minutes")
    root = done.parent / "root"
    leave_out = [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "locale", "info")]
    include = f"--include={','.join(PACKAGES)}"
    mirror = [named] if (named := os.environ.get("LINTEL_DEBIAN_MIRROR")) else []
    _call("mmdebstrap", "--variant=minbase", include, *leave_out, SUITE, root, *mirror)
    shutil.copytree(HERE / "root", root, dirs_exist_ok=True)
    (root / "usr/local/sbin/guest").chmod(0o755)
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (root / "etc/hostname").write_text("box\n")
    _call("systemctl", f"--root={root}", "enable", "guest.service")
    _call("systemctl", f"--root={root}", "mask", *MASKED)
    _call("mke2fs", "-q", "-t", "ext4", "-d", root, done / "disk", "3G", PATH=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    (done / "disk").chmod(0o444)


def _site(done: Path) -> None:
    _say("fetching the guest's Python packages")
    pins = CLONE / "constraints.txt"
    common = ("--target", done, "--only-binary", ":all:", "--require-hashes", "--no-deps", "-r", pins)
    if uv := shutil.which("uv"):
        wanted = ("--python-version", PYTHON, "--python-platform", "x86_64-manylinux_2_36")
        _call(uv, "pip", "install", "--quiet", *wanted, *common, UV_PYTHON_DOWNLOADS="never")
        return
    platforms = [f"manylinux_2_{n}_x86_64" for n in range(36, 4, -1)]
    platforms += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"]
    tags = [word for name in platforms for word in ("--platform", name)]
    wanted = ("--python-version", PYTHON, "--implementation", "cp", "--no-compile", "--disable-pip-version-check")
    _call(sys.executable, "-m", "pip", "install", "--quiet", *wanted, *tags, *common)
