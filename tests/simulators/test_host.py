"""The process around the devices: start, end, orphans, hostile input, the command line."""

import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lintel.simulators.client import Simulator
from lintel.simulators.host import fleet_specs
from lintel.simulators.parts import SimulatorError


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_simulator_ends_with_the_program_that_started_it(tmp_path):
    link = tmp_path / "qr"
    program = (
        "import asyncio, os\n"
        "from lintel.simulators.client import Simulator\n"
        "async def main():\n"
        f"    sim = await Simulator('qr-reader', '--link', {str(link)!r}).start()\n"
        "    print(sim.pid, flush=True)\n"
        "    os._exit(9)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    pid = int(done.stdout)
    deadline = time.monotonic() + 5
    while alive(pid):
        assert time.monotonic() < deadline, "an orphan"
        time.sleep(0.02)
    assert not os.path.lexists(link)


def test_a_killed_device_is_missed_by_the_broker(broker, platform):
    async def run():
        far = platform("k-1/online")
        async with asyncio.timeout(15), Simulator("relay", "--id", "k-1", "--broker", broker) as sim:
            await asyncio.to_thread(far.next, lambda _, b: b is True)
            await sim.kill()
            await asyncio.to_thread(far.next, lambda _, b: b is False)
            with pytest.raises(SimulatorError):
                await sim.command("ledger")

    asyncio.run(run())


def test_commands_that_make_no_sense_are_refused_with_what_is_known(tmp_path):
    async def run():
        async with asyncio.timeout(15), Simulator("qr-reader", "--id", "r", "--link", str(tmp_path / "q")) as sim:
            with pytest.raises(SimulatorError, match="it knows garbage, half"):
                await sim.command("fly")
            with pytest.raises(SimulatorError, match="unexpected keyword"):
                await sim.command("scan", test="x")
            with pytest.raises(SimulatorError, match="which part"):
                await sim.command("scan", id="other", text="x")
            assert (await sim.command({"cmd": "status", "id": "r"}))["plugged"] is True
            with pytest.raises(TimeoutError):
                await sim.event("never", 0.05)

    asyncio.run(run())


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"parts": 3}', '[{"kind": "toaster"}]'])
def test_a_wrong_fleet_is_refused(text):
    with pytest.raises(SimulatorError):
        fleet_specs(text)


def test_an_answer_takes_milliseconds(broker, platform):
    """With Nagle's algorithm and delayed acknowledgements on, a round trip takes 40 ms or more."""

    async def run():
        far = platform("gw/rpc")
        times = []
        async with asyncio.timeout(15), Simulator("relay", "--id", "fast-1", "--broker", broker):
            for number in range(30):
                began = time.monotonic()
                frame = {"id": number, "src": "gw", "method": "Switch.Set", "params": {"id": 0, "on": number % 2 == 0}}
                far.say("fast-1/rpc", frame)
                await asyncio.to_thread(far.next, lambda _, b, number=number: b["id"] == number)
                times.append(time.monotonic() - began)
        return statistics.median(times)

    assert asyncio.run(run()) < 0.03


SHAPES = [None, True, 0, -1, 1e9, "", "x", "#", "+/a", [], [[]], [{}], {}, {"info": []}, {"customId": [1]}, "2026"]
WORDS = [
    "EditPerson",
    "EditPersonsNew",
    "AddPersons",
    "DelPerson",
    "DeletePersons",
    "SearchPerson",
    "SearchPersonList",
    "PushAck",
    "SetSysTime",
    "UpMQTTconfig",
    "ManualPushRecords",
    "Unlock",
    "create_face",
    "delete_face",
    "Switch.Toggle",
    "Input.GetStatus",
]
KEYS = [
    "operator",
    "info",
    "messageId",
    "DataBegin",
    "DataEnd",
    "PersonNum",
    "cmd",
    "cmd_id",
    "type",
    "per_id",
    "img_url",
    "data",
    "message_uuid",
    "confirmation_topic",
    "id",
    "src",
    "method",
    "params",
    "customId",
    "PushAckType",
    "SnapOrRecordID",
    "SysTime",
]


def test_hostile_messages_break_no_device(broker, platform):
    parts = [
        {"kind": "mqtt-face", "id": "1"},
        {"kind": "yld", "id": "2"},
        {"kind": "luozhi", "id": "3"},
        {"kind": "relay", "id": "4"},
    ]
    topics = [
        "mqtt/face/1",
        "face.2.request",
        "/hiot/3/add_data",
        "/hiot/3/del_data",
        "/hiot/3/request_setting",
        "4/rpc",
    ]
    dice = random.Random(7)

    def value(depth=0):
        if depth < 3 and dice.random() < 0.5:
            return {dice.choice(KEYS): value(depth + 1) for _ in range(dice.randrange(5))}
        return dice.choice(SHAPES + WORDS)

    async def run():
        far = platform("gw/rpc", "mqtt/face/1/Ack")
        defaults = {"broker": broker, "fetch_photos": False, "batch_seconds": 0, "reboot_seconds": 0.05, "retry": 0.05}
        async with asyncio.timeout(40), Simulator.fleet(parts, **defaults) as sim:
            for _ in range(1500):
                topic, body, word = dice.choice(topics), value(), dice.choice(WORDS)
                if dice.random() < 0.8:
                    body = (body if isinstance(body, dict) else {"info": body, "params": body, "data": body}) | {
                        "operator": word, "cmd": word, "cmd_id": 1, "method": word, "src": "x", "id": 1
                    }  # fmt: skip
                    if dice.random() < 0.5:
                        body |= {"DataBegin": "BeginFlag", "DataEnd": "EndFlag", "PersonNum": 1, "info": [value(1)]}
                far.say(topic, json.dumps(body) if dice.random() < 0.9 else dice.choice(["{", "\x00", "[]", "1"]))
            far.say("4/rpc", {"id": "end", "src": "gw", "method": "Switch.GetStatus", "params": {"id": 0}})
            await asyncio.to_thread(far.next, lambda t, b: t == "gw/rpc" and b["id"] == "end", 20)
            far.say("mqtt/face/1", {"messageId": "end", "operator": "GetSysTime", "info": {}})
            await asyncio.to_thread(lambda: far.operator("GetSysTime-Ack", 20, messageId="end"))
            assert sum(e["event"] == "asked" for e in sim.events) > 300, "the messages did arrive"
            assert [e for e in sim.events if e["event"] in ("broken", "lost")] == []

    asyncio.run(run())


def command_line(*arguments, lines=""):
    program = "from lintel.edge.cli.simulate import app; app()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        input=lines,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_the_command_line(tmp_path, broker):
    link = tmp_path / "qr"
    done = command_line("qr-reader", "--link", str(link), "--json", lines='hello\n{"cmd":"status"}\n')
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [e["event"] for e in events][:2] == ["started", "ready"]
    assert any(e.get("plugged") for e in events)
    fleet = tmp_path / "site.json"
    fleet.write_text(json.dumps({"defaults": {"broker": broker}, "parts": [{"kind": "relay", "id": "c-1"}]}))
    assert "c-1" in command_line("fleet", str(fleet)).stdout
    assert command_line("relay", "--set", "nonsense=1").returncode == 2
    assert command_line("face-terminal", "--dialect", "klingon").returncode == 2
    assert "open_after" in command_line("relay", "--set", "help=1").stdout
