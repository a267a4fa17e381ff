"""Profiles of GPIO lines: what is written, what a cut wire would be, and mistakes that are told together."""

import pytest

from lintel.edge.errors import ConfigError
from lintel.edge.profiles import builtin, load
from lintel.edge.profiles.gpio import GpioSpec, understand

NAMES = sorted(n for n in builtin() if n.startswith("gpio-"))
GOOD = """name = "own"
title = "t"
vendor = "v"
driver = "gpio"
source = "s"
firmware = "f"
[gpio]
role = "door_contact"
bias = "pull_up"
[[sample]]
direction = "in"
source = "s"
firmware = "f"
text = "low"
means = [{ door_contact = "closed" }]
"""


def mistakes(tmp_path, text):
    path = tmp_path / "own.toml"
    path.write_text(text)
    try:
        load(path)
    except ConfigError as error:
        return {m.where: m.expected for m in error.mistakes}
    return {}


def test_there_is_one_for_each_thing_that_is_wired():
    assert {builtin()[n].spec.role for n in NAMES} == {"relay", "door_contact", "exit", "fire", "tamper"}
    assert {builtin()[n].spec.fail_safe for n in NAMES if "-strike" in n or n == "gpio-magnet"} == {False, True}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_driven_at_rest(name):
    """A fail-secure lock is locked with nothing driven, a fail-safe one unlocked."""
    spec = builtin()[name].spec
    if spec.role == "relay":
        assert spec.driven(unlocked=True) is not spec.fail_safe
        assert spec.driven(unlocked=False) is spec.fail_safe
        assert spec.channels == 1
    else:
        assert spec.channels == 0
        assert spec.unsupervised is (spec.cut_wire is False)


@pytest.mark.parametrize("name", ["gpio-fire-nc", "gpio-door-nc", "gpio-tamper-nc"])
def test_a_cut_wire_is_seen(name):
    assert builtin()[name].spec.cut_wire is True


@pytest.mark.parametrize(("bias", "active_low", "seen"), [
    ("pull_up", False, True), ("pull_up", True, False), ("pull_down", True, True), ("pull_down", False, False),
    ("as_is", True, None), ("disabled", False, None),
])  # fmt: skip
def test_what_a_cut_wire_reads(bias, active_low, seen):
    assert GpioSpec("fire", active_low=active_low, bias=bias).cut_wire is seen


def test_a_profile_says_that_a_cut_wire_is_not_seen(tmp_path):
    assert mistakes(tmp_path, GOOD) == {}
    low = GOOD.replace('bias = "pull_up"', 'bias = "pull_up"\nactive_low = true').replace("closed", "open")
    assert set(mistakes(tmp_path, low)) == {"gpio.unsupervised"}
    assert mistakes(tmp_path, low.replace("[[sample]]", "unsupervised = true\n[[sample]]", 1)) == {}
    assert set(mistakes(tmp_path, GOOD.replace("[[sample]]", "unsupervised = true\n[[sample]]", 1))) == {
        "gpio.unsupervised"
    }


def test_keys_of_inputs_and_relays_do_not_mix(tmp_path):
    mixed = GOOD.replace("[[sample]]", 'fail_safe = true\ndrive = "open_drain"\n[[sample]]', 1)
    assert set(mistakes(tmp_path, mixed)) == {"gpio.fail_safe", "gpio.drive"}
    relay = GOOD.replace("door_contact", "relay", 1).replace("[[sample]]", "debounce_ms = 3\n[[sample]]", 1)
    assert set(mistakes(tmp_path, relay)) == {"gpio.debounce_ms"}


@pytest.mark.parametrize("data", [b"", b"1", b"high;", b"high; low", b"high; -5 low", b"\xff", b"high; 5 down"])
def test_levels_that_are_none_are_told(data):
    assert understand(GpioSpec("exit"), "", data, 0)[0] == {"bad": "no level"}
