"""What every command keeps: help with an example in both languages, JSON where it prints, an exit code that tells."""

import json
import os
import re
import subprocess
import sys

import pytest
import typer
from click.testing import CliRunner

from lintel.edge.cli import _app

TREE = typer.main.get_command(_app([]))
DUMP = """
import json, sys, typer
from lintel.edge.cli import _app
def walk(command, path):
    yield path, {"": command.help or ""} | {
        p.name: getattr(p, "help", None) or "" for p in command.params if p.name != "help"}
    for name, below in getattr(command, "commands", {}).items():
        yield from walk(below, f"{path} {name}")
json.dump(dict(walk(typer.main.get_command(_app([])), "lintel")), sys.stdout)
"""
CHINESE = re.compile(r"[\u4e00-\u9fff]")
PRINTS_NO_DATA = {"lintel run"}
"""Commands without `--json`: this one becomes the daemon."""


def walk(command, path="lintel"):
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from walk(below, f"{path} {name}")


COMMANDS = dict(walk(TREE))
LEAVES = {path: command for path, command in COMMANDS.items() if not hasattr(command, "commands")}


@pytest.fixture(scope="module")
def helps():
    """Every help text, as an English and as a Chinese process has it."""
    found = []
    for language in ("en_US.UTF-8", "zh_CN.UTF-8"):
        done = subprocess.run(
            [sys.executable, "-c", DUMP], env={**os.environ, "LC_ALL": language}, capture_output=True, check=True
        )
        found.append(json.loads(done.stdout))
    return found


@pytest.mark.parametrize("path", COMMANDS)
def test_help_shows_an_example_in_both_languages(helps, path):
    for language in helps:
        assert re.search(
            rf"{re.escape(path)}{'( |$)' if path in LEAVES else ' [a-z-]'}", language[path][""], re.MULTILINE
        )


@pytest.mark.parametrize("path", COMMANDS)
def test_chinese_help_is_chinese(helps, path):
    english, chinese = (language[path] for language in helps)
    assert english.keys() == chinese.keys()
    assert [name for name, text in english.items() if CHINESE.search(text)] == []
    assert [name for name, text in english.items() if text and not CHINESE.search(chinese[name])] == []


@pytest.mark.parametrize("path", LEAVES)
def test_what_prints_data_speaks_json(path):
    options = {option for parameter in LEAVES[path].params for option in parameter.opts}
    assert ("--json" in options) is (path not in PRINTS_NO_DATA)


@pytest.mark.parametrize("path", COMMANDS)
def test_bad_use_is_told_and_exits_with_2(path):
    words = path.split()[1:]
    result = CliRunner().invoke(TREE, [*words, "--no-such-option"])
    assert result.exit_code == 2
    assert "--no-such-option" in result.output


def run(*words, language="C.UTF-8"):
    done = subprocess.run(
        [sys.executable, "-m", "lintel", *words], env={**os.environ, "LC_ALL": language}, capture_output=True,
        check=False, text=True, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_an_error_is_json_too_where_json_was_asked_for():
    code, out, err = run("pass", "verify", "nonsense", "--public-key", "0" * 64, "--site", "1", "--json")
    assert code == 1
    assert json.loads(out) == {"ok": False, "error": "neither a pass nor a picture"}
    assert "neither a pass" in err


@pytest.mark.parametrize(
    ("words", "english", "chinese"),
    [
        (["status", "--state", "/no/such"], "no gateway is running on /no/such", "没有正在运行的网关"),
        (["journal", "verify", "--state", "/no/such"], "there is no store in /no/such", "中没有数据"),
        (["check", "--config", "/no/such.toml"], "expected a readable file", "应为可读的文件"),
        (["run", "--config", "/no/such.toml"], "1 mistake", "1 处错误"),
        (["profile", "replay", "no-such", "--text", "x"], "expected the name of a profile", "应为档案名称"),
        (["lockdown", "maybe"], "say on or off", "请写 on 或 off"),
        (["simulate", "relay", "--set", "x=1"], "unknown option x", "未知的选项 x"),
    ],
)
def test_errors_speak_the_language_of_the_user(words, english, chinese):
    code, _, err = run(*words)
    assert code in (1, 2)
    assert english in err
    assert "Traceback" not in err
    again, _, err = run(*words, language="zh_CN.UTF-8")
    assert again == code
    assert chinese in err
    assert english not in err
