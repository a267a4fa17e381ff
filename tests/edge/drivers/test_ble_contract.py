"""The Bluetooth driver under the contract: two Lintel locks on an emulated radio, behind bleak as it is."""

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from bleak.exc import BleakError

from lintel.edge.drivers import ble_link, ble_lock, ble_session
from lintel.edge.drivers.base import Line
from lintel.edge.drivers.ble_radio import Radio
from tests.edge.drivers.ble_rig import lintel_locks, order, ready, until
from tests.edge.drivers.contract import context
from tests.edge.drivers.contract_sessions import SessionContract


class LockRig:
    """Two locks and an adapter that can be pulled out."""

    device, door = "lock0", "door-lock0"

    def __init__(self, rig):
        self.rig, self.lock = rig, rig.locks["lock0"]
        self.order, self.neighbour = (replace(order(device=name), deadline=0.0) for name in rig.locks)
        self.secrets = [key.hex() for (_, name), key in rig.keys.kept.items() if name == "own_seed"]
        self._there = asyncio.Event()
        self._there.set()
        self._known = dict(self.lock.memory.gateways)

    def build(self):
        rig = self

        class Scanner(self.rig.air.scanner_backend):
            async def start(self):
                if not rig._there.is_set():
                    raise BleakError("no such adapter")
                await super().start()

        keys = replace(context(), keys=self.rig.keys, gateway="lintel-test")
        radio = Radio("", self.rig.air.client_backend, Scanner, self.rig.gone.wait)
        return ble_lock.build(Line("locks", "ble_lock", {"slots": 3}), self.rig.devices, keys, radio)

    async def ordered(self, device=""):
        return len(self.rig.turns(device or self.device))

    async def unplug(self):
        self._there.clear()
        self.rig.gone.set()
        for lock in self.rig.locks.values():
            self.rig.air.drop(lock.options.address)

    async def plug(self):
        self.rig.gone.clear()
        self._there.set()

    def _link(self):
        return next(iter(self.lock.links.values()), None)

    async def junk(self, data):
        self._link().send(self.lock._rx, data)
        await asyncio.sleep(0.05)

    async def flood(self, seconds):
        sent, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            if (link := self._link()) is not None and link._queue.qsize() < 20:
                session, _ = self.lock._sessions[link]
                for _ in range(20 if session.open else 0):
                    self.lock._say(link, session.seal(b"\x27" + self.lock.state()))
                    sent += 1
            await asyncio.sleep(0.005)
        return sent

    def slow(self, seconds):
        self.rig.air.slow[self.lock.options.address] = seconds

    async def forget(self):
        self.lock.memory.gateways.clear()
        self.rig.air.drop(self.lock.options.address)
        await until(lambda: not self.lock.links)

    async def remember(self):
        self.lock.memory.gateways.update(self._known)


class TestLintelLock(SessionContract):
    order_s = 5.0
    rest_s = 5.0
    idle_cpu_s = 0.5  # bumble, its locks and their advertisements are in it

    @pytest.fixture(autouse=True)
    def _short_waits(self, monkeypatch):
        monkeypatch.setattr(ble_session, "REST_S", 0.02)
        monkeypatch.setattr(ble_session, "REFUSED_S", 1.0)

    @asynccontextmanager
    async def rig(self):
        async with lintel_locks(count=2, silence=0.0) as rig:
            yield LockRig(rig)

    async def settled(self, driver):
        for name in ("lock0", "lock1"):
            await ready(driver, name)

    async def rest(self, rig):
        locks = rig.rig.locks.values()
        await until(lambda: not rig.rig.air.adapter.links and not any(lock.links for lock in locks), self.rest_s)
        await asyncio.sleep(0.2)


# Controls: the contract must fail for a driver that breaks it.


def test_control_the_contract_sees_a_connection_that_stays(monkeypatch):
    monkeypatch.setattr(ble_session, "REST_S", 0.02)
    left = []

    async def forget(self):
        left.append(self)
        self.end(ble_link.Gone("forgotten"))

    monkeypatch.setattr(ble_link.Link, "close", forget)
    monkeypatch.setattr(TestLintelLock, "rest_s", 1.0)
    contract = TestLintelLock()
    with pytest.raises(AssertionError):
        contract.test_cancel_leaves_nothing_behind()
    assert left


def test_control_the_contract_sees_a_line_that_does_not_end(monkeypatch):
    async def blind(self, name):
        await asyncio.Event().wait()

    monkeypatch.setattr(Radio, "stay", blind)
    with pytest.raises((AssertionError, TimeoutError)):
        TestLintelLock().test_losing_the_line_is_said_at_once()


def test_control_the_contract_sees_a_driver_that_gives_a_key_up(monkeypatch):
    monkeypatch.setattr(ble_session, "REST_S", 0.02)
    monkeypatch.setattr(ble_session, "REFUSED_S", float("inf"))
    monkeypatch.setattr(TestLintelLock, "back_again_s", 1.0)
    with pytest.raises(AssertionError, match="does not come back"):
        TestLintelLock().test_a_wrong_key_opens_nothing_is_told_once_and_harms_no_other()


def test_control_the_contract_sees_one_lock_wait_for_another(monkeypatch):
    monkeypatch.setattr(ble_session, "REST_S", 0.02)
    one = asyncio.Lock()
    given = ble_lock.BleLocks.execute

    async def in_turn(self, order):
        async with one:
            return await given(self, order)

    monkeypatch.setattr(ble_lock.BleLocks, "execute", in_turn)
    with pytest.raises(AssertionError):
        TestLintelLock().test_a_slow_peer_delays_no_other_and_is_asked_once()
