"""A secret of a lock comes by a terminal that hides it, a pipe or a private file, and never by the command line."""

import asyncio
import os
import pty
import sys

import pytest
from typer.testing import CliRunner

from lintel.edge import control
from lintel.edge.cli import devices as cli
from lintel.edge.cli.device_secret import read
from lintel.edge.errors import LintelError

SECRET = "CAFE01234567"
MAIN = [sys.executable, "-c", "from lintel.edge.cli import main; main()", "device", "install", "lock"]


def installed(tmp_path, body):
    """A gateway that only takes the request; gives what it was asked."""
    asked = []

    async def install(params):
        asked.append(params)
        return {"device": "lock", "outcome": "executed", "seconds": 600.0}

    async def stage():
        async with asyncio.timeout(30), control.serve(tmp_path, {"device.install": install}, {}):
            await body([*MAIN, "--state", str(tmp_path)])

    asyncio.run(stage())
    return asked


def english():
    return os.environ | {"LC_ALL": "C", "LANG": "C", "TERM": "dumb"}


def test_at_a_terminal_it_is_asked_for_and_not_shown(tmp_path):
    async def body(command):
        master, slave = pty.openpty()
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                "--secret",
                "-",
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
                env=english(),
            )
            os.close(slave)
            shown = b""
            while b"not shown" not in shown:
                shown += await asyncio.to_thread(os.read, master, 1000)
            os.write(master, SECRET.lower().encode() + b"\n")
            while b"open for" not in shown:
                shown += await asyncio.to_thread(os.read, master, 1000)
            assert await process.wait() == 0
            assert SECRET.lower().encode() not in shown.lower()
        finally:
            os.close(master)

    (params,) = installed(tmp_path, body)
    assert params == {"device": "lock", "seconds": 600.0, "secret": SECRET}


def test_in_a_pipe_it_is_read(tmp_path):
    async def body(command):
        process = await asyncio.create_subprocess_exec(
            *command, "--secret", "-",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env=english(),
        )  # fmt: skip
        out, _ = await process.communicate(SECRET.encode() + b"\n")
        assert process.returncode == 0, out
        assert SECRET.encode() not in out

    (params,) = installed(tmp_path, body)
    assert params["secret"] == SECRET


def refused(*args, stdin=None):
    done = CliRunner(env={"LC_ALL": "C", "LANG": "C"}).invoke(cli.app, ["install", "lock", *args], input=stdin)
    assert isinstance(done.exception, LintelError), done.output
    assert done.exit_code == 1
    return str(done.exception) + done.output


def test_on_the_command_line_it_is_refused_and_not_repeated(tmp_path):
    said = refused("--secret", SECRET, "--state", str(tmp_path))
    assert "does not belong on the command line" in said
    assert SECRET not in said


@pytest.mark.parametrize(
    ("text", "why"), [("xyz", "hex digits"), ("CAF", "hex digits"), ("", "no secret"), (" \n", "no secret")]
)
def test_what_is_no_secret_is_refused_and_not_repeated(tmp_path, monkeypatch, text, why):
    monkeypatch.setenv("LC_ALL", "C")
    assert why in (said := refused("--secret", "-", stdin=text))
    assert not text.strip() or text not in said


def test_a_file_that_others_can_read_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    file = tmp_path / "secret"
    file.write_text(SECRET)
    file.chmod(0o640)
    with pytest.raises(LintelError, match="chmod 600"):
        read("", file)
    file.chmod(0o600)
    assert read("", file) == SECRET
    with pytest.raises(LintelError, match="can not be read"):
        read("", tmp_path / "none")
    with pytest.raises(LintelError, match="not both"):
        read("-", file)
    assert not read("", None)
