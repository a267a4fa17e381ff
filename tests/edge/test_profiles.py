"""Profile files: every profile is right and proves it, and every mistake in one is named at once."""

import dataclasses
import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import lintel
from lintel.edge.cli.profiles import app
from lintel.edge.errors import ConfigError
from lintel.edge.profiles import Profile, builtin, check_samples, find, load, loader

GOOD = """
name = "x"
title = "t"
vendor = "v"
driver = "serial_qr"
source = "s"
firmware = "1"

[serial]
baud = 9600
[serial.framing]
kind = "delimited"

[[sample]]
direction = "in"
source = "s"
firmware = "1"
hex = "41 0D"
means = [{ code = "A" }]
"""


def write(folder: Path, text: str, name: str = "x.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def mistakes(folder: Path, text: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        load(write(folder, text))
    assert str(folder / "x.toml") in str(caught.value)
    return {m.where: m.expected for m in caught.value.mistakes}


# Over all profiles


def hears(profile):
    """A relay says nothing."""
    return getattr(profile.spec, "role", "") != "relay"


@pytest.mark.parametrize("name", builtin())
def test_every_profile_is_right(name):
    profile = builtin()[name]
    assert profile.name == name
    assert check_samples(profile) == []
    assert profile.source
    assert profile.title
    ways = {"in": hears(profile), "out": bool(profile.spec.orders)}
    assert {s.direction for s in profile.samples} == {way for way, there in ways.items() if there}
    assert all(s.source and s.firmware for s in profile.samples)


def mutations(profile: Profile):
    """The profile with one sample changed, for each of its samples: what it means, or what it is."""
    for number, sample in enumerate(profile.samples):
        if sample.direction == "in":
            changed = dataclasses.replace(sample, means=(*(sample.means or ()), {"code": "never"}))
        elif sample.hex is not None:
            changed = dataclasses.replace(sample, hex=sample.hex + b"!")
        elif sample.text is not None:
            changed = dataclasses.replace(sample, text=sample.text + "!")
        else:
            changed = dataclasses.replace(sample, payload=json.dumps({"never": 1}))
        samples = (*profile.samples[:number], changed, *profile.samples[number + 1 :])
        yield number, dataclasses.replace(profile, samples=samples)


@pytest.mark.parametrize("name", builtin())
def test_control_a_changed_sample_fails(name):
    for number, changed in mutations(builtin()[name]):
        found = check_samples(changed)
        assert [m.where.split(".")[0] for m in found] == [f"sample[{number}]"]


@pytest.mark.parametrize("name", builtin())
def test_control_each_message_and_each_thing_that_is_said_needs_its_sample(name):
    """A profile that loses all samples of one kind is found out, and the kind is named."""
    profile = builtin()[name]
    kinds = {f"command = {order!r}" for order in profile.spec.orders}
    if profile.driver == "mqtt_terminal":
        kinds |= {f"the message {m.name!r}" for m in profile.spec.message}
    without = check_samples(dataclasses.replace(profile, samples=()))
    assert {k for k in kinds if any(k in m.expected for m in without)} == kinds
    assert len(without) == len(kinds) + hears(profile)
    for sample in profile.samples:
        rest = tuple(s for s in profile.samples if s is not sample)
        assert len(check_samples(dataclasses.replace(profile, samples=rest))) <= 1


# Mistakes


def test_five_planted_mistakes_are_all_named(tmp_path):
    text = (
        GOOD.replace("baud = 9600", 'baud = "9600"\nspeed = 3')
        .replace('hex = "41 0D"', 'hex = "4"')
        .replace('title = "t"\n', "")
        .replace('kind = "delimited"', 'kind = "delimited"\nends = ""')
    )
    found = mistakes(tmp_path, text)
    assert set(found) == {"serial.baud", "serial.speed", "sample[0].hex", "title", "serial.framing.ends"}
    assert all(e.startswith("expected ") for e in found.values())
    assert "115200" in found["serial.baud"]
    assert "16 54 0D" in found["sample[0].hex"]
    load(write(tmp_path, GOOD))  # and without them it is right


def test_mistakes_of_all_kinds_are_named_together(tmp_path):
    """A value, a key, bytes, references, an unsafe text, the name of the file and the driver."""
    text = (
        GOOD.replace("baud = 9600", 'baud = 9601\nrearm = "again"\ninit = ["go"]\nspeed = 3')
        .replace('hex = "41 0D"', 'hex = "4"')
        .replace('title = "t"', 'title = "{{t}}"')
        .replace('name = "x"', 'name = "y"')
        .replace('"serial_qr"', '"serial"')
        + '[[serial.command]]\nname = "ack"\nsend = "zz"\n'
    )
    found = mistakes(tmp_path, text)
    assert set(found) == {
        "driver", "name", "title", "serial.baud", "serial.rearm", "serial.init[0]", "serial.speed",
        "serial.command[0].name", "serial.command[0].send", "sample[0].hex",
    }  # fmt: skip
    assert "'serial_qr'" in found["driver"]
    assert "one of its commands (ack)" in found["serial.init[0]"]


def test_mistakes_of_a_terminal_are_named_together(tmp_path):
    text = (
        GOOD[: GOOD.index("[serial]")].replace('"serial_qr"', "7")
        + """
[mqtt]
enforces_validity = "no"
ask = "time"
message = [
  { name = "a", kind = "qr", topics = ["t"], reply = "none", clock_tolerance_s = -1 },
  { name = "a", kind = "face", topics = ["{device}/+"], time = { at = ["/a"], to = "sec_usec" } },
]
[mqtt.command.open]
topic = "{device}"
field = { "/a" = "text", "/a/b" = "order_id" }
[mqtt.command.open.answer]
topics = ["all"]
timeout_s = 1
"""
    )
    assert set(mistakes(tmp_path, text)) == {
        "driver", "sample", "mqtt.enforces_validity", "mqtt.ask", "mqtt.message", "mqtt.message[0].identity",
        "mqtt.message[0].reply", "mqtt.message[0].credential", "mqtt.message[0].clock_tolerance_s",
        "mqtt.message[1].topics[0]", "mqtt.message[1].time.at", "mqtt.command.open",
        "mqtt.command.open.answer.identity", "mqtt.command.open.answer.ok",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value"), [("serial", 3), ("serial", "[]"), ("mqtt", "[1]"), ("driver", "[]"), ("name", "{}")]
)
def test_a_table_of_another_type_is_a_mistake_not_a_crash(tmp_path, key, value):
    lines = [line for line in GOOD[: GOOD.index("[serial]")].splitlines() if not line.startswith(key)]
    assert key in mistakes(tmp_path, "\n".join([*lines, f"{key} = {value}"]))


@pytest.mark.parametrize(
    ("change", "where", "word"),
    [
        (("baud = 9600", 'regex = "(a+)+$"'), "serial.regex", "unsafe_value"),
        (("baud = 9600", 'expression = "9**9**9"'), "serial.expression", "unsafe_value"),
        (('title = "t"', 'title = "{{config}}"'), "title", "unsafe_value"),
        (('title = "t"', 'title = "$(reboot)"'), "title", "unsafe_value"),
        (("baud = 9600", "baud = inf"), "serial.baud", "unsafe_value"),
        (("baud = 9600", "baud = 2020-01-01"), "serial.baud", "unsafe_value"),
        (("baud = 9600", 'baud = "9**9**9"'), "serial.baud", "schema_violation"),
        (("baud = 9600", "baud = true"), "serial.baud", "schema_violation"),
        (("baud = 9600", "baud = 9600.5"), "serial.baud", "schema_violation"),
        (("baud = 9600", "baud = 0o77"), "serial.baud", "schema_violation"),
        (("baud = 9600", "max_length = -1"), "serial.max_length", "schema_violation"),
        (("baud = 9600", "duplicate_ms = 1_000_000"), "serial.duplicate_ms", "schema_violation"),
        (("baud = 9600", 'init = ["go"]'), "serial.init[0]", "schema_violation"),
        (("baud = 9600", "rearm_every_s = 5"), "serial.rearm", "schema_violation"),
        (("baud = 9600", "extract = {opcode = 'F3', opcode_at = 1, text_at = 5}"), "serial.extract", "no such table"),
        (('kind = "delimited"', 'kind = "length"'), "serial.extract", "schema_violation"),
        (('kind = "delimited"', 'kind = "guess"'), "serial.framing", "schema_violation"),
        (('name = "x"', 'name = "../x"'), "name", "schema_violation"),
        (('name = "x"', 'name = "y"'), "name", "schema_violation"),
        (('driver = "serial_qr"', 'driver = "os.system"'), "driver", "schema_violation"),
        (("means = [{ code = \"A\" }]", ""), "sample[0]", "schema_violation"),
        (("baud = 9600", "baud = NO"), "file", "bad_format"),
        (("baud = 9600", "baud = 9600\nbaud = 1200"), "file", "bad_format"),
    ],
)  # fmt: skip
def test_hostile_and_wrong_values(tmp_path, change, where, word):
    assert GOOD.count(change[0]) == 1
    found = mistakes(tmp_path, GOOD.replace(*change))
    assert list(found) == [where]
    assert word in found[where]


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 1000,
        "a = " + "[" * 17 + "]" * 17,
        ".".join("a" * 20) + " = 1",
        ".".join("a" * 30_000) + " = 1",
        "[" + ".".join("a" * 30_000) + "]",
        "".join(f"{'.'.join(f'k{n}x{m}' for m in range(50))} = 1\n" for n in range(500)),
        "a = 1 # " + "x" * (10 << 20),
        "\xff\xfe",
    ],
)
def test_refusing_is_cheap(tmp_path, text):
    path = tmp_path / "x.toml"
    path.write_bytes(text.encode("latin-1"))
    start = time.perf_counter()
    with pytest.raises(ConfigError, match=r"too_large|bad_format"):
        load(path)
    assert time.perf_counter() - start < 1.0  # the long dotted keys would take 16 s


