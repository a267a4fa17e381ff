"""What a user reads is Chinese where the user is: every message of the code has its phrase, and values stay."""

import ast
import re
from pathlib import Path

import pytest

from lintel.edge.chinese import PHRASES
from lintel.edge.errors import ConfigError, Mistake
from lintel.edge.text import told

SOURCE = Path(__file__).parents[2] / "src/lintel"
CALLS = {"Mistake", "LintelError", "StoreError", "SimulatorError", "ValueError", "mistake", "_doubled"}
"""What takes a message for a person as its last argument."""
INSIDE = {"chain", "clock", "journal", "ring", "recovery", "writer", "supervisor", "passes", "retention", "lockdown"}
INSIDE |= {"mqtt_link", "mqtt_session", "mqtt_lag", "client", "losses", "history"}
"""Modules whose messages end in the daemon's log or the journal, which are English."""


@pytest.fixture
def zh(monkeypatch):
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")


def literal(node):
    """A message with its values left out; None where it is computed."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "7" for part in node.values)
    return None


def messages(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            text = literal(node.args[-1]) if name in CALLS else None
            if text and re.search(r"[a-z]{3}", re.sub(r"\[[a-z_]+\]|^expected", "", text)):
                yield text


FILES = [p for p in SOURCE.rglob("*.py") if p.stem not in INSIDE and "bench" not in p.parts and "demo" not in p.parts]


@pytest.mark.parametrize("file", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_every_message_has_its_chinese(zh, file):
    tree = ast.parse(file.read_text("utf-8"))
    assert [text for text in messages(tree) if not re.search(r"[\u4e00-\u9fff]", told(text).replace("应为", ""))] == []


def test_control_a_new_message_without_its_chinese_is_noticed(zh):
    (text,) = messages(ast.parse("raise LintelError(f'{where}: the moon is missing')"))
    assert told(text) == text


@pytest.mark.parametrize("english", PHRASES)
def test_a_phrase_keeps_its_values(english):
    chinese = PHRASES[english]
    assert english.count("{}") == chinese.count("{}")
    assert re.search(r"[\u4e00-\u9fff]", chinese)


def test_a_whole_error_is_told_line_by_line(zh):
    error = ConfigError(
        "site.toml",
        [
            Mistake("line[0].port", "expected less than or equal to 65535 [schema_violation]"),
            Mistake("door[0].lock", "expected the id of a [[device]]: gate-face, gate-qr"),
            Mistake("clock.trust", "expected 'kernel' or 'system' [schema_violation]"),
        ],
    )
    assert told(error).splitlines() == [
        "site.toml:3 处错误",
        "  line[0].port: 应为不大于 65535 [schema_violation]",
        "  door[0].lock: 应为一个 [[device]] 的 id:gate-face, gate-qr",
        "  clock.trust: 应为'kernel' 或 'system' [schema_violation]",
    ]


def test_other_users_read_it_as_it_is(monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert told("expected an id used once") == "expected an id used once"
