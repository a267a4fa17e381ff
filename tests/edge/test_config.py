"""One TOML file: every mistake at once, with its key and what was expected; passwords only by name."""

from importlib import resources
from pathlib import Path

import pytest

from lintel.edge.cli.options import DEFAULT_STATE
from lintel.edge.config import Config, load, password
from lintel.edge.errors import ConfigError, LintelError
from lintel.edge.model import ContactKind
from lintel.edge.profiles import builtin
from lintel.edge.storeless import must_run

EXAMPLE = Path(__file__).parents[2] / "examples" / "gateway.toml"


PASS_KEY = f'[[pass_key]]\nid = 7\npublic_key = "{"0" * 64}"\n'
SECOND_READER = """\
[[line]]
id = "port-2"
driver = "serial_qr"
path = "/tmp/lintel-gate-qr"
[[device]]
id = "qr-2"
line = "port-2"
profile = "generic-cr"
door = "gate"
"""


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
        ('address = "1026700"', "", "device[1].address", "MQTT id"),
        ("id = 12648430", "id = 0", "site.id", "greater than or equal to 1"),
        ('groups = ["public"] #', "groups = [] #", "door[0].groups", "at least 1"),
        ('lock = "gate-face"', 'lock = "gate-qr"', "door[0].lock", "no command 'open'"),
        ("open_s = 3.0", "open_s = 3.0\nchannel = 1", "door[0].channel", "names no channel"),
        ('address = "1026700"', 'address = "a/+b"', "device[1].address", "without '/'"),
        ('path = "/tmp/lintel-gate-qr"', 'path = "gate-qr"', "line[1].path", "absolute"),
        ("port = 1883", 'port = 1883\ncertificate = "gw.pem"', "line[0].ca", "not encrypted"),
        ("port = 1883", 'port = 1883\nca = "ca.pem"\nkey = "gw.key"', "line[0].certificate", "beside 'key'"),
        ('id = "gate-port"', 'id = "gate port"', "line[1].id", "letters, digits"),
        ("# [[pass_key]]", f"{PASS_KEY}{PASS_KEY}# [[pass_key]]", "pass_key[1].id", "once"),
        (
            '[[line]]\nid = "gate-port"',
            f'{SECOND_READER}[[line]]\nid = "gate-port"',
            "line[2].path",
            "a serial port used once",
        ),
    ],
)  # fmt: skip
def test_a_contradiction_is_named_with_what_was_expected(tmp_path, old, new, where, hint):
    found = mistakes(written(tmp_path, (old, new)))
    assert hint in found[where]


def test_mistakes_of_all_kinds_are_named_together(tmp_path):
    """Syntax of keys, a time zone, profiles, references, what does not fit: one round of mending is enough."""
    found = mistakes(
        written(
            tmp_path,
            ('name = "Example community"', 'name = "Example community"\ncolour = "red"'),
            ('timezone = "Asia/Shanghai"', 'timezone = "Mars/Olympus"'),
            ('profile = "generic-cr"', 'profile = "generic-cx"'),
            ('address = "1026700"', ""),
            ('id = "gate-face"\nline = "broker"', 'id = "gate-face"\nline = "brocker"'),
            ('lock = "gate-face"', 'lock = "gate-qr"\nchannel = "left"'),
            ("# [[pass_key]]", f"{PASS_KEY}{PASS_KEY}# [[pass_key]]"),
            ("port = 1883", 'port = 1883\nkey = "gw.key"\npassword = "correct horse"'),
        )
    )
    assert set(found) == {
        "site.colour",
        "site.timezone",
        "device[0].profile",
        "device[1].line",
        "door[0].channel",
        "pass_key[1].id",
        "line[0].ca",
        "line[0].certificate",
        "line[0].password",
    }


def test_a_password_that_stands_in_the_file_is_refused_and_not_repeated(tmp_path, monkeypatch):
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, ('# password = "mqtt" ', 'password = "Tr0ub4dor & 3"')))
    assert "the password itself stands in no file" in str(caught.value)
    assert "Tr0ub4dor" not in str(caught.value)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(LintelError) as unknown:
        password("hunter2", tmp_path)  # a password that could be a name
    assert "hunter2" not in str(unknown.value)


def test_paths_begin_in_the_folder_of_the_file(tmp_path):
    config = load(written(tmp_path, ("port = 1883", 'port = 1883\nca = "tls/ca.pem"\ncertificate = "/etc/gw.pem"')))
    line = config.line[0]
    assert line.options() == {"ca": str(tmp_path / "tls/ca.pem"), "certificate": "/etc/gw.pem"}


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
    with pytest.raises(LintelError, match="is in no systemd credential"):
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