def test_a_missing_file_is_a_mistake_not_a_crash(tmp_path):
    with pytest.raises(ConfigError, match="readable"):
        load(tmp_path / "none.toml")


# Finding


def test_the_sites_own_profile_comes_first(tmp_path):
    write(tmp_path, GOOD.replace('name = "x"', 'name = "generic-cr"'), "generic-cr.toml")
    assert find("generic-cr", [tmp_path]).title == "t"
    assert find("generic-cr").title != "t"
    assert find("zebra-ssi", [tmp_path]).name == "zebra-ssi"


def test_a_file_is_read_once_for_all_its_devices_until_it_changes(tmp_path, monkeypatch):
    read, real = [], loader.read_table
    monkeypatch.setattr(loader, "read_table", lambda *args: read.append(args) or real(*args))
    write(tmp_path, GOOD)
    assert len({id(find("x", [tmp_path])) for _ in range(200)}) == 1
    assert len(read) == 1
    write(tmp_path, GOOD.replace('title = "t"', 'title = "a new title"'))
    assert find("x", [tmp_path]).title == "a new title"


@pytest.mark.parametrize("name", ["none", "", "../x", "/etc/passwd", "x.toml", "A", "a" * 65])
def test_a_name_that_is_none_lists_those_that_are(tmp_path, name):
    write(tmp_path, GOOD)
    with pytest.raises(ConfigError, match=r"generic-cr.*, x, "):
        find(name, [tmp_path])


