"""`lintel check` and `lockdown` as an installer meets them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lintel.edge import line_tables
from lintel.edge.cli import gateway

EXAMPLE = Path(__file__).parents[2] / "examples" / "gateway.toml"


@pytest.fixture
def check(tmp_path):
    def run(*changes):
        text = EXAMPLE.read_text("utf-8")
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        file = tmp_path / "gateway.toml"
        file.write_text(text, "utf-8")
        result = CliRunner().invoke(gateway.app, ["check", "--config", str(file), "--json"])
        return result.exit_code, json.loads(result.stdout)["mistakes"]

    return run


def test_the_example_has_no_mistakes(check):
    assert check() == (0, [])


def test_what_a_driver_refuses_is_told_before_the_start(check):
    """An address whose second name is empty passes the file's own rules; only the driver knows what "|" means."""
    code, (mistake,) = check(('address = "1026700"', 'address = "1026700|"'))
    assert code == 1
    assert "gate-face" in mistake


def test_the_options_of_a_line_are_checked_by_its_driver(check, monkeypatch):
    monkeypatch.setattr(line_tables.SerialLine, "options", lambda _: {"path": "gate-qr"})
    code, mistakes = check()
    assert code == 1
    assert any("line.gate-port.path: expected an absolute path" in m for m in mistakes)
