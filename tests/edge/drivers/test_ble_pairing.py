"""Pairing a lock: only in an install window, with its secret, and no key is used before it is kept."""

import asyncio

import pytest

from lintel.edge.ble import lintel_lock as core
from lintel.edge.drivers import ble_install, ble_session
from lintel.edge.errors import StoreError
from lintel.edge.model import Action, Notice, Outcome
from tests.edge.drivers.ble_rig import SECRET, Inlet, lintel_locks, order, running, until


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(ble_session, "REST_S", 0.02)
    monkeypatch.setattr(ble_install, "AGAIN_S", 0.1)
    monkeypatch.setattr(ble_install, "REFUSED_S", 0.1)


def play(scene, **rig):
    async def stage():
        async with lintel_locks(**{"paired": False, **rig}) as made:
            await scene(made, made.build(), Inlet())

    asyncio.run(stage())


LABEL = SECRET.hex()


def install(seconds=20.0, text=LABEL):
    return order(Action.INSTALL, seconds=seconds, text=text, name="i1")


def failed(inlet):
    return [f.detail for f in inlet.facts if f.detail.startswith("not paired: ") and "open an" not in f.detail]


def test_pair_and_open():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            assert await driver.execute(install()) is Outcome.EXECUTED
            await asyncio.sleep(0.3)
            assert Notice.KEY_SET not in inlet.notices()  # nobody has pressed the button
            await rig.lock.do_button()
            await until(lambda: Notice.KEY_SET in inlet.notices(), 10.0)
            assert rig.keys.get("lock", "lock_key") == rig.lock.public
            assert await driver.execute(order(within=10)) is Outcome.EXECUTED
        assert rig.turns() == ["unlock"]
        assert rig.lock.memory.gateways == {
            core.key_id(key).hex(): key.hex() for key in [core.public_of(rig.keys.get("lock", "own_seed"))]
        }

    play(scene)


def test_our_key_is_kept_before_the_lock_learns_it():
    async def scene(rig, driver, inlet):
        kept = []

        def tap(pdu):
            if pdu.op == "write" and pdu.uuid == core.TX:
                kept.append(list(rig.keys.log))

        rig.air.taps.append(tap)
        async with running(driver, inlet):
            await rig.lock.do_button()
            await driver.execute(install())
            await until(lambda: Notice.KEY_SET in inlet.notices(), 10.0)
        assert kept
        assert kept[0] == ["own_seed"]
        assert rig.keys.log == ["own_seed", "lock_key"]

    play(scene)


def test_a_key_that_can_not_be_kept_is_not_used():
    async def scene(rig, driver, inlet):
        rig.keys.fault = StoreError("disk_full", "no room")
        crossed = []
        rig.air.taps.append(crossed.append)
        async with running(driver, inlet):
            await rig.lock.do_button()
            await driver.execute(install())
            await until(lambda: any("disk_full" in f.detail for f in inlet.facts), 10.0)
            await asyncio.sleep(0.2)
        assert crossed == []
        assert rig.lock.memory.gateways == {}

    play(scene)


def test_control_a_key_that_is_not_kept_first_is_known_to_the_lock_alone(monkeypatch):
    async def careless(self, session):
        link = await session.dial(self.until, urgent=True)
        own = self._own
        made = self._dialect.first_keys(own)
        loose = type(own)(own.name, made.get, own.now, own.heard)
        await self._dialect.pair(link, loose, self._secret)
        await self._keys.put(self._device, made)
        return True

    monkeypatch.setattr(ble_install.Window, "pair", careless)

    async def scene(rig, driver, inlet):
        rig.keys.fault = StoreError("disk_full", "no room")
        async with running(driver, inlet):
            await rig.lock.do_button()
            await driver.execute(install())
            await until(lambda: rig.lock.memory.gateways, 10.0)
        assert rig.keys.get("lock", "own_seed") is None

    play(scene)


def test_a_lock_is_not_paired_outside_a_window():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await rig.lock.do_button()
            await asyncio.sleep(0.5)
            assert rig.air.adapter.dialled == {}
            assert await driver.execute(install(seconds=0.3)) is Outcome.EXECUTED
            rig.air.mute(rig.address)
            await until(lambda: failed(inlet), 5.0)
            rig.air.back(rig.address)
            await asyncio.sleep(0.5)
        assert rig.lock.memory.gateways == {}
        assert Notice.KEY_SET not in inlet.notices()

    play(scene)


def test_a_window_lasts_ten_minutes_at_most():
    window = ble_install.Window("lock", None, None, None, None)
    window.arm(100.0, 86400.0, SECRET)
    assert window.until == 700.0


def test_a_wrong_secret_pairs_nobody():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await rig.lock.do_button()
            assert await driver.execute(install(text=bytes(16).hex())) is Outcome.EXECUTED
            await until(lambda: failed(inlet), 5.0)
            assert failed(inlet) == ["not paired: the lock refused: bad signature"]
            await asyncio.sleep(0.3)
            assert rig.air.adapter.dialled == {rig.address: 1}  # it is not guessed
        assert rig.lock.memory.gateways == {}
        assert rig.keys.get("lock", "lock_key") is None

    play(scene)


@pytest.mark.parametrize("text", ["", "00", "zz" * 16, "00" * 17, "1234"])
def test_what_can_not_be_a_secret_opens_no_window(text):
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            assert await driver.execute(install(text=text)) is Outcome.REFUSED_BY_DEVICE
            assert not driver._locks["lock"]._window.armed(0.0)

    play(scene)


def test_a_lock_that_is_paired_already_is_paired_anew():
    async def scene(rig, driver, inlet):
        rig.lock.memory.gateways.clear()  # it was reset
        async with running(driver, inlet):
            await until(lambda: Notice.READER_KEY_LOST in inlet.notices(), 10.0)
            assert await driver.execute(install()) is Outcome.EXECUTED
            await until(lambda: inlet.notices().count(Notice.READER_KEY_LOST) == 2, 10.0)  # the old key, once more
            await rig.lock.do_button()
            await until(lambda: Notice.KEY_SET in inlet.notices(), 10.0)
            assert await driver.execute(order(within=10)) is Outcome.EXECUTED

    play(scene, paired=True)
