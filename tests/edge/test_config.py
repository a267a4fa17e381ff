"""One TOML file: every mistake at once, with its key and what was expected; passwords only by name."""

from pathlib import Path

import pytest

from lintel.edge.cli.options import DEFAULT_STATE
from lintel.edge.config import Config, load, password
from lintel.edge.errors import ConfigError, LintelError

EXAMPLE = Path(__file__).parents[2] / "examples" / "gateway.toml"


def written(tmp_path, *changes):
    text = EXAMPLE.read_text("utf-8")
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path = tmp_path / "gateway.toml"
    path.write_text(text, "utf-8")
    return path


def mistakes(path):
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    return {m.where: m.expected for m in caught.value.mistakes}


def test_the_example_is_right(tmp_path):
    config = load(written(tmp_path))
    assert config.state_dir == tmp_path / "state"
    assert [d.id for d in config.door] == ["gate"]
    assert config.door[0].rules().groups == {"public"}


def test_five_mistakes_are_all_named(tmp_path):
    found = mistakes(
        written(
            tmp_path,
            ("port = 1883", "port = 99999"),
            ('trust = "system"', 'trust = "sometimes"'),
            ("open_s = 3.0", "open_s = 300.0"),
            ('id = "gate-qr"\nline = "gate-port"', 'id = "gate-qr"\nline = "gate-prot"'),
            ('name = "North gate"', 'name = "North gate"\ncolour = "red"'),
        )
    )
    assert set(found) == {
        "line[0].port",
        "clock.trust",
        "door[0].open_s",
        "device[0].line",
        "door[0].colour",
    }
    assert "65535" in found["line[0].port"]
    assert "'kernel' or 'system'" in found["clock.trust"]
    assert "gate-port" in found["device[0].line"], "the known ids are named"
    assert "unknown" in found["door[0].colour"]


@pytest.mark.parametrize(
    ("old", "new", "where", "hint"),
    [
        ('timezone = "Asia/Shanghai"', 'timezone = "Asia/Shangai"', "site.timezone", "Asia/Shanghai"),
        ('profile = "generic-cr"', 'profile = "generic-cx"', "device[0].profile", "generic-cr"),
        ('profile = "generic-cr"', 'profile = "mqtt-face"', "device[0].profile", "serial_qr"),
        ('lock = "gate-face"', 'lock = "gate-lock"', "door[0].lock", "gate-face"),
        ('id = "gate-face"', 'id = "gate-qr"', "device[1].id", "once"),
        ('address = "1026700"', "", "device 'gate-face'.address", "MQTT id"),
        ("id = 12648430", "id = 0", "site.id", "greater than or equal to 1"),
        ('groups = ["public"] #', "groups = [] #", "door[0].groups", "at least 1"),
    ],
)  # fmt: skip
def test_a_contradiction_is_named_with_what_was_expected(tmp_path, old, new, where, hint):
    found = mistakes(written(tmp_path, (old, new)))
    assert hint in found[where]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[site\n", "TOML"),
        ("a = 1\na = 2\n", "TOML"),
        ("#" * 300_000, "256 kB"),
        ("x = " + "[" * 30 + "]" * 30, "nesting"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, text, hint):
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    assert hint in mistakes(path)["file"]


def test_a_missing_file_says_so(tmp_path):
    assert "No such file" in mistakes(tmp_path / "nothing.toml")["file"]


def test_a_password_comes_from_a_credential_or_a_private_file(tmp_path, monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(LintelError, match="'mqtt' is in no systemd credential"):
        password("mqtt", tmp_path)
    (tmp_path / "credentials").mkdir()
    secret = tmp_path / "credentials" / "mqtt"
    secret.write_text("hunter2\n")
    secret.chmod(0o644)
    with pytest.raises(LintelError, match="chmod 600") as caught:
        password("mqtt", tmp_path)
    assert "hunter2" not in str(caught.value)
    secret.chmod(0o600)
    assert password("mqtt", tmp_path) == "hunter2"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "mqtt").write_text("from systemd")
    assert password("mqtt", tmp_path) == "from systemd"


def test_commands_look_where_the_gateway_keeps_its_state():
    assert Config.model_fields["state_dir"].default == DEFAULT_STATE
