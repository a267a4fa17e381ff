"""A reader's key when the gateway dies while it is set: at every point, the next start knows the reader's key."""

import asyncio

import pytest

from lintel.edge.drivers.osdp import CURRENT, FRESH, Osdp
from lintel.edge.model import Action, Notice, Outcome
from tests.edge.drivers.contract import Recorder, running, until
from tests.edge.drivers.osdp_rig import KEY, Readers, install, notices, on_line, order

SET = 46
"""Length of a KEYSET in a session: no other command is as long."""


class Cut:
    """The moment at which the gateway dies: from then on no write ends, and no answer is heard."""

    def __init__(self, rig: Readers, point: str) -> None:
        self.rig, self.point, self.there, self._put = rig, point, asyncio.Event(), rig.keys.put
        self.sent = 0
        rig.keys.put = self.put
        rig.bus.tap = self.tap

    async def put(self, device, secrets) -> None:
        new = secrets.get(FRESH) is not None
        if (self.point, new) in {("before it is written", True), ("before the proof is written", False)}:
            await self.die()
        await self._put(device, secrets)
        if self.point == "before it is sent" and new:
            await self.die()

    def tap(self, from_panel: bool, frame: bytes) -> bytes | None:
        if from_panel and len(frame) == SET:
            self.sent += 1
            if self.point == "before it arrives":
                self.there.set()
                return None
        elif not from_panel and self.sent and self.point == "before its answer":
            self.there.set()
            return None
        return frame

    async def die(self) -> None:
        self.there.set()
        await asyncio.Event().wait()

    def heal(self) -> None:
        self.rig.keys.put, self.rig.bus.tap = self._put, None


POINTS = {  # point -> whether the reader has the new key then
    "before it is written": False,
    "before it is sent": False,
    "before it arrives": False,
    "before its answer": True,
    "before the proof is written": True,
}


async def died(rig: Readers, point: str) -> None:
    """A first gateway, until it dies at this point."""
    inlet, driver = Recorder(), rig.build()
    async with running(driver, inlet):
        await until(lambda: driver.bus.peripherals[0].present, 5.0)
        cut = Cut(rig, point)
        assert await driver.execute(install()) is Outcome.EXECUTED
        await asyncio.wait_for(cut.there.wait(), 5.0)
    cut.heal()


def opens_after(point: str, link) -> None:
    async def scene(rig):
        await died(rig, point)
        new = POINTS[point]
        assert (rig.pds[0].settings.key != KEY) == new
        driver, inlet = rig.build(), Recorder()
        async with running(driver, inlet):
            await until(lambda: driver.bus.peripherals[0].usable, 5.0)
            assert await driver.execute(order(Action.OPEN)) is Outcome.EXECUTED
            if new:
                await until(lambda: rig.keys.kept == {("r0", CURRENT): rig.pds[0].settings.key})
            assert Notice.READER_KEY_LOST not in notices(inlet)
            assert rig.keys.kept["r0", CURRENT] == rig.pds[0].settings.key

    on_line(link, scene)


@pytest.mark.parametrize("point", POINTS)
def test_b2_a_reader_with_a_key_is_met_after_the_gateway_died(tmp_path, point):
    opens_after(point, tmp_path / "bus")


@pytest.mark.parametrize("point", POINTS)
def test_b2_a_new_reader_is_met_after_the_gateway_died_or_given_a_key_again(tmp_path, point):
    async def scene(rig):
        await died(rig, point)
        driver, inlet = rig.build(), Recorder()
        async with running(driver, inlet):
            peripheral = driver.bus.peripherals[0]
            if not POINTS[point]:
                await until(lambda: {Notice.INSTALL_WINDOW_CLOSED, Notice.READER_KEY_LOST} & set(notices(inlet)), 5.0)
                assert not peripheral.usable
                assert await driver.execute(install()) is Outcome.EXECUTED
            await until(lambda: peripheral.usable, 5.0)
            await until(lambda: rig.keys.kept == {("r0", CURRENT): rig.pds[0].settings.key})

    on_line(tmp_path / "bus", scene, keyed=False, install=True)


def test_b2_control_a_key_that_is_sent_before_it_is_written_can_be_lost(tmp_path, monkeypatch):
    async def eager(self, inlet, peripheral):
        key = self._make_key(16)
        peripheral.install(key, asyncio.get_running_loop().time())
        self._port.turn()
        await asyncio.sleep(0.3)
        await self._ctx.keys.put("r0", {FRESH: key})

    monkeypatch.setattr(Osdp, "_set_key", eager)
    with pytest.raises(AssertionError):
        opens_after("before its answer", tmp_path / "bus")


def test_b2_two_orders_at_once_and_one_while_the_key_is_written_make_one_key(tmp_path):
    """With a slow store: the second would be written over the first, which the reader has."""

    async def scene(rig):
        driver, inlet = rig.build(), Recorder()
        put, made, make = rig.keys.put, [], driver._make_key

        async def slow(device, secrets):
            await asyncio.sleep(0.3)
            await put(device, secrets)

        rig.keys.put = slow
        driver._make_key = lambda size: made.append(make(size)) or made[-1]
        async with running(driver, inlet):
            await until(lambda: driver.bus.peripherals[0].usable, 5.0)
            outcomes = await asyncio.gather(driver.execute(install()), driver.execute(install()))
            await asyncio.sleep(0.1)
            outcomes.append(await driver.execute(install()))
            assert outcomes == [Outcome.EXECUTED] * 3
            await until(lambda: Notice.KEY_SET in notices(inlet), 5.0)
            await until(lambda: rig.keys.kept == {("r0", CURRENT): made[0]}, 5.0)
            assert made == [rig.pds[0].settings.key]

    on_line(tmp_path / "bus", scene)


def test_b2_a_proven_key_that_was_not_written_is_written_with_the_next(tmp_path):
    """Else a gateway that dies then would know the key before that one and the one after it."""

    async def scene(rig):
        driver, inlet = rig.build(), Recorder()
        async with running(driver, inlet):
            await until(lambda: driver.bus.peripherals[0].usable, 5.0)
            cut = Cut(rig, "before the proof is written")
            await driver.execute(install())
            await asyncio.wait_for(cut.there.wait(), 5.0)
            cut.heal()  # what that write waited for never comes
            held = driver._writing[0]
            for task in list(driver._tasks):
                if task.get_coro().__name__ == "_keep_keys":
                    task.cancel()
            await until(lambda: not held.locked())
            second = rig.pds[0].settings.key
            cut = Cut(rig, "before it is sent")
            await until(lambda: driver.bus.peripherals[0].usable, 5.0)
            await driver.execute(install())
            await asyncio.wait_for(cut.there.wait(), 5.0)
        cut.heal()
        assert rig.pds[0].settings.key == second == rig.keys.kept["r0", CURRENT]
        driver, inlet = rig.build(), Recorder()
        async with running(driver, inlet):
            await until(lambda: driver.bus.peripherals[0].usable, 5.0)

    on_line(tmp_path / "bus", scene)