def test_only_what_is_asked_for_is_read(monkeypatch):
    fresh = loader._Builtin()
    monkeypatch.setattr(loader, "builtin", lambda: fresh)
    find("generic-cr")
    assert list(fresh._read) == ["generic-cr"]


# The command


def run(*args: str):
    return CliRunner().invoke(app, list(args), env={"LANG": "C", "LC_ALL": "C"})


def test_list():
    rows = json.loads(run("list", "--json").stdout)
    assert {r["name"] for r in rows} == set(builtin())
    assert "zebra-ssi" in run("list").stdout


def test_check(tmp_path):
    assert run("check", "--all").exit_code == 0
    good, bad = write(tmp_path, GOOD), write(tmp_path, GOOD.replace("9600", "9601"), "y.toml")
    assert run("check", str(good)).exit_code == 0
    result = run("check", str(good), str(bad))
    assert result.exit_code == 1
    assert "serial.baud" in result.output
    wrong = write(tmp_path, GOOD.replace('{ code = "A" }', '{ code = "B" }'))
    result = run("check", str(wrong), "--json")
    assert result.exit_code == 1
    assert "sample[0].means" in json.loads(result.stdout)[0]["mistakes"][0]
    assert run("check").exit_code == 2


def test_replay(tmp_path):
    assert run("replay", "generic-cr", "--text", "L1:AB").stdout == "code: L1:AB\n"
    for extra in ([], ["--byte-by-byte"]):
        found = run("replay", "generic-cr", "--hex", "4F4B0D 25254E6F526561640D", "--json", *extra)
        assert json.loads(found.stdout) == [{"code": "OK"}]
    (tmp_path / "raw").write_bytes(b"A\rB\r")
    assert run("replay", str(write(tmp_path, GOOD)), "--capture", str(tmp_path / "raw")).stdout == "code: A\ncode: B\n"
    assert run("replay", "generic-cr", "--hex", "0D").stdout == "nothing\n"
    assert run("replay", "generic-cr", "--hex", "xx").exit_code == 2
    assert run("replay", "generic-cr").exit_code == 2


def test_the_commands_speak_chinese():
    result = CliRunner().invoke(app, ["replay", "generic-cr", "--hex", "0D"], env={"LC_ALL": "zh_CN.UTF-8"})
    assert result.stdout == "无内容\n"


def test_the_readme_is_enough(tmp_path):
    """The page's own example file, once its comments are read, is a right profile with passing samples."""
    page = (Path(lintel.__file__).parent / "firmware_profiles" / "README.md").read_text()
    text = next(b for b in page.split("```toml\n") if b.startswith('name = "acme-q5"')).split("```")[0]
    text = text[: text.index("[serial.extract]")] + text[text.index("[[serial.command]]") :]
    profile = load(write(tmp_path, text, "acme-q5.toml"))
    assert check_samples(profile) == []
    plain = {f.name: f.default for f in dataclasses.fields(type(profile.spec)) if f.default is not dataclasses.MISSING}
    shown = {k: getattr(profile.spec, k) for k in plain if k != "command"}
    assert shown == {k: v for k, v in plain.items() if k != "command"}  # "defaults are shown" is true
