"""What a lock says that is not believed: bytes that are none of its, a key it does not know, another lock's name."""

import asyncio
import itertools
import logging
import time

import pytest

from lintel.edge.ble import lintel_lock as core
from lintel.edge.drivers import ble_session
from lintel.edge.model import Action, Notice, Outcome
from lintel.simulators.ble_lintel_lock import lintel_lock
from lintel.simulators.ble_yale import yale_lock
from tests.edge.drivers.ble_rig import ADDRESS, Inlet, lintel_locks, order, play, ready, running, until, yale_rig


@pytest.fixture(autouse=True)
def _short_rests(monkeypatch):
    monkeypatch.setattr(ble_session, "REST_S", 0.02)


def test_garbage_ends_the_connection_and_the_next_one_works():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            for number, junk in enumerate((b"\x80\x10" + bytes(30), b"\x05late", b"\xff" * 60, b"\x80")):
                await ready(driver)
                link = next(iter(rig.lock.links.values()))
                link.send(rig.lock._rx, junk)
                await until(lambda one=link: not one.up, 5.0)
                assert await driver.execute(order(within=10, name=f"o{number}")) is Outcome.EXECUTED
            assert rig.turns() == ["unlock"] * 4

    play(scene)


def test_a_flood_is_cut_off_and_costs_the_other_lock_nothing():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await ready(driver, "lock0")
            await ready(driver, "lock1")
            link = next(iter(rig.locks["lock0"].links.values()))
            session, _ = rig.locks["lock0"]._sessions[link]
            for _ in range(200):  # well sealed, and nobody asked
                rig.locks["lock0"]._say(link, session.seal(b"\x21" + bytes(18)))
            assert await driver.execute(order(device="lock1")) is Outcome.EXECUTED
            await until(lambda: not link.up, 5.0)
            assert await driver.execute(order(within=10, device="lock0")) is Outcome.EXECUTED

    play(scene, count=2)


def test_a_key_refused_twice_is_not_tried_all_the_time(monkeypatch):
    monkeypatch.setattr(ble_session, "REFUSED_S", 5.0)

    async def scene(rig, driver, inlet):
        kept = dict(rig.locks["lock0"].memory.gateways)
        rig.locks["lock0"].memory.gateways.clear()
        async with running(driver, inlet):
            await until(lambda: Notice.READER_KEY_LOST in inlet.notices("lock0"), 10.0)
            address = rig.locks["lock0"].options.address
            assert await driver.execute(order(device="lock0")) is Outcome.NOT_SENT
            await asyncio.sleep(0.5)
            assert rig.air.adapter.dialled[address] == 2
            assert await driver.execute(order(device="lock1")) is Outcome.EXECUTED  # other locks go on
            assert inlet.notices("lock0").count(Notice.READER_KEY_LOST) == 1
            rig.locks["lock0"].memory.gateways.update(kept)  # somebody looked
            install = order(Action.INSTALL, device="lock0", seconds=5, text=bytes(16).hex(), name="i1")
            assert await driver.execute(install) is Outcome.EXECUTED
            assert await driver.execute(order(within=10, device="lock0", name="o2")) is Outcome.EXECUTED

    play(scene, count=2)


def test_a_lock_that_refuses_is_asked_after_growing_pauses(monkeypatch):
    monkeypatch.setattr(ble_session, "REFUSED_S", 0.2)
    monkeypatch.setattr(ble_session, "LONGEST_WAIT", 0.6)

    async def scene(rig, driver, inlet):
        refused = []
        seen = rig.lock._bad_handshake
        rig.lock._bad_handshake = lambda: (refused.append(time.monotonic()), seen())
        rig.lock.memory.gateways.clear()
        async with running(driver, inlet):
            await until(lambda: len(refused) == 6, 10.0)
        pauses = [later - earlier for earlier, later in itertools.pairwise(refused)]
        assert all(pause >= least for pause, least in zip(pauses[1:], (0.2, 0.4, 0.6, 0.6), strict=True)), pauses
        assert inlet.notices().count(Notice.READER_KEY_LOST) == 1

    play(scene, silence=0.0)


def test_real_pauses_keep_a_lock_from_shutting_itself():
    """It does so after five bad handshakes in 60 s; two come at once, the rest by background and orders together."""
    asked = [0.0, ble_session.REST_S]
    while asked[-1] <= 60.0:
        asked.append(asked[-1] + ble_session.REFUSED_S)
    assert len([at for at in asked if at <= 60.0]) < 5


