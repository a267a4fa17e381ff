"""The OSDP driver under the contract: a reader on a polled bus, in a secure session, behind a pty."""

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from lintel.edge.drivers import osdp_port, osdp_voice
from lintel.edge.model import Action, Method
from lintel.simulators.osdp_wire import Say, build
from tests.edge.drivers.contract import SECRET, ReaderContract, until
from tests.edge.drivers.osdp_rig import Readers, order


class OsdpRig:
    """One reader. A frame of `frame` is fetched by the next poll; any other bytes go on the line as they are."""

    device, door, method = "r0", "door-0", Method.CARD

    def __init__(self, link) -> None:
        self.readers = Readers(link)
        self.order = replace(order(Action.OPEN), deadline=0.0)
        self._texts: dict[bytes, str] = {}

    def build(self):
        return self.readers.build()

    def frame(self, text: str) -> bytes:
        data = bytes((0, 0, len(text))) + text.encode()
        whole = build(0x80, 1, Say.FMT, data)
        self._texts[whole] = text
        return whole

    async def write(self, data: bytes) -> None:
        if (text := self._texts.get(data)) is not None:
            self.readers.say(Say.FMT, bytes((0, 0, len(text))) + text.encode())
        else:
            self.readers.bus.say(self.readers.stations[0], data)

    async def trickle(self, data: bytes) -> None:
        self.readers.bus._character, self.readers.bus._slice = 10 / 9600, 1
        await self.write(data)

    async def flood(self, seconds: float) -> int:
        end, sent, queue = time.monotonic() + seconds, 0, self.readers.pds[0].queue
        while time.monotonic() < end:
            while len(queue) < 32:
                text = f"FLOOD{sent}-{end}"
                self.readers.say(Say.FMT, bytes((0, 0, len(text))) + text.encode())
                sent += 1
            await asyncio.sleep(0.01)
        return sent

    async def ordered(self) -> int:
        await asyncio.sleep(0.05)
        return len(self.readers.outputs())

    async def unplug(self) -> None:
        self.readers.bus.cut()

    async def plug(self) -> None:
        self.readers.bus.plug()


class TestOsdp(ReaderContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.link = tmp_path / "bus"

    @asynccontextmanager
    async def rig(self):
        rig = OsdpRig(self.link)
        try:
            yield rig
        finally:
            rig.readers.bus.close()

    async def settled(self, driver):
        await until(lambda: all(p.fresh for p in driver.bus.peripherals.values()))


# Controls: the contract must fail for a driver that breaks it.


def test_control_the_contract_sees_a_port_that_is_not_known_to_be_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(osdp_port.OsdpPort, "_stop", lambda self, why: None)
    contract = TestOsdp()
    contract.link = tmp_path / "bus"
    with pytest.raises((AssertionError, TimeoutError)):
        contract.test_losing_the_line_is_said_at_once()


def test_a_mistake_of_ours_ends_the_line_and_leaves_no_deaf_one(tmp_path, monkeypatch):
    def broken(self, *_):
        raise RuntimeError("a mistake")

    monkeypatch.setattr(osdp_voice.Voice, "_card", broken)
    contract = TestOsdp()
    contract.link = tmp_path / "bus"

    async def scene(rig, driver, inlet):
        task = asyncio.create_task(driver.run(inlet))
        await contract.settled(driver)
        await rig.write(rig.frame("HELLO1"))
        with pytest.raises(RuntimeError, match="a mistake"):
            await asyncio.wait_for(task, 2.0)

    contract.run(scene)


def test_control_the_contract_hears_a_value_in_a_log(tmp_path, caplog, monkeypatch):
    given = osdp_voice.Voice._card

    def chatty(self, value, *more):
        osdp_voice.asyncio.log.logger.debug("card %r", value)
        given(self, value, *more)

    monkeypatch.setattr(osdp_voice.Voice, "_card", chatty)
    contract = TestOsdp()
    contract.link = tmp_path / "bus"
    with pytest.raises(AssertionError):
        contract.test_no_secret_in_logs(caplog)
    assert SECRET in caplog.text
    caplog.clear()
