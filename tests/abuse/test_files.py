"""Rows C3 and C4: hostile files, as profile and as configuration. Refused whole, within 50 ms, nothing executed."""

import time
import tracemalloc
from pathlib import Path

import pytest

from lintel.edge import config
from lintel.edge.errors import ConfigError
from lintel.edge.profiles import loader

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "examples/gateway.toml").read_text("utf-8")
GOOD = """\
name = "x"
title = "t"
vendor = "v"
source = "s"
firmware = "f"
driver = "serial_qr"
[serial]
baud = 9600
framing = { kind = "delimited" }
[[sample]]
direction = "in"
source = "s"
firmware = "f"
hex = "41 0D"
means = [{ code = "A" }]
"""
LIMIT = 0.05
SLACK = 10  # for a busy machine
MEMORY = 20 << 20

HOSTILE = {  # whole files: neither a profile nor a configuration
    "a tag that builds an object": ("!!python/object/apply:os.system ['reboot']\n", "bad_format"),
    "a bomb of aliases": ("".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(9)), "bad_format"),
    "ten megabytes": ("a = 1 # " + "x" * (10 << 20), "too_large"),
    "a thousand levels of lists": ("a = " + "[" * 1000 + "]" * 1000, "too_large"),
    "seventeen levels of lists": ("a = " + "[" * 17 + "]" * 17, "too_large"),
    "a thousand levels of tables": ("a = " + "{b = " * 1000 + "1" + "}" * 1000, "too_large"),
    "a dotted key of 30,000 parts": (".".join("a" * 30_000) + " = 1", "too_large"),
    "a table name of 30,000 parts": ("[" + ".".join("a" * 30_000) + "]", "too_large"),
    "duplicate keys": ("a = 1\na = 2\n", "bad_format"),
    "a duplicate table": ("[a]\n[a]\n", "bad_format"),
    "bare NO": ("a = NO\n", "bad_format"),
    "bare on": ("a = on\n", "bad_format"),
    "a number with two underscores": ("a = 1__000\n", "bad_format"),
    "bytes that are no text": ("a = '\udcc0\udcaf'", "bad_format"),
    "a NUL": ("a = '\x00'", "bad_format"),
    "half a file": (GOOD[:95], "bad_format"),
}

VALUES = {  # one hostile value in a good profile: the key, what stands there, and the word
    "octal where a speed is asked": ("baud = 9600", "baud = 0o77", "schema_violation"),
    "too large a number with underscores": ("baud = 9600", "duplicate_ms = 1_000_000", "schema_violation"),
    "infinity": ("baud = 9600", "baud = inf", "unsafe_value"),
    "not a number": ("baud = 9600", "baud = nan", "unsafe_value"),
    "a date": ("baud = 9600", "baud = 2020-01-01", "unsafe_value"),
    "a word for a truth value": ('kind = "delimited"', 'kind = "yes"', "schema_violation"),
    "an unknown key": ("baud = 9600", "retry = 3", "schema_violation"),
    # C4
    "a regular expression": ("baud = 9600", 'regex = "(a+)+$"', "unsafe_value"),
    "an expression": ("baud = 9600", 'expression = "9**9**9"', "unsafe_value"),
    "arithmetic as a number": ("baud = 9600", 'baud = "9**9**9"', "schema_violation"),
    "a template": ('title = "t"', 'title = "{{config}}"', "unsafe_value"),
    "a shell": ('title = "t"', 'title = "$(reboot)"', "unsafe_value"),
    "an offset below zero": ("baud = 9600", "max_length = -1", "schema_violation"),
    "a scale of zero": ("baud = 9600", "discard_after_open_ms = -5", "schema_violation"),
    "a path for a name": ('name = "x"', 'name = "../x"', "schema_violation"),
    "a driver that is none": ('driver = "serial_qr"', 'driver = "os.system"', "schema_violation"),
}

SETTINGS = {  # one hostile value in the example configuration
    "octal": ("port = 1883", "port = 0o1000000"),
    "underscores": ("port = 1883", "port = 1_000_000"),
    "infinity": ("open_s = 3.0", "open_s = inf"),
    "not a number": ("open_s = 3.0", "open_s = nan"),
    "below zero": ("open_s = 3.0", "open_s = -1.0"),
    "zero": ("id = 12648430", "id = 0"),
    "a template": ('id = "gate-port"', 'id = "{{config}}"'),
    "a shell": ('profile = "generic-cr"', 'profile = "$(reboot)"'),
    "a path": ('profile = "generic-cr"', 'profile = "../../etc/passwd"'),
    "an unknown key": ("port = 1883", "port = 1883\nexec = 'reboot'"),
    "another type": ("port = 1883", "port = [1883]"),
}


def refused(read, path, text):
    """The mistakes of a file; how long and how much memory finding them took is part of the promise (G14)."""
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    start = time.perf_counter()
    with pytest.raises(ConfigError) as caught:
        read(path)
    took = time.perf_counter() - start
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError):
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    print(f"refused in {took * 1e3:.1f} ms with {peak / 1e6:.1f} MB")
    assert took < LIMIT * SLACK
    assert peak < MEMORY
    assert caught.value.mistakes
    return str(caught.value)


@pytest.mark.parametrize("kind", ["profile", "configuration"])
@pytest.mark.parametrize("name", HOSTILE)
def test_c3_a_hostile_file_is_refused_whole(tmp_path, name, kind):
    text, word = HOSTILE[name]
    read = loader.load if kind == "profile" else config.load
    assert f"[{word}]" in refused(read, tmp_path / "x.toml", text)


@pytest.mark.parametrize("name", VALUES)
def test_c3_c4_a_hostile_value_in_a_profile_is_refused(tmp_path, name):
    old, new, word = VALUES[name]
    assert GOOD.count(old) == 1
    assert f"[{word}]" in refused(loader.load, tmp_path / "x.toml", GOOD.replace(old, new))


@pytest.mark.parametrize("name", SETTINGS)
def test_c3_c4_a_hostile_value_in_the_configuration_is_refused(tmp_path, name):
    old, new = SETTINGS[name]
    assert old in EXAMPLE
    refused(config.load, tmp_path / "gateway.toml", EXAMPLE.replace(old, new))


def test_c3_every_mistake_is_told_at_once(tmp_path):
    text = GOOD
    for old, new in (("baud = 9600", "baud = inf"), ('title = "t"', 'title = "{{x}}"'), ('name = "x"', 'name = "y"')):
        text = text.replace(old, new)
    assert refused(loader.load, tmp_path / "x.toml", text).count("expected") >= 2


def test_c3_control_without_the_hostile_part_the_files_are_right(tmp_path):
    (tmp_path / "x.toml").write_text(GOOD)
    assert loader.load(tmp_path / "x.toml").name == "x"
    (tmp_path / "gateway.toml").write_text(EXAMPLE)
    config.load(tmp_path / "gateway.toml")


def test_c3_control_without_the_bound_on_dots_a_file_takes_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr("lintel.edge.tables.MAX_DOTS", 10**9)
    (tmp_path / "x.toml").write_text(".".join("a" * 6_000) + " = 1")
    start = time.perf_counter()
    with pytest.raises(ConfigError):
        loader.load(tmp_path / "x.toml")
    assert time.perf_counter() - start > LIMIT
