"""Makes `.venv` for `./lintel`: pinned packages, each checked against its hash, and the system packages beside them.

Where a level wants them, `.venv-peers/NAME` too: programs of others, whose modules' names clash with one another.
Called by the launcher as `setup.py LEVEL KEY`. Standard library only. Two starts at once take turns, a failure leaves
no half-made environment, and an interrupted set-up is found and repaired by the next start.
"""
# ruff: noqa: INP001, S603 -- a script, not a package; it runs the programs that it names itself

import collections
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PEERS = ROOT / ".venv-peers"
CHINESE = next((v for k in ("LC_ALL", "LC_MESSAGES", "LANG") if (v := os.environ.get(k))), "").startswith("zh")

LEVELS = ("base", "lines", "demo", "dev")
"""Each level holds the one before; `constraints.txt` is divided by the same words."""

PROGRAMS: Mapping[str, Mapping[str, str]] = {
    "base": {},
    "lines": {},
    "demo": {"mosquitto": "mosquitto", "dbus-daemon": "dbus-daemon"},
    "dev": {
        "mosquitto": "mosquitto",
        "dbus-daemon": "dbus-daemon",
        "strace": "strace",
        "systemd-analyze": "systemd",
        "git": "git",
    },
}
"""Program -> Debian package, for each level."""

PEERS_OF: Mapping[str, Sequence[str]] = {"demo": ["osdp-c"], "dev": ["osdp-c", "osdp", "locks"]}
"""The environments of `constraints-peers.txt` for a level. The demo can do without; the tests cannot."""

Word = str | Path


class Failed(Exception):
    """The set-up cannot go on."""


def say(english: str, chinese: str) -> None:
    """Tell the user, on stderr so that a command's own output stays clean."""
    print(f"lintel: {chinese if CHINESE else english}", file=sys.stderr, flush=True)  # noqa: T201


def call(command: Sequence[Word], *, keep_open: Sequence[int] = (), **environment: str) -> None:
    """Run a program; on a terminal show the line it is at. If it fails, show its last lines and raise Failed."""
    tail: collections.deque[str] = collections.deque(maxlen=12)
    live = sys.stderr.isatty()
    with subprocess.Popen(
        [str(word) for word in command],
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=keep_open,
    ) as process:
        assert process.stdout is not None  # noqa: S101 -- for the type checker
        for line in process.stdout:
            tail.append(line.rstrip())
            if live:
                sys.stderr.write(f"\r\x1b[K  {line.strip()[:76]}")
        if live:
            sys.stderr.write("\r\x1b[K")
    if process.returncode:
        sys.stderr.writelines(f"  {line}\n" for line in tail)
        raise Failed


def apt(packages: Sequence[str]) -> bool:
    """Install Debian packages where we may; False when we may not or it failed (said)."""
    if shutil.which("apt-get") is None:
        return False
    root: list[str] = []
    if os.geteuid() != 0:
        sudo = shutil.which("sudo")
        if sudo is None or subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode:
            return False
        root = [sudo, "-n"]
    names = " ".join(packages)
    say(f"installing system packages with apt: {names}", f"正在用 apt 安装系统软件包：{names}")
    get = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=120"]
    for wait in (3, 10, None):
        try:
            call([*get, "update"])
            break
        except Failed:
            # Old package lists may still do, so the third failure is not the end.
            again = (
                ("; trying again", "，正在重试") if wait else ("; going on with the old lists", "，继续使用旧的列表")
            )
            say(f"apt-get update failed{again[0]}", f"apt-get update 失败{again[1]}")
            time.sleep(wait or 0)
    try:
        call([*get, "install", "-y", "--no-install-recommends", *packages])
    except Failed:
        return False
    return True


def programs(level: str) -> None:
    """See to the programs that a level needs. The demo can do without; the tests cannot."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    missing = {package for name, package in PROGRAMS[level].items() if shutil.which(name, path=path) is None}
    if not missing or apt(sorted(missing)):
        return
    names = " ".join(sorted(missing))
    if level == "dev":
        say(
            f"the tests need {names}: run `apt-get install {names}` as root, then this again",
            f"测试需要 {names}：请以 root 运行 `apt-get install {names}`，然后重试",
        )
        raise Failed
    say(
        f"{names} is not installed (`apt-get install {names}` as root); the demo does without",
        f"未安装 {names}（以 root 运行 `apt-get install {names}`）；演示将不使用它",
    )


def pins(level: str) -> str:
    """The part of `constraints.txt` that a level needs: its section and those before it."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    beyond = LEVELS[LEVELS.index(level) + 1 :]
    return text.split(f"# [{beyond[0]}]")[0] if beyond else text


Install = Callable[..., None]
"""Installs what its words say into one environment, without asking for anything that they do not name."""


def with_uv(uv: str, venv: Path, lock: int) -> Install:
    """An environment to fill by uv: seconds instead of a minute."""
    quiet = {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "UV_COMPILE_BYTECODE": "1"}
    if not venv.exists():
        call([uv, "venv", "--python", Path(sys.executable).resolve(), venv], keep_open=[lock], **quiet)

    def install(*words: Word) -> None:
        command: list[Word] = [uv, "pip", "install", "--python", venv / "bin/python", "--no-deps"]
        call([*command, *words], keep_open=[lock], **quiet)

    return install