def stranger(kind):
    """Who has the lock's address and answers to our key with a refusal that anybody can send."""
    if kind == "yale":
        return yale_lock(id="other", address=ADDRESS, interval=20.0, key="ff" * 16)
    return lintel_lock(id="other", address=ADDRESS, interval=20.0)


async def shut_out(kind):
    """What becomes of an order after somebody has stood in the lock's place for a while; and how often it is told."""
    async with {"yale": yale_rig, "lintel": lintel_locks}[kind]() as rig:
        driver, inlet, other = rig.build(), Inlet(), stranger(kind)
        await rig.lock.power_off()
        await other.appear(rig.air)
        async with running(driver, inlet):
            await until(lambda: Notice.READER_KEY_LOST in inlet.notices(), 10.0)
            assert await driver.execute(order(within=10, name="o1")) is Outcome.NOT_SENT
            rig.air.drop(ADDRESS)
            await other.power_off()
            await rig.lock.appear(rig.air)
            await asyncio.sleep(0.6)
            outcome = await driver.execute(order(within=10, name="o2"))
        assert other.motor.turns == []
        return outcome, len(rig.turns()), inlet.notices().count(Notice.READER_KEY_LOST)


@pytest.mark.parametrize("kind", ["lintel", "yale"])
def test_an_impostor_who_refuses_our_key_does_not_shut_the_lock_for_good(monkeypatch, kind):
    monkeypatch.setattr(ble_session, "REFUSED_S", 0.5)
    assert asyncio.run(shut_out(kind)) == (Outcome.EXECUTED, 1, 1)


@pytest.mark.parametrize("kind", ["lintel", "yale"])
def test_control_who_believes_any_refusal_leaves_the_door_shut(monkeypatch, kind):
    monkeypatch.setattr(ble_session, "REFUSED_S", float("inf"))
    assert asyncio.run(shut_out(kind)) == (Outcome.NOT_SENT, 0, 1)


def test_control_without_the_count_of_refusals_the_lock_is_asked_for_ever(monkeypatch):
    monkeypatch.setattr(ble_session, "LONGEST_WAIT", 0.05)
    monkeypatch.setattr(ble_session, "REFUSALS", 10**9)
    monkeypatch.setattr(ble_session, "REST_S", 0.0)

    async def scene(rig, driver, inlet):
        rig.lock.memory.gateways.clear()
        async with running(driver, inlet):
            await until(lambda: rig.air.adapter.dialled.get(rig.address, 0) > 4, 10.0)

    play(scene)


def test_another_lock_at_the_address_is_told_and_gets_no_signature():
    async def scene(rig, driver, inlet):
        rig.keys.kept["lock", "lock_key"] = core.public_of(bytes(32))
        said = []
        rig.air.taps.append(lambda pdu: said.append(pdu.value[1]) if pdu.uuid == core.TX else None)
        async with running(driver, inlet):
            await until(lambda: Notice.IDENTITY_MISMATCH in inlet.notices(), 5.0)
            assert await driver.execute(order(within=2)) is Outcome.NOT_SENT
        assert rig.turns() == []
        assert 0x03 not in said  # AUTH

    play(scene)


def test_a_lock_without_keys_is_left_alone():
    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            assert await driver.execute(order()) is Outcome.NOT_SENT
            await asyncio.sleep(0.5)
        assert rig.air.adapter.dialled == {}
        assert [f.detail for f in inlet.facts] == ["not paired: open an install window"]

    play(scene, paired=False)


def test_no_secret_in_logs_or_facts(caplog):
    caplog.set_level(logging.DEBUG)

    async def scene(rig, driver, inlet):
        async with running(driver, inlet):
            await rig.lock.do_button()
            install = order(Action.INSTALL, seconds=20, text=rig.lock.memory.secret, name="i1")
            assert await driver.execute(install) is Outcome.EXECUTED
            await until(lambda: Notice.KEY_SET in inlet.notices(), 10.0)
            assert await driver.execute(order(within=10)) is Outcome.EXECUTED
        told = f"{inlet.facts!r} {driver!r} {install.id} {caplog.text}"
        for secret in [
            rig.lock.memory.secret,
            *(key.hex() for (_, name), key in rig.keys.kept.items() if "seed" in name),
        ]:
            assert secret not in told
            assert repr(bytes.fromhex(secret))[2:-1] not in told

    play(scene, paired=False)