GPIO = """\
[[line]]
id = "wires"
driver = "gpio"
[[line]]
id = "alarm"
driver = "gpio"
chip = "/dev/gpiochip0"
[[device]]
id = "gate-strike"
line = "wires"
profile = "gpio-strike"
address = "17"
door = "gate"
[[device]]
id = "panel"
line = "alarm"
profile = "gpio-fire-nc"
address = "27"
door = "*"
"""


def wired(tmp_path, *changes):
    text = GPIO
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return written(tmp_path, ("[[door]]", text + "[[door]]"))


def test_a_fire_input_may_be_of_every_door_and_a_line_of_its_own_on_the_same_chip(tmp_path):
    config = load(wired(tmp_path))
    assert [d.door for d in config.device][-1] == "*"


def test_nothing_but_a_fire_input_is_of_every_door(tmp_path):
    for profile in ("gpio-exit", "gpio-strike", "generic-cr"):
        found = mistakes(wired(tmp_path, ("gpio-fire-nc", profile)))
        assert found["device[3].door" if "device[3].door" in found else "device[2].door"].startswith("expected the id")


OSDP_FIRE = """\
[[osdp.input]]
number = 2
kind = "fire"
"""
OSDP = """\
profile_dir = "models"
[[line]]
id = "bus"
driver = "osdp"
path = "/dev/ttyS9"
[[device]]
id = "reader"
line = "bus"
profile = "with-fire"
address = "1"
door = "gate"
"""


def with_reader(tmp_path, *, extra=OSDP_FIRE, door="gate"):
    """The example with an OSDP reader whose own inputs are an exit button, unless left out, and a fire panel."""
    profile = (resources.files("lintel") / "firmware_profiles/osdp-generic.toml").read_text("utf-8")
    (tmp_path / "models").mkdir()
    (tmp_path / "models/with-fire.toml").write_text(
        profile.replace('name = "osdp-generic"', 'name = "with-fire"').replace("[[sample]]", f"{extra}[[sample]]", 1)
    )
    head, rest = OSDP.split("\n", 1)
    return written(
        tmp_path, ("[site]", f"{head}\n[site]"), ("[[door]]", rest.replace('"gate"', f'"{door}"') + "[[door]]")
    )


@pytest.mark.parametrize("kind", ["fire", "exit"])
def test_an_exit_or_a_fire_input_of_a_reader_has_to_work_without_a_store(tmp_path, kind):
    assert not must_run(load(written(tmp_path)))
    assert must_run(load(with_reader(tmp_path, extra=OSDP_FIRE.replace("fire", kind))))


def test_a_reader_whose_inputs_are_neither_need_not_work_without_a_store(tmp_path):
    assert not must_run(load(with_reader(tmp_path, extra=OSDP_FIRE.replace("fire", "door"))))


def test_a_reader_with_a_fire_input_has_a_door_of_its_own(tmp_path):
    """Its cards are presented there."""
    found = mistakes(with_reader(tmp_path, door="*"))
    assert list(found.items()) == [
        ("device[2].door", "expected the id of a [[door]]: '*' is for what is a fire input and nothing else")
    ]


def test_every_profile_tells_its_contacts():
    """What a driver states is in the list: else it counts nowhere."""
    contacts = {name: {kind for kind, _ in profile.spec.contacts} for name, profile in builtin().items()}
    assert {name for name, kinds in contacts.items() if ContactKind.FIRE in kinds} == {"gpio-fire-nc"}
    assert {name for name, kinds in contacts.items() if ContactKind.EXIT in kinds} == {
        "gpio-exit",
        "osdp-generic-relay",
    }
    assert {builtin()[name].driver for name, kinds in contacts.items() if kinds} == {"gpio", "osdp"}


SECOND_DOOR = """\
[[door]]
id = "side"
groups = ["public"]
lock = "gate-face"
"""


def test_two_doors_have_two_locks(tmp_path):
    """Who may pass one would open the other."""
    found = mistakes(written(tmp_path, ("[[door]]", SECOND_DOOR + "[[door]]")))
    assert found == {"door[1].lock": "expected a lock and channel of its own: side has the same"}


def test_two_channels_of_a_device_are_two_locks(tmp_path):
    two = SECOND_DOOR + "channel = 1\n"
    found = mistakes(written(tmp_path, ("[[door]]", two + "[[door]]")))
    assert list(found) == ["door[0].channel"], "this device has one; but it is not the same lock"


def test_lines_of_a_chip_have_an_address_used_once(tmp_path):
    found = mistakes(wired(tmp_path, ('"27"', '"17"')))
    assert list(found.values()) == ["expected an address used once on its chip"]
    found = mistakes(wired(tmp_path, ('address = "17"\n', "")))
    assert list(found.values()) == ["expected the line's offset on the chip, or its name"]