def with_pip(venv: Path, lock: int) -> Install:
    """An environment to fill by the interpreter's own venv and pip."""
    python = Path(sys.executable).resolve()
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    has_ensurepip: list[Word] = [python, "-I", "-c", "import ensurepip, venv"]
    if subprocess.run(has_ensurepip, capture_output=True, check=False).returncode and not apt([package]):
        say(
            f"Python's venv module is missing: run `apt-get install {package}` as root, then this again",
            f"缺少 Python 的 venv 模块：请以 root 运行 `apt-get install {package}`（或安装 uv），然后重试",
        )
        raise Failed
    if not (venv / "bin/pip").exists():
        call([python, "-I", "-m", "venv", venv], keep_open=[lock])

    def install(*words: Word) -> None:
        command: list[Word] = [venv / "bin/python", "-I", "-m", "pip", "install", "--no-deps"]
        call([*command, "--disable-pip-version-check", *words], keep_open=[lock], PIP_USER="0")

    return install


def fill(venv: Path, text: str, lock: int, *, ours: bool) -> None:
    """Bring an environment to pinned packages, and to this clone's code if it is ours. uv where it works, else pip."""
    name = venv.relative_to(ROOT)
    count = sum("==" in line for line in text.splitlines())

    def by(install: Install) -> None:
        install("--only-binary", ":all:", "--require-hashes", "-r", file.name)
        if ours:
            install("--no-build-isolation", "--no-index", "-e", ROOT)

    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        if uv := shutil.which("uv"):
            say(
                f"installing {count} Python packages into {name} with uv",
                f"正在用 uv 把 {count} 个 Python 包装入 {name}",
            )
            try:
                by(with_uv(uv, venv, lock))
                return
            except Failed:
                say("uv could not do it; trying pip", "uv 未能完成，改用 pip")
        say(
            f"installing {count} Python packages into {name} with pip" + (" (about a minute)" if ours else ""),
            f"正在用 pip 把 {count} 个 Python 包装入 {name}" + ("（约一分钟）" if ours else ""),
        )
        by(with_pip(venv, lock))


@contextmanager
def turn() -> Iterator[TextIO]:
    """Wait for other set-ups of this clone. The file's text is "busy" while one runs, so a killed one leaves a trace.

    The installers inherit the lock: when only this script was killed, the next one still waits for them.
    """
    with (ROOT / ".venv.lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another start is setting up; waiting for it", "另一个进程正在安装，请稍候")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def usable(venv: Path) -> bool:
    """Whether an environment holds an interpreter of a supported version."""
    check = "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))"
    try:
        return (
            subprocess.run([venv / "bin/python", "-I", "-c", check], capture_output=True, check=False).returncode == 0
        )
    except OSError:
        return False


def set_up(level: str, key: str) -> None:
    """Bring `.venv` to a level, and stamp it with the launcher's key once it is complete."""
    with turn() as lock:
        stamp = VENV / f".lintel-{level}"
        interrupted = os.fstat(lock.fileno()).st_size > 0
        if not interrupted and usable(VENV) and stamp.is_file() and stamp.read_text(encoding="utf-8") == key:
            return  # another start did it while we waited
        fresh = interrupted or not usable(VENV)
        if fresh:
            shutil.rmtree(VENV, ignore_errors=True)
        lock.write("busy")
        lock.flush()
        for each in LEVELS:
            (VENV / f".lintel-{each}").unlink(missing_ok=True)
        try:
            fill(VENV, pins(level), lock.fileno(), ours=True)
        except Failed:
            say(
                "the packages could not be installed; see above. Is the network there, or a mirror set for pip or uv?",
                "软件包安装失败，原因见上。请检查网络，或为 pip / uv 设置镜像。",
            )
            if fresh:
                shutil.rmtree(VENV, ignore_errors=True)
            lock.truncate(0)
            raise
        for each in LEVELS[: LEVELS.index(level) + 1]:
            (VENV / f".lintel-{each}").write_text(key, encoding="utf-8")
        lock.truncate(0)
        say("ready", "安装完成")


def peers(level: str) -> None:
    """Bring the environments of others' programs to what a level wants. Each is complete when its stamp is there."""
    for name in PEERS_OF.get(level, []):
        text = (ROOT / "constraints-peers.txt").read_text(encoding="utf-8")
        section = text.split(f"# [{name}]\n")[1].split("\n# [")[0]
        key = f"{ROOT}\n{section}"
        venv = PEERS / name
        stamp = venv / ".lintel-peer"
        with turn() as lock:
            if stamp.is_file() and stamp.read_text(encoding="utf-8") == key and usable(venv):
                continue
            shutil.rmtree(venv, ignore_errors=True)
            PEERS.mkdir(exist_ok=True)
            try:
                fill(venv, section, lock.fileno(), ours=False)
            except Failed:
                shutil.rmtree(venv, ignore_errors=True)
                if level == "dev":
                    say(f"the tests need {PEERS.name}/{name}; see above", f"测试需要 {PEERS.name}/{name}，原因见上")
                    raise
                say(
                    f"{PEERS.name}/{name} could not be made; a simulator of Lintel's own stands in for it",
                    f"无法安装 {PEERS.name}/{name}；改用内置模拟器",
                )
            else:
                stamp.write_text(key, encoding="utf-8")


def main() -> int:
    """Exit 0 when the level is ready, 1 when the reason has been said."""
    _, level, key = sys.argv
    try:
        programs(level)
        peers(level)  # before the stamp that tells the launcher that all is there
        set_up(level, key)
    except Failed:
        return 1
    except OSError as error:
        say(
            f"cannot set up in {ROOT}: {error.strerror}. Run it once as the owner of this directory.",
            f"无法在 {ROOT} 中安装：{error.strerror}。请先以该目录的所有者运行一次。",
        )
        return 1
    except KeyboardInterrupt:
        say("interrupted; the next start begins anew", "已中断；下次启动会重新安装")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
