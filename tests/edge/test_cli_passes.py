"""`lintel pass`: what a manager does at a desk, with the QR codes read back by an independent reader."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import segno
import zxingcpp
from PIL import Image
from typer.testing import CliRunner

from lintel.edge.cli.passes import app
from lintel.edge.cli.qr import code, render
from lintel.edge.errors import LintelError
from lintel.edge.passes import parse
from tests.edge.pass_vectors import CODE, PUBLIC, SEED, TOKEN

RUN = CliRunner(env={"LANG": "C", "LC_ALL": "C", "TERM": "dumb"})
MAIN = [sys.executable, "-c", "from lintel.edge.cli import main; main()", "pass"]
AT = "2025-10-09T08:53:20+00:00"  # 1760000000


def ok(*args, stdin=None) -> str:
    result = RUN.invoke(app, list(args), input=stdin)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def refused(*args) -> str:
    result = RUN.invoke(app, list(args))
    assert result.exit_code == 1
    assert isinstance(result.exception, LintelError), result.output
    return str(result.exception)


@pytest.fixture
def seed(tmp_path):
    file = tmp_path / "issuer.key"
    file.write_text(SEED.hex() + "\n")
    file.chmod(0o600)
    return str(file)


@pytest.fixture
def secret(tmp_path):
    file = tmp_path / "pass.secret"
    file.write_text(bytes(range(0x20, 0x40)).hex())
    file.chmod(0o600)
    return str(file)


def test_a_key_a_pass_a_picture_and_back(tmp_path):
    key = str(tmp_path / "new.key")
    block = ok("key", key, "--key-id", "9")
    assert block.startswith("[[pass_key]]\nid = 9\npublic_key = ")
    assert Path(key).stat().st_mode & 0o777 == 0o600
    public = block.split('"')[1]
    assert Path(key).read_text().strip() not in block
    again = json.loads(ok("key", key + "2", "--role", "delegate", "--json"))
    assert (again["id"], again["role"], len(again["public_key"])) == (1, "delegate", 64)
    png = str(tmp_path / "p.png")
    made = json.loads(ok("issue", "--key", key, "--key-id", "9", "--site", "0xC0FFEE", "--groups", "0,2,15", "--json",
                         "--minutes", "60", "--uses", "3", "--png", png))  # fmt: skip
    assert made["groups"] == [0, 2, 15]
    assert made["valid_to"] - made["valid_from"] == 3600
    assert zxingcpp.read_barcode(Image.open(png)).text == made["token"]
    for how in (["--key", key], ["--public-key", public]):
        checked = json.loads(ok("verify", png, "--site", "12648430", "--json", *how))
        assert checked["ok"] is True
        assert checked["reason"] is None
        assert checked["pass_id"] == made["pass_id"]
    assert "good" in ok("verify", "-", "--site", "0xC0FFEE", "--key", key, stdin=made["token"] + "\r\n")


def test_the_published_pass(seed):
    args = ["issue", "--key", seed, "--key-id", "7", "--site", "0x00C0FFEE", "--pass-id", "123456789", "--from", AT,
            "--minutes", "480", "--groups", "0xff", "--uses", "3"]  # fmt: skip
    assert ok(*args) == TOKEN + "\n"
    until = [*args, "--until", "2025-10-09T16:52:30+00:00"]
    assert ok(*until) == TOKEN + "\n", "an end inside a minute is not cut off"


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["--site", "0xC0FFEE", "--at", AT], None),
        (["--site", "1", "--at", AT], "bad_signature"),
        (["--site", "0xC0FFEE"], "expired"),
        (["--site", "0xC0FFEE", "--at", "2025-10-09T08:52:59+00:00"], "not_yet_valid"),
        (["--site", "0xC0FFEE", "--at", "2025-10-09T16:53:00+00:00"], "expired"),
        (["--site", "0xC0FFEE", "--role", "delegate"], "untrusted_key"),
    ],
)
def test_the_reason_word(args, reason):
    result = RUN.invoke(app, ["verify", TOKEN, "--public-key", PUBLIC.hex(), "--json", *args])
    answer = json.loads(result.stdout)
    assert answer["reason"] == reason
    assert result.exit_code == (0 if reason is None else 1)
    text = RUN.invoke(app, ["verify", TOKEN, "--public-key", PUBLIC.hex(), *args])
    assert ("refused: " + reason if reason else "good") in text.stdout


def test_no_pass_at_all():
    result = RUN.invoke(app, ["verify", "L1:xyz", "--site", "1", "--public-key", "00" * 32, "--json"])
    assert json.loads(result.stdout) == {"ok": False, "reason": "bad_format"}
    assert result.exit_code == 1


def test_flags_are_carried(seed):
    made = json.loads(
        ok("issue", "--key", seed, "--site", "1", "--groups", "3", "--rotating-only", "--review", "--json")
    )
    assert made["groups"] == [3]
    assert made["rotating_only"] is True
    assert made["review"] is True
    result = RUN.invoke(app, ["verify", made["token"], "--site", "1", "--key", seed])
    assert "method_disabled" in result.stdout


def test_pass_ids_are_random(seed):
    ids = {
        json.loads(ok("issue", "--key", seed, "--site", "1", "--groups", "0", "--json"))["pass_id"] for _ in range(5)
    }
    assert len(ids) == 5


def test_rotating(secret):
    made = json.loads(ok("issue", "--rotating", "--secret-file", secret, "--pass-id", "5", "--json"))
    assert made["token"].startswith("L2:")
    assert "good" in ok("verify", made["token"], "--secret-file", secret)
    assert "good" in ok("verify", CODE, "--secret-file", secret, "--at", AT)
    late = RUN.invoke(app, ["verify", CODE, "--secret-file", secret, "--json", "--at", "2025-10-09T08:55:20+00:00"])
    assert json.loads(late.stdout)["reason"] == "replayed"
    assert late.exit_code == 1
    assert "--pass-id" in refused("issue", "--rotating", "--secret-file", secret)
    assert "--secret-file" in refused("issue", "--rotating", "--pass-id", "5")
    assert "--secret-file" in refused("verify", CODE)


def test_show_draws_what_a_reader_reads(tmp_path):
    png, svg = tmp_path / "a.png", tmp_path / "a.svg"
    drawn = ok("show", "-", "--png", str(png), "--svg", str(svg), stdin=TOKEN + "\n")
    assert drawn.startswith(TOKEN + "\n")
    assert zxingcpp.read_barcode(Image.open(png)).text == TOKEN
    assert svg.read_text().startswith("<?xml")
    assert 'viewBox="0 0 45 45"' in svg.read_text()
    shown = json.loads(ok("show", TOKEN, "--json"))
    assert shown["pass_id"] == 123456789
    assert json.loads(ok("show", CODE, "--json"))["step"] == 0x2EAA
    assert "L1:" in refused("show", "L1:")


@pytest.mark.parametrize(("token", "version"), [(TOKEN, 5), (CODE, 2)])
def test_version_level_and_quiet_zone(token, version):
    assert len(TOKEN) == 122
    qr = code(token)
    assert qr.version == version
    other = segno.make(token, error="m", boost_error=False, micro=False)
    assert (other.version, other.mode, other.error) == (version, "alphanumeric", "M")
    matrix = qr.get_matrix()
    size = 17 + 4 * version + 8
    assert len(matrix) == size
    quiet = [matrix[n] for n in (0, 1, 2, 3, -1, -2, -3, -4)]
    assert not any(any(row) for row in quiet)
    assert not any(row[n] for row in matrix for n in (0, 1, 2, 3, -1, -2, -3, -4))


@pytest.mark.parametrize("token", [TOKEN, CODE])
def test_the_terminal_picture_can_be_scanned(token):
    lines = render(token, colour=False).split("\n")
    image = Image.new("L", (len(lines[0]) * 4, len(lines) * 8), 255)
    for y, line in enumerate(lines):
        for x, letter in enumerate(line):
            upper, lower = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}[letter]
            for half, dark in enumerate((upper, lower)):
                if dark:
                    image.paste(0, (x * 4, y * 8 + half * 4, x * 4 + 4, y * 8 + half * 4 + 4))
    assert zxingcpp.read_barcode(image).text == token
    coloured = render(token, colour=True).split("\n")
    assert all(line.startswith("\x1b[") and line.endswith("\x1b[0m") for line in coloured)


def test_on_a_terminal_the_picture_is_drawn(seed):
    main, side = pty.openpty()
    args = ["issue", "--key", seed, "--site", "1", "--groups", "0"]
    process = subprocess.Popen([*MAIN, *args], stdout=side, stderr=side, env={**os.environ, "LANG": "C.UTF-8"})
    os.close(side)
    seen = b""
    try:
        while chunk := os.read(main, 4096):
            seen += chunk
    except OSError:
        pass  # the other end is closed
    os.close(main)
    assert process.wait(30) == 0
    assert seen.startswith(b"L1:")
    assert seen.count(b"\x1b[38;5;16;48;5;231m") == 23
    piped = subprocess.run([*MAIN, *args], capture_output=True, text=True, check=True)
    assert piped.stdout.startswith("L1:")
    assert piped.stdout.count("\n") == 1


@pytest.mark.parametrize(("lang", "word"), [("zh_CN.UTF-8", "拒绝"), ("en_US.UTF-8", "refused")])
def test_both_languages(lang, word):
    env = {**os.environ, "LC_ALL": lang, "PYTHONIOENCODING": "utf-8"}
    args = ["verify", TOKEN, "--site", "1", "--public-key", PUBLIC.hex()]
    result = subprocess.run([*MAIN, *args], capture_output=True, check=False, env=env, encoding="utf-8")
    assert result.returncode == 1
    assert word in result.stdout


@pytest.mark.parametrize("command", ["key", "issue", "verify", "show"])
def test_help_has_an_example(command):
    assert f"lintel pass {command}" in ok(command, "--help")


def test_mistakes_are_said_and_no_file_is_overwritten(tmp_path, seed):
    assert "File exists" in refused("key", seed)
    assert bytes.fromhex(Path(seed).read_text()) == SEED
    assert "issuer or delegate" in refused("key", str(tmp_path / "k"), "--role", "root")
    issue = ["issue", "--key", seed, "--site", "1", "--groups", "0"]
    assert "--groups" in refused(*issue, "--groups", "16")
    assert "--groups" in refused(*issue, "--groups", "99999999999999999999")
    assert "--groups" in refused(*issue, "--groups", "-1")
    assert "--groups" in refused(*issue, "--groups", "0x10000")
    assert "--groups" in refused(*issue, "--groups", "x")
    assert "--groups" in refused("issue", "--key", seed, "--site", "1")
    assert "--site" in refused("issue", "--key", seed, "--groups", "0")
    assert "--site" in refused(*issue, "--site", "4294967296")
    assert "--from" in refused(*issue, "--from", "tomorrow")
    assert "duration_min" in refused(*issue, "--minutes", "0")
    assert "duration_min" in refused(*issue, "--until", "2020-01-01")
    assert "key_id" in refused(*issue, "--key-id", "0")
    assert "--key" in refused("issue", "--site", "1", "--groups", "0")
    assert "No such file" in refused(*issue, "--png", str(tmp_path / "no" / "a.png"))
    assert "64 hex digits" in refused("verify", TOKEN, "--site", "1", "--public-key", "zz")
    assert "can not be read" in refused("issue", "--key", str(tmp_path / "none"), "--site", "1", "--groups", "0")
    short = tmp_path / "short"
    short.write_text("abcd")
    short.chmod(0o600)
    message = refused("issue", "--key", str(short), "--site", "1", "--groups", "0")
    assert "64 hex digits" in message
    assert "abcd" not in message
    Path(seed).chmod(0o640)
    assert "chmod 600" in refused(*issue)


def test_pictures_that_are_none(tmp_path, monkeypatch):
    blank, text = tmp_path / "blank.png", tmp_path / "text.png"
    Image.new("L", (50, 50), 255).save(blank)
    text.write_text("hello")
    verify = ["--site", "1", "--public-key", PUBLIC.hex()]
    assert "no pass in this picture" in refused("verify", str(blank), *verify)
    assert "not a picture" in refused("verify", str(text), *verify)
    assert "neither" in refused("verify", str(tmp_path / "none.png"), *verify)
    monkeypatch.setitem(sys.modules, "zxingcpp", None)
    assert "zxing-cpp" in refused("verify", str(blank), *verify)


def test_drawing_needs_no_pillow(tmp_path):
    script = (
        "import sys; sys.modules['PIL'] = None\n"
        "from pathlib import Path; from lintel.edge.cli import qr\n"
        "qr.save_png(sys.argv[1], Path(sys.argv[2])); qr.save_svg(sys.argv[1], Path(sys.argv[3]))\n"
    )
    png = tmp_path / "a.png"
    subprocess.run([sys.executable, "-c", script, TOKEN, str(png), str(tmp_path / "a.svg")], check=True)
    assert parse(zxingcpp.read_barcode(Image.open(png)).text) == parse(TOKEN)
