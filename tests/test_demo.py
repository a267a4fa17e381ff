"""`lintel demo` and `lintel bench` as a user runs them."""

import inspect
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from lintel.demo import scenes

MAIN = "from lintel.edge.cli import main; main()"
NO_MOSQUITTO = (
    "import shutil; real = shutil.which\n"
    "shutil.which = lambda name, *a, **k: None if name == 'mosquitto' else real(name, *a, **k)\n"
)
NO_PEERS = "from lintel.demo import lines; lines.present = lambda name: False\n"
NO_BUS = NO_MOSQUITTO.replace("'mosquitto'", "'dbus-daemon'")
WRONG_SCRIPT = (
    "from lintel.demo import scenes; real = scenes.visitor_pass\n"
    "scenes.visitor_pass = lambda world, door, **how: real(world, door)\n"
)
KEYS = {"entries", "granted", "denied", "opened", "lost", "p50_ms", "p99_ms", "scenes"}


def start(*arguments, before=""):
    return subprocess.Popen(
        [sys.executable, "-c", before + MAIN, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def ended(process, timeout=100):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


@pytest.mark.parametrize("before", ["", NO_MOSQUITTO], ids=["mosquitto", "embedded broker"])
def test_the_demo_goes_as_its_script_expects(before):
    """However short: the pictures of a revoked, an expired and a forged pass and the cut cable are always seen."""
    code, out, err = ended(start("demo", "--seconds", "1", "--json", before=before))
    assert code == 0, err
    result = json.loads(out)
    assert set(result) == KEYS
    assert result["lost"] == 0
    assert result["opened"] == result["granted"] > 10
    assert result["entries"] == result["granted"] + sum(result["denied"].values())
    assert {"already_used", "bad_signature", "expired", "low_score", "revoked"} <= set(result["denied"])
    shown = {name for name, scene in vars(scenes).items() if inspect.iscoroutinefunction(scene) and name != "life_at"}
    assert set(result["scenes"]) == shown > {"revoked_pass", "revoked_resident", "expired_pass", "cut_cable"}
    assert result["denied"]["revoked"] == sum(
        result["scenes"][f"revoked_{what}"] for what in ("pass", "resident", "card")
    )
    assert 0 < result["p50_ms"] <= result["p99_ms"]
    assert ("embedded" in err) == bool(before)


def test_the_demo_goes_on_without_libosdp():
    code, out, err = ended(start("demo", "--seconds", "1", "--json", before=NO_PEERS))
    assert code == 0, err
    assert json.loads(out)["scenes"]["resident_by_card"] > 0


def test_the_demo_leaves_the_bluetooth_door_out_where_there_is_no_message_bus():
    code, out, err = ended(start("demo", "--seconds", "1", "--json", before=NO_BUS))
    assert code == 0, err
    assert "resident_by_card" not in json.loads(out)["scenes"]


def test_a_demo_that_does_not_go_as_expected_says_so_and_exits_1():
    """Control: yesterday's pass is drawn as a valid one, and the door rightly opens."""
    code, out, err = ended(start("demo", "--seconds", "8", "--json", before=WRONG_SCRIPT))
    assert code == 1
    assert "granted, expected expired" in err
    assert json.loads(out)["entries"] > 10


@pytest.mark.parametrize("stop", [os.kill, os.killpg], ids=["kill", "a terminal's Ctrl-C, which all its processes get"])
def test_ctrl_c_ends_the_demo_cleanly(stop):
    process = start("demo", "--seconds", "600")
    for line in process.stdout:
        if "granted" in line:
            break
    stop(process.pid, signal.SIGINT)
    begin = time.monotonic()
    code, out, err = ended(process, 40)
    assert code == 130, err
    assert "stopped before these scenes" in out
    assert "Traceback" not in err
    assert "lost" in out
    assert time.monotonic() - begin < 40


def test_bench_decide_gives_its_figures():
    code, out, err = ended(start("bench", "decide", "--json", "--credentials", "2000"))
    assert code == 0, err
    figures = json.loads(out)
    assert figures["credentials"] == 2000
    assert 0 < figures["p50_us"] <= figures["p99_us"]
    assert figures["granted"] > figures["decisions"] * 0.8


def test_bench_entry_gives_its_figures_and_loses_nothing():
    code, out, err = ended(start("bench", "entry", "--json", "--credentials", "2000", "--seconds", "1"), 110)
    assert code == 0, err
    figures = json.loads(out)
    assert figures["lost"] == 0
    named = {"p50_ms", "p99_ms", "per_s", "floor_p50_ms", "ratio_p50", "idle_rss_mb", "idle_cpu_percent", "start_ms"}
    assert named <= set(figures)
    assert all(rate["orders"] == (0 if name == "1000" else rate["sent"]) for name, rate in figures["rates"].items())


def test_bench_lines_gives_its_figures():
    code, out, err = ended(start("bench", "lines", "--json", "--seconds", "5", "--outages", "2"), 115)
    assert code == 0, err
    figures = json.loads(out)
    named = {
        "osdp_p99_ms_9600", "osdp_cycle_ms_9600", "osdp_p99_ms_115200", "osdp_reconnect_s", "ble_unlock_ratio",
        "ble_reconnect_s", "mixed_p99_ms", "mixed_rss_mb", "serial_replug_s", "broker_restart_s",
    }  # fmt: skip
    assert named <= set(figures)
    assert all(figures[name] > 0 for name in named)
    assert figures["osdp_cycle_ms_9600"] > 100, "eight secure polls and their answers take the wire that long"
