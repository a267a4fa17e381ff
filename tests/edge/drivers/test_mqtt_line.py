"""What the line to the broker bears: floods, mistakes, a broken or frozen broker, refusals."""

import asyncio
import json
import logging
import math
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lintel.edge import broker as brokers
from lintel.edge.drivers import mqtt_session
from lintel.edge.errors import ConfigError, Lost, Refused
from lintel.edge.model import Notice
from lintel.edge.profiles import builtin
from tests.brokers import publish, site
from tests.edge.drivers.contract import Recorder, running, until

from .mqtt_rig import A, B, device, driver_for, notices, num, rec, rec_topic, stage

# ---- floods (B11)


FLOOD = """
import json, sys, time
import paho.mqtt.client as mqtt
port, topic, size, seconds = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="flooder")
client.connect("127.0.0.1", port)
sent, end = 0, time.monotonic() + seconds
info = {"customId": "p-1", "facesluiceId": topic.split("/")[2], "pic": "A" * size}
while time.monotonic() < end:
    for _ in range(10):
        payload = json.dumps({"operator": "RecPush", "info": info | {"RecordID": str(sent)}})
        client.publish(topic, payload, qos=0)
        sent += 1
    client.loop(0.001)
print(sent)
"""


@pytest.mark.parametrize("size", [10, 60_000])
def test_a_flood_is_folded_and_the_quiet_neighbour_gets_through(size):
    async def scene():
        async with stage(device(A), device(B)) as (place, _, inlet, quiet):
            flooder = await asyncio.create_subprocess_exec(
                sys.executable, "-c", FLOOD, str(place.port), rec_topic(A), str(size), "2.5",
                stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            await until(lambda: inlet.readings, 10.0)
            delays = []
            for number in range(10):
                start = time.monotonic()
                await publish(quiet, rec_topic(B), rec("p-2", f"q{number}", B))
                await until(lambda n=number: any(num(r) == f"q{n}" for r in inlet.readings))
                delays.append(time.monotonic() - start)
                await asyncio.sleep(0.1)
            sent = int((await flooder.communicate())[0])
            await until(lambda: (Notice.FLOOD, f"dev-{A}") in notices(inlet))
            loud = [r for r in inlet.readings if r.device == f"dev-{A}"]
            assert sent > 1000
            assert 0 < len(loud) <= 100 + 20 * 5
            assert sorted(delays)[5] < 0.1
            assert sum(1 for f in inlet.facts if f.notice is Notice.FLOOD) <= 4

    asyncio.run(scene())


def test_a_device_that_was_not_listened_to_is_heard_again(monkeypatch):
    monkeypatch.setattr(mqtt_session, "MUTE_S", 0.5)

    async def scene():
        async with stage(options={"rate": 1.0, "burst": 1}) as (_, _, inlet, client):
            for number in range(300):
                await publish(client, rec_topic(), rec("p-1", str(number)), qos=0)
            await until(lambda: any("not listened" in f.detail for f in inlet.facts))
            before = len(inlet.readings)
            await asyncio.sleep(0.2)
            for number in range(2):
                await asyncio.sleep(1.5)
                await publish(client, rec_topic(), rec("p-1", f"after{number}"))
            await until(lambda: len(inlet.readings) > before)

    asyncio.run(scene())


def test_a_long_backlog_is_no_flood():
    async def scene():
        async with site() as place:
            driver, inlet = driver_for(place.port, burst=5), Recorder()
            async with running(driver, inlet):
                pass
            async with place.client("device") as client:
                for number in range(150):  # the last with QoS 1: what is still in a TCP buffer has not arrived
                    await publish(client, rec_topic(), rec("p-1", str(number), time=None), qos=int(number == 149))
                async with running(driver, inlet, ups=2):
                    await until(lambda: len(inlet.readings) == 150)
        assert {r.age for r in inlet.readings} == {math.inf}
        assert [num(r) for r in inlet.readings] == [str(n) for n in range(150)]
        assert Notice.FLOOD not in [f.notice for f in inlet.facts]

    asyncio.run(scene())


def test_a_mistake_of_ours_costs_one_message_and_not_the_line(monkeypatch, caplog):
    def broken(*_):
        raise KeyError("CANARY")

    async def scene():
        async with stage() as (_, _, inlet, client):
            with monkeypatch.context() as patch:
                patch.setattr(mqtt_session, "read", broken)
                await publish(client, rec_topic(), rec("p-1", "1"))
                await until(lambda: Notice.FRAME_ERROR in [f.notice for f in inlet.facts])
            await publish(client, rec_topic(), rec("p-1", "2"))
            await until(lambda: inlet.readings)
        assert ([num(r) for r in inlet.readings], inlet.ups) == (["2"], 1)

    asyncio.run(scene())
    assert "CANARY" not in caplog.text


# ---- the line


def test_a_stopped_broker_is_lost_and_a_frozen_one_too(monkeypatch):
    monkeypatch.setattr(mqtt_session, "SILENT_S", 0.5)

    async def scene():
        async with site() as place:
            for freeze in (False, True):
                inlet = Recorder()
                task = asyncio.create_task(driver_for(place.port).run(inlet))
                await until(lambda i=inlet: i.ups)
                start = time.monotonic()
                if freeze:
                    place.broker.process.send_signal(signal.SIGSTOP)
                else:
                    await place.stop()
                with pytest.raises(Lost):
                    await asyncio.wait_for(task, 8.0)
                assert time.monotonic() - start < (5.0 if freeze else 1.0)
                if freeze:
                    place.broker.process.send_signal(signal.SIGCONT)
                else:
                    with pytest.raises(Lost):
                        await driver_for(place.port).run(inlet)
                    await place.start()

    asyncio.run(scene())


def test_accounts_are_kept_and_refusals_are_told_apart():
    spec = builtin()["mqtt-face"].spec
    terminal = brokers.device_account(spec, A, "gw1", "t-secret")
    gateway = brokers.gateway_account([terminal], "g-secret")

    async def scene():
        async with site((terminal, gateway)) as place:
            good = {"username": gateway.name, "passwords": {"broker": "g-secret"}}
            inlet = Recorder()
            for wrong in ({"username": gateway.name, "passwords": {"broker": "other"}}, {}):
                with pytest.raises(Refused) as refused:
                    await driver_for(place.port, **wrong).run(inlet)
                assert "other" not in str(refused.value)
            async with running(driver_for(place.port, **good), inlet), place.client(A, password="t-secret") as client:
                await publish(client, rec_topic(A), rec())
                await until(lambda: inlet.readings)

    asyncio.run(scene())


DYNAMIC = Path("/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so")


def test_a_declined_subscription_is_a_refusal(monkeypatch, tmp_path):
    """Rules of mosquitto's own plugin: the acl_file of the shipped configuration filters, but never declines."""
    rules = {"defaultACLAccess": {"publishClientSend": True, "publishClientReceive": True, "subscribe": False}}
    (tmp_path / "rules.json").write_text(json.dumps(rules | {"clients": [], "groups": [], "roles": []}))
    plugin = f"plugin {DYNAMIC}\nplugin_opt_config_file {tmp_path / 'rules.json'}\n"
    monkeypatch.setattr(brokers, "_SETTINGS", brokers._SETTINGS + plugin)

    async def scene():
        async with site() as place:
            with pytest.raises(Refused, match="declines"):
                await driver_for(place.port).run(Recorder())

    asyncio.run(scene())


def test_a_cancellation_that_comes_while_the_line_breaks_is_not_lost():
    """At every turn of the loop between the break and the end: else the gateway would never stop."""

    async def cancelled_after(place, turns):
        inlet = Recorder()
        driver = driver_for(place.port)
        task = asyncio.create_task(driver.run(inlet))
        await until(lambda: inlet.ups, 10.0)
        driver._session._break("it breaks")
        for _ in range(turns):
            await asyncio.sleep(0)
        over = task.done()
        task.cancel()
        await asyncio.wait({task}, timeout=10)
        assert task.done()
        if over:
            assert isinstance(task.exception(), Lost)
        return over or task.cancelled()

    async def scene():
        async with site() as place:
            for turns in range(12):
                assert await cancelled_after(place, turns), f"lost after {turns} turns"

    asyncio.run(scene())


def test_a_broker_that_keeps_our_barrier_from_us_is_a_refusal(monkeypatch):
    monkeypatch.setattr(mqtt_session, "DEAF_S", 0.5)

    async def scene():
        async with site((brokers.Account("lintel", "g", writes=("x",)),)) as place:
            with pytest.raises(Refused, match="check its ACL"):
                async with asyncio.timeout(5):
                    await driver_for(place.port, username="lintel", passwords={"broker": "g"}).run(Recorder())

    asyncio.run(scene())


def test_wrong_lines_are_refused_with_all_mistakes():
    with pytest.raises(ConfigError, match=r"port.*\n.*surprise"):
        driver_for(99_999, surprise=1)
    with pytest.raises(ConfigError, match="2 mistakes"):
        driver_for(1883, device("a/b"), device("#"))
    with pytest.raises(ConfigError, match="has the same"):
        driver_for(1883, device("T1"), replace(device("T1"), id="other"))


def test_no_password_in_logs_or_repr(caplog):
    caplog.set_level(logging.DEBUG)

    async def scene():
        async with site((brokers.Account("lintel", "CANARY"),)) as place:
            with pytest.raises(Refused):
                await driver_for(place.port, username="lintel", passwords={"broker": "CANARY2"}).run(Recorder())
        assert "CANARY" not in repr(brokers.Account("lintel", "CANARY"))

    asyncio.run(scene())
    assert "CANARY" not in caplog.text
