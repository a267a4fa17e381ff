"""The relay door, driven by paho: RPC, notifications, last will, the door and its ledger."""

import asyncio
import contextlib
import os

import pytest

from lintel.simulators.client import Simulator


def drive(work, broker, platform, *options):
    arguments = ("relay", "--id", "relay-1", "--broker", broker, "--retry", "0.1", *options)

    async def run():
        far = platform("gw/rpc", "relay-1/events/rpc", "relay-1/online")
        async with asyncio.timeout(20), Simulator(*arguments) as sim:
            await work(sim, far)

    asyncio.run(run())


def call(far, number, method, **params):
    far.say("relay-1/rpc", {"id": number, "src": "gw", "method": method, "params": params})


async def answer(far, number, within=3.0):
    return await asyncio.to_thread(far.next, lambda t, b: t == "gw/rpc" and b["id"] == number, within)


async def status(far, key, name, value):
    def fits(topic, body):
        return topic == "relay-1/events/rpc" and body["params"].get(key, {}).get(name) is value

    return await asyncio.to_thread(far.next, fits)


def test_a_pulse_releases_the_door_and_somebody_walks_through(broker, platform):
    async def work(sim, far):
        call(far, 1, "Switch.Set", id=0, on=True, toggle_after=0.5)
        assert (await answer(far, 1)) == {"id": 1, "src": "relay-1", "dst": "gw", "result": {"was_on": False}}
        on = await status(far, "switch:0", "output", True)
        assert on["method"] == "NotifyStatus"
        assert on["params"]["switch:0"]["timer_duration"] == 0.5
        await status(far, "input:0", "state", True)
        await status(far, "input:0", "state", False)
        off = await status(far, "switch:0", "output", False)
        assert off["params"]["switch:0"]["source"] == "timer"
        released, opened = await sim.event("unlocked"), await sim.event("opened")
        assert 0.1 <= opened["t"] - released["t"] < 0.4
        ledger = await sim.command("ledger")
        assert (ledger["orders"], ledger["activations"], ledger["opened"], ledger["forced"]) == (1, 1, 1, 0)
        assert ledger["times"] == [released["t"]]

    drive(work, broker, platform, "--open-after", "0.1", "--close-after", "0.2")


def test_a_second_order_extends_one_activation_and_both_are_in_the_ledger(broker, platform):
    async def work(sim, far):
        call(far, 1, "Switch.Set", id=0, on=True, toggle_after=0.4)
        await answer(far, 1)
        call(far, 2, "Switch.Set", id=0, on=True, toggle_after=0.4)
        assert (await answer(far, 2))["result"] == {"was_on": True}
        await sim.event("locked")
        call(far, 3, "Switch.GetStatus", id=0)
        assert (await answer(far, 3))["result"]["output"] is False
        ledger = await sim.command("ledger")
        assert (ledger["orders"], ledger["activations"], ledger["on"], ledger["opened"]) == (2, 1, False, 0)

    drive(work, broker, platform, "--open-after", "none")


def test_forced_blocked_and_held_open(broker, platform):
    async def work(sim, far):
        assert (await sim.command("open"))["open"] is False
        await sim.event("blocked")
        await sim.command("force")
        assert (await sim.event("opened"))["forced"] is True
        await sim.event("closed")
        await sim.command("prop")
        call(far, 1, "Switch.Set", id=0, on=True, toggle_after=0.2)
        await sim.event("opened")
        await sim.event("locked")
        await asyncio.sleep(0.3)
        call(far, 2, "Input.GetStatus", id=0)
        assert (await answer(far, 2))["result"] == {"id": 0, "state": True}
        await sim.command("close")
        await sim.event("closed")
        ledger = await sim.command("ledger")
        assert (ledger["activations"], ledger["opened"], ledger["forced"]) == (1, 2, 1)

    drive(work, broker, platform, "--open-after", "0.05", "--close-after", "0.1")


