"""`./lintel` from a clone: sets up once, starts at once afterwards, says what to do when it cannot, leaves no ruin.

The real installation is run by CI itself, which begins from a clean clone; here `uv` is a stand-in that counts its
calls.
"""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import time
import zipfile

import pytest

from .launcher_box import PYTHON, ROOT, Box, box

__all__ = ["box"]


@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize("script", ["lintel", "scripts/test"])
def test_the_scripts_are_plain_shell(shell: str, script: str) -> None:
    subprocess.run([shell, "-n", str(ROOT / script)], check=True)
    assert os.access(ROOT / script, os.X_OK)


def test_without_python(box: Box) -> None:
    status, out, err = box.run("run")
    assert (status, out) == (1, "")
    assert "no python3 found" in err
    assert "apt-get install python3" in err


def test_messages_are_chinese_where_the_language_is(box: Box) -> None:
    assert "未找到 python3" in box.run("run", LANG="zh_CN.UTF-8")[2]
    assert "未找到 python3" not in box.run("run", LANG="zh_CN.UTF-8", LC_ALL="C")[2]


@pytest.mark.parametrize("version", ["2.7", "3.10", "3.14"])
def test_python_too_old_or_too_new(box: Box, version: str) -> None:
    box.program("python3", f"#!/bin/sh\necho {version}\n")
    status, _, err = box.run("run")
    assert status == 1
    assert "3.11, 3.12 or 3.13" in err
    assert f"python3={version}" in err
    assert not (box.clone / ".venv").exists()


def test_another_python_is_found(box: Box) -> None:
    box.program("python3", "#!/bin/sh\necho 3.9\n")
    box.python("python3.12")
    box.uv()
    assert box.run("run")[0] == 0


def test_a_python_can_be_named(box: Box) -> None:
    box.python("my-own")
    box.uv()
    assert box.run("run", LINTEL_PYTHON=str(box.bin / "my-own"))[0] == 0


