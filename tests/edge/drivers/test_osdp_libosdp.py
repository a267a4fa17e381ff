"""The OSDP driver and readers that are not ours: libosdp's peripheral, a process of its own, at true speed."""

import asyncio
import time
from dataclasses import replace

import pytest

from lintel.edge.drivers.base import Device, Line
from lintel.edge.drivers.osdp import CURRENT, build
from lintel.edge.model import Action, Contact, ContactKind, Direction, Method, Notice, Order, Outcome
from lintel.edge.profiles import builtin
from lintel.simulators.osdp_bus import Bus
from tests.edge.drivers.contract import DIGEST, Recorder, context, running, until
from tests.edge.drivers.osdp_rig import Memory, notices
from tests.osdp_peers import KEY, libosdp_pd

CARDS = {"bdd93740": "26:123:45678", "8a1c0f40": None}


class Stage:
    """A bus with a pty for libosdp's readers, and our driver at its head."""

    def __init__(self, tmp_path, *addresses: int, baud: int = 9600, key: str | None = KEY) -> None:
        self.far, self.keys, self.inlet = tmp_path / "readers", Memory(), Recorder()
        self.bus = Bus(tmp_path / "bus", baud)
        self.bus.plug()
        self.bus.drop(self.far)
        self.readers = [
            {"id": f"pd{a}", "address": a, "key": key, "install": key is None, "enforce": key is not None}
            for a in addresses
        ]
        profile = builtin()["osdp-generic-relay"]
        devices = [Device(f"r{a}", str(a), "gate", Direction.IN, profile) for a in addresses]
        if key:
            self.keys.kept = {(f"r{a}", CURRENT): bytes.fromhex(key) for a in addresses}
        line = Line("bus", "osdp", {"path": str(tmp_path / "bus"), "baud": baud})
        self.driver = build(line, devices, replace(context(), keys=self.keys))

    def usable(self) -> bool:
        return all(p.usable for p in self.driver.bus.peripherals.values())

    async def order(self, action: Action, address: int, **more) -> Outcome:
        return await self.driver.execute(Order("o", "gate", f"r{address}", action, time.monotonic() + 3, **more))


async def said(pd, name: str) -> dict:
    """The next command of this name that reached a reader."""
    while (event := await pd.event("command"))["name"] != name:
        pass
    return event


def play(scene) -> None:
    async def stage() -> None:
        async with asyncio.timeout(60):
            await scene()

    asyncio.run(stage())


@pytest.mark.parametrize("baud", [9600, 115200])
def test_everything_that_a_reader_can(tmp_path, baud):
    async def scene():
        stage = Stage(tmp_path, 101, baud=baud)
        inlet = stage.inlet
        async with libosdp_pd(stage.far, *stage.readers) as pd, running(stage.driver, inlet):
            await until(stage.usable, 5.0)
            await pd.command("card", data="bdd93740", bits=26)
            await until(lambda: inlet.readings)
            assert inlet.digests() == [DIGEST(Method.CARD, "26:123:45678")]
            assert await stage.order(Action.OPEN, 101, seconds=3.0) is Outcome.EXECUTED
            told = await said(pd, "output")
            assert told["fields"] == {
                "command": told["fields"]["command"],
                "output_no": 0,
                "control_code": 5,
                "timer_count": 30,
            }
            assert await stage.order(Action.BEEP, 101) is Outcome.EXECUTED
            assert (await said(pd, "buzzer"))["fields"]["rep_count"] == 2
            assert await stage.order(Action.SHOW, 101, text="HELLO") is Outcome.EXECUTED
            assert (await said(pd, "text"))["fields"]["data"] == "HELLO"
            await pd.command("keypad", keys="1234#")
            await until(lambda: len(inlet.readings) == 2)
            assert inlet.digests()[1] == DIGEST(Method.PIN, "1234")
            await pd.command("tamper", on=True)
            await until(lambda: any(c.active for c in inlet.contacts))
            assert [c for c in inlet.contacts if c.active] == [Contact("r101", ContactKind.TAMPER, True, "gate", -1)]
            assert not inlet.facts
        stage.bus.close()

    play(scene)


def test_four_readers_on_one_line(tmp_path):
    async def scene():
        stage = Stage(tmp_path, 1, 2, 3, 4, baud=38400)
        async with libosdp_pd(stage.far, *stage.readers) as pd, running(stage.driver, stage.inlet):
            await until(stage.usable, 10.0)
            for address in (1, 2, 3, 4):
                await pd.command("card", id=f"pd{address}", data="bdd93740", bits=26)
            await until(lambda: len(stage.inlet.readings) == 4, 5.0)
            assert {r.device for r in stage.inlet.readings} == {"r1", "r2", "r3", "r4"}
            for address in (1, 2, 3, 4):
                assert await stage.order(Action.OPEN, address) is Outcome.EXECUTED
            assert not stage.inlet.facts
        stage.bus.close()

    play(scene)


def test_a_key_is_set_in_an_install_window_and_the_next_start_meets_with_it(tmp_path):
    async def scene():
        stage = Stage(tmp_path, 7, key=None)
        inlet = stage.inlet
        async with libosdp_pd(stage.far, *stage.readers) as pd:
            async with running(stage.driver, inlet):
                await until(lambda: Notice.INSTALL_WINDOW_CLOSED in notices(inlet), 5.0)
                assert await stage.order(Action.OPEN, 7) is Outcome.NOT_SENT
                assert await stage.order(Action.INSTALL, 7, seconds=60.0) is Outcome.EXECUTED
                await until(stage.usable, 10.0)
                assert Notice.KEY_SET in notices(inlet)
                await until(lambda: ("r7", CURRENT) in stage.keys.kept)
                assert await stage.order(Action.OPEN, 7) is Outcome.EXECUTED
            async with running(stage.driver, Recorder()):
                await until(stage.usable, 10.0)
                assert await stage.order(Action.OPEN, 7) is Outcome.EXECUTED
            assert await said(pd, "keyset")
        stage.bus.close()

    play(scene)


def test_a_reader_with_another_key_is_refused(tmp_path):
    """The control: the tests above do not pass whatever the key is."""

    async def scene():
        stage = Stage(tmp_path, 7)
        stage.keys.kept[("r7", CURRENT)] = bytes.fromhex("0a" + KEY[2:])
        async with libosdp_pd(stage.far, *stage.readers), running(stage.driver, stage.inlet):
            await until(lambda: Notice.READER_KEY_LOST in notices(stage.inlet), 10.0)
            assert await stage.order(Action.OPEN, 7) is Outcome.NOT_SENT
        stage.bus.close()

    play(scene)


@pytest.mark.parametrize(
    "away", [3.0, pytest.param(10.0, marks=pytest.mark.long), pytest.param(60.0, marks=pytest.mark.long)]
)
def test_back_within_3_s_after_an_outage(tmp_path, away):
    async def scene():
        stage = Stage(tmp_path, 9, baud=9600)
        async with libosdp_pd(stage.far, *stage.readers), running(stage.driver, stage.inlet):
            await until(stage.usable, 5.0)
            stage.bus.tap = lambda panel, frame: None  # the cable is cut
            await until(lambda: not stage.usable(), 5.0)
            await asyncio.sleep(away)
            stage.bus.tap = None
            begin = time.monotonic()
            await until(stage.usable, 10.0)
            assert time.monotonic() - begin < 3.0
            assert notices(stage.inlet) == [Notice.COMMS_LOST, Notice.COMMS_RESTORED]
        stage.bus.close()

    async def timed() -> None:
        async with asyncio.timeout(90):
            await scene()

    asyncio.run(timed())