def test_wrong_requests_get_the_errors_of_the_vendor(broker, platform):
    async def work(sim, far):
        far.say("relay-1/rpc", "garbage")
        far.say("relay-1/rpc", {"id": 1, "method": "Switch.Set"})
        call(far, 2, "No.Such")
        assert (await answer(far, 2))["error"]["code"] == 404
        call(far, 3, "Switch.Set", id=7, on=True)
        assert (await answer(far, 3))["error"]["code"] == -105
        call(far, 4, "Switch.Set", id=0, on="yes")
        assert (await answer(far, 4))["error"]["code"] == -103
        call(far, 5, "Shelly.GetDeviceInfo")
        assert (await answer(far, 5))["result"]["id"] == "relay-1"
        assert (await sim.command("ledger"))["orders"] == 0

    drive(work, broker, platform)


def test_online_is_retained_and_falls_only_with_the_last_will(broker, platform):
    async def work(sim, far):
        await asyncio.to_thread(far.next, lambda t, b: t == "relay-1/online" and b is True)
        late = platform("relay-1/online")
        assert await asyncio.to_thread(late.next, lambda *_: True) is True
        assert late.seen[0][2], "retained"
        await sim.command("disconnect", seconds=0.1)  # polite: no last will
        await sim.event("connected")
        assert late.count(lambda _, b: b is False) == 0
        await sim.command("disconnect", will=True, seconds=0.1)
        assert await asyncio.to_thread(late.next, lambda _, b: b is False) is False
        await sim.event("connected")
        await asyncio.to_thread(late.next, lambda _, b: b is True)

    drive(work, broker, platform)


def test_faults(broker, platform):
    async def work(sim, far):
        await sim.command("fault", drop_acks=1)
        call(far, 1, "Switch.Set", id=0, on=True, toggle_after=0.1)
        await sim.event("ack_dropped")
        assert (await sim.command("ledger"))["orders"] == 1, "executed, but not answered"
        await sim.command("fault", ignore=1)
        call(far, 2, "Switch.Set", id=0, on=True, toggle_after=0.1)
        await sim.event("ignored")
        await sim.command("fault", refuse=1)
        call(far, 3, "Switch.Set", id=0, on=True, toggle_after=0.1)
        assert (await answer(far, 3))["error"]["code"] == -108
        assert (await sim.command("ledger"))["orders"] == 1
        await sim.command("freeze")
        call(far, 4, "Switch.Set", id=0, on=True, toggle_after=0.1)
        with pytest.raises(AssertionError):
            await answer(far, 4, 0.3)
        await sim.command("thaw")  # a hung device wakes up and does what was asked long ago
        await answer(far, 4)
        assert (await sim.command("ledger"))["orders"] == 2
        await sim.command("fault", wrong_identity="other")
        call(far, 5, "Switch.GetStatus", id=0)
        assert (await answer(far, 5))["src"] == "other"
        assert far.count(lambda t, b: t == "gw/rpc" and b["id"] in (1, 2)) == 0
        await sim.command("stick")
        call(far, 6, "Switch.Set", id=0, on=True)
        await answer(far, 6)
        assert (await sim.command("ledger"))["orders"] == 2

    drive(work, broker, platform)


def test_a_fleet_lives_in_one_process_and_loses_power_together(broker, platform, tmp_path):
    parts = [{"kind": "relay", "id": f"f-{n}"} for n in range(4)]
    parts.append({"kind": "face-terminal", "id": "9001"})
    parts.append({"kind": "qr-reader", "id": "gate", "link": str(tmp_path / "gate")})

    async def run():
        far = platform("+/online", "mqtt/face/basic", "gw/rpc")
        async with asyncio.timeout(20):
            sim = Simulator.fleet(parts, broker=broker)
            async with sim:
                far.say("f-2/rpc", {"id": 1, "src": "gw", "method": "Switch.Set", "params": {"id": 0, "on": True}})
                await sim.event("unlocked", id="f-2")
                assert (await sim.command("ledger", id="f-2"))["orders"] == 1
                assert (await sim.command("ledger", id="f-1"))["orders"] == 0
                assert (tmp_path / "gate").is_symlink()
                pid = sim.pid
            await asyncio.to_thread(far.operator, "Offline")
            with contextlib.suppress(AssertionError):
                await asyncio.to_thread(far.next, lambda *_: False, 0.2)
            assert far.count(lambda t, b: t.startswith("f-") and b is False) == 4
        return pid

    pid = asyncio.run(run())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