def test_without_the_venv_module(box: Box) -> None:
    """As on a Debian without python3-venv: an interpreter that cannot import ensurepip, nobody to install it."""
    real = box.home / "real"
    subprocess.run([PYTHON, "-I", "-m", "venv", "--without-pip", real], check=True)
    lame = box.home / "lame"
    lame.write_text(f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1 ;; esac\nexec {PYTHON} "$@"\n')
    lame.chmod(0o755)
    site = next(real.glob("lib/python3*/site-packages"))
    # a .pth file: Debian's own sitecustomize comes before one of ours
    (site / "lame.pth").write_text(f"import sys; sys.executable = {str(lame)!r}\n")
    status, _, err = box.run("run", LINTEL_PYTHON=str(real / "bin/python"))
    assert status == 1
    assert f"apt-get install python3.{sys.version_info.minor}-venv" in err
    assert not (box.clone / ".venv").exists()


def test_without_a_network(box: Box) -> None:
    box.python()
    box.uv("exit 2")
    status, _, err = box.run("run")
    assert status == 1
    assert "uv could not do it; trying pip" in err
    assert "could not be installed" in err
    assert "Is the network there" in err
    assert not (box.clone / ".venv").exists()
    assert (box.clone / ".venv.lock").read_text() == "", "a failure that was cleaned up is no interruption"


@pytest.mark.parametrize("honest", [True, False])
def test_a_file_with_another_hash_is_refused(box: Box, honest: bool) -> None:
    wheel = box.home / "tiny-1.0-py3-none-any.whl"
    parts = {
        "tiny.py": b"",
        "tiny-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "tiny-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{n},sha256={_sum(b)},{len(b)}\n" for n, b in parts.items()) + "tiny-1.0.dist-info/RECORD,,\n"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, body in (parts | {"tiny-1.0.dist-info/RECORD": record.encode()}).items():
            archive.writestr(name, body)
    digest = hashlib.sha256(wheel.read_bytes() if honest else b"what was reviewed").hexdigest()
    (box.clone / "constraints.txt").write_text(f"# [base]\ntiny==1.0 --hash=sha256:{digest}\n# [demo]\n# [dev]\n")
    box.python()
    box.environment_with_pip()
    _, _, err = box.run("run", PIP_FIND_LINKS=str(box.home))
    # The honest file goes in; then the build backend is missing, since nothing else is pinned here.
    assert ("DO NOT MATCH THE HASHES" in err) is not honest
    assert ("hatchling" in err) is honest


def _sum(body: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()


def test_the_second_start_installs_nothing(box: Box) -> None:
    box.python()
    box.uv()
    status, out, err = box.run("run", "--config", "a b")
    assert (status, out) == (0, "[run][--config][a b]")
    assert "ready" in err
    first = box.calls()
    assert first == 3
    assert box.run("run") == (0, "[run]", "")
    assert box.calls() == first
    (box.clone / ".venv/.lintel-base").unlink()  # the control
    assert box.run("run")[0] == 0
    assert box.calls() > first


def test_what_changes_the_pins_installs_again(box: Box) -> None:
    box.python()
    box.uv()
    box.run("run")
    first = box.calls()
    with (box.clone / "pyproject.toml").open("a") as file:
        file.write("# one more dependency\n")
    box.run("run")
    second = box.calls()
    assert second > first
    box.clone = box.clone.rename(box.home / "moved")  # an environment knows its place by heart
    box.uv()
    assert box.run("run")[0] == 0
    assert box.calls() > second


def test_the_demo_holds_what_the_gateway_needs(box: Box) -> None:
    box.python()
    box.uv()
    box.program("mosquitto", "#!/bin/sh\n")
    box.program("dbus-daemon", "#!/bin/sh\n")
    box.run("--verbose", "demo")
    first = box.calls()
    assert box.run("run") == (0, "[run]", "")
    assert box.calls() == first


@pytest.mark.parametrize(
    ("words", "level"),
    [
        (["run", "--config", "demo"], "base"),
        (["pass", "issue", "--png", "visitor.png"], "base"),
        (["pass", "verify", "--key", "issuer.key", "L1:NOT.A.PICTURE"], "base"),
        (["pass", "verify", "--key", "issuer.key", "/site/a visitor.png"], "demo"),
        (["pass", "show", "visitor.JPG"], "demo"),
        (["simulate", "qr-reader"], "demo"),
        (["bench", "entry"], "demo"),
    ],
    ids=" ".join,
)
def test_each_command_gets_what_it_needs(box: Box, words: list[str], level: str) -> None:
    """A bench needs mosquitto, a picture its reader; a gateway is set up with neither."""
    box.python()
    box.uv()
    box.program("mosquitto", "#!/bin/sh\n")
    box.program("dbus-daemon", "#!/bin/sh\n")
    assert box.run(*words)[:2] == (0, "".join(f"[{word}]" for word in words))
    stamps = {path.name for path in (box.clone / ".venv").glob(".lintel-*")}
    assert stamps == ({".lintel-base"} if level == "base" else {".lintel-base", ".lintel-lines", ".lintel-demo"})


def test_the_packages_of_more_lines_are_asked_for_by_name(box: Box) -> None:
    box.python()
    box.uv()
    assert box.run("run", LINTEL_LEVEL="lines")[0] == 0
    assert {p.name for p in (box.clone / ".venv").glob(".lintel-*")} == {".lintel-base", ".lintel-lines"}
    first = box.calls()
    assert box.run("run")[0] == 0
    assert box.calls() == first, "they stay, and a gateway without them needs nothing else"
    status, _, err = box.run("run", LINTEL_LEVEL="all")
    assert status == 2
    assert "base or lines" in err


def test_tests_say_what_they_miss(box: Box) -> None:
    box.python()
    box.uv()
    box.environment["PATH"] = str(box.bin)
    status, _, err = box.run("test")
    if all(shutil.which(name, path="/usr/sbin:/sbin") for name in ("mosquitto", "strace", "systemd-analyze", "git")):
        pytest.fail("this machine keeps every program in /usr/sbin; the test needs another way to hide them")
    assert status == 1
    assert "apt-get install" in err
    assert "strace" in err


def test_programs_of_others_have_environments_of_their_own(box: Box) -> None:
    """Their modules' names clash. A complete one is kept; one without its stamp, or with other pins, is made anew."""
    box.python()
    box.uv()
    for name in ("mosquitto", "dbus-daemon", "strace", "systemd-analyze", "git"):
        box.program(name, "#!/bin/sh\n")
    peers = box.clone / ".venv-peers"
    names = {"osdp-c", "osdp", "locks"}
    box.run("test", PATH=f"{box.bin}")  # its checks cannot run here; what matters is the set-up
    assert {path.name for path in peers.iterdir() if (path / ".lintel-peer").is_file()} == names
    first = box.calls()
    box.run("test")
    assert box.calls() == first, "all were complete"
    (peers / "osdp/.lintel-peer").unlink()
    (peers / "osdp/half").touch()
    with (box.clone / "constraints-peers.txt").open("a") as file:
        file.write("# another pin of the last section\n")
    (peers / "locks/old").touch()
    (peers / "osdp-c/kept").touch()
    box.run("test")
    assert not (peers / "osdp/half").exists()
    assert not (peers / "locks/old").exists()
    assert (peers / "osdp-c/kept").exists()
    assert {path.name for path in peers.iterdir() if (path / ".lintel-peer").is_file()} == names


def test_the_demo_goes_on_without_a_program_of_others(box: Box) -> None:
    """The tests do not."""
    box.python()
    box.uv('case "$*" in *.venv-peers*) exit 2 ;; esac')
    for name in ("mosquitto", "dbus-daemon", "strace", "systemd-analyze", "git"):
        box.program(name, "#!/bin/sh\n")
    status, out, err = box.run("demo")
    assert (status, out) == (0, "[demo]")
    assert ".venv-peers/osdp-c could not be made; a simulator" in err
    assert not (box.clone / ".venv-peers/osdp-c").exists()
    status, _, err = box.run("test")
    assert status == 1
    assert "the tests need .venv-peers/osdp-c" in err


def test_two_first_starts_take_turns(box: Box) -> None:
    box.python()
    box.uv(f"exec 9>{box.home}/inside; flock -n 9 || echo CLASH >> {box.log}; sleep 0.1")
    starts = [box.begin("run", str(n)) for n in range(3)]
    results = [start.communicate(timeout=90)[0] for start in starts]
    assert results == ["[run][0]", "[run][1]", "[run][2]"]
    assert "CLASH" not in box.log.read_text()
    assert box.calls() == 3, "only one of them installed"


def test_a_killed_set_up_is_repaired(box: Box) -> None:
    box.python()
    box.uv('case "$*" in *require-hashes*) kill -9 $PPID; exit 1 ;; esac')
    assert box.run("run")[0] != 0
    assert (box.clone / ".venv").exists(), "the kill came in the middle"
    (box.clone / ".venv/half").touch()
    box.uv()
    assert box.run("run")[:2] == (0, "[run]")
    assert not (box.clone / ".venv/half").exists()


def test_through_a_link_and_at_once(box: Box) -> None:
    box.python()
    box.uv()
    box.run("run")
    link = box.home / "link"
    link.symlink_to(box.clone / "lintel")
    took = []
    for _ in range(7):
        start = time.perf_counter()
        assert box.run("status", program=link) == (0, "[status]", "")
        took.append(time.perf_counter() - start)
    assert min(took) < 0.03, "the launcher costs more than 30 ms"
