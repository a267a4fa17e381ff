"""Few connections, many locks: orders first, nobody starves, never more than there are."""

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lintel.edge.drivers import ble_session
from lintel.edge.drivers.ble_slots import Slots, Ticket
from lintel.edge.model import Outcome
from tests.edge.drivers.ble_rig import Inlet, known_battery, lintel_locks, order, running, until


@pytest.fixture(autouse=True)
def _short_rests(monkeypatch):
    monkeypatch.setattr(ble_session, "REST_S", 0.02)


class Desk:
    """Tickets that let go when asked, or not."""

    def __init__(self, count, locks):
        self.slots = Slots(count, locks)
        self.asked: list[int] = []
        self.tickets = [Ticket(lambda n=n: self.asked.append(n)) for n in range(locks)]

    def take(self, n, *, urgent):
        return asyncio.create_task(self.slots.take(self.tickets[n], urgent=urgent))

    async def got(self, n, *, urgent):
        await asyncio.wait_for(self.slots.take(self.tickets[n], urgent=urgent), 1)
        self.slots.dialled(self.tickets[n])

    def held(self):
        return sum(t.held for t in self.tickets)


def desk(count, locks):
    def wrap(scene):
        async def stage():
            await scene(Desk(count, locks))

        return lambda: asyncio.run(stage())

    return wrap


@desk(2, 4)
async def _orders_first(d):
    await d.got(0, urgent=True)
    await d.got(1, urgent=True)
    poll, late = d.take(2, urgent=False), d.take(3, urgent=True)
    await asyncio.sleep(0)
    d.slots.give(d.tickets[0])
    await asyncio.sleep(0)
    assert late.done()
    assert not poll.done()
    poll.cancel()


@desk(3, 30)
async def _one_stays_free_for_an_order(d):
    await d.got(0, urgent=False)
    await d.got(1, urgent=False)
    poll = d.take(2, urgent=False)
    await asyncio.sleep(0)
    assert not poll.done()
    assert d.asked == []  # both are at work
    await d.got(3, urgent=True)
    poll.cancel()


@desk(1, 2)
async def _an_idle_connection_is_given_up(d):
    await d.got(0, urgent=True)
    order_ = d.take(1, urgent=True)
    await asyncio.sleep(0)
    assert d.asked == []  # it is at work for an order
    d.slots.rest(d.tickets[0])
    assert d.asked == [0]
    d.slots.give(d.tickets[0])
    await asyncio.wait_for(order_, 1)


@desk(1, 2)
async def _background_work_is_broken_off_for_an_order(d):
    await d.got(0, urgent=False)
    order_ = d.take(1, urgent=True)
    await asyncio.sleep(0)
    assert d.asked == [0]
    d.slots.give(d.tickets[0])
    await asyncio.wait_for(order_, 1)


@desk(2, 3)
async def _who_gets_an_order_meanwhile_need_not_go(d):
    await d.got(0, urgent=True)
    await d.got(1, urgent=True)
    d.slots.rest(d.tickets[0])
    d.slots.rest(d.tickets[1])
    order_ = d.take(2, urgent=True)
    await asyncio.sleep(0)
    assert d.asked == [0]
    d.slots.work(d.tickets[0], urgent=True)
    assert d.asked == [0, 1]
    order_.cancel()


@desk(1, 2)
async def _a_wait_that_is_given_up_holds_nothing(d):
    await d.got(0, urgent=True)
    waiting = d.take(1, urgent=True)
    await asyncio.sleep(0)
    d.slots.give(d.tickets[0])
    waiting.cancel()  # in the moment in which it was granted
    await asyncio.gather(waiting, return_exceptions=True)
    assert d.held() == 0
    await d.got(0, urgent=True)


@desk(1, 3)
async def _a_wait_for_an_order_that_ended_gives_no_precedence_afterwards(d):
    await d.got(0, urgent=False)
    d.slots.urge(d.tickets[2])
    failed = d.take(2, urgent=True)
    await asyncio.sleep(0)
    failed.cancel()
    await asyncio.gather(failed, return_exceptions=True)
    assert d.tickets[2].urgent  # the order waits still
    d.slots.calm(d.tickets[2])
    assert not d.tickets[2].urgent
    first, late = d.take(1, urgent=False), d.take(2, urgent=False)
    await asyncio.sleep(0)
    d.slots.give(d.tickets[0])
    await asyncio.sleep(0)
    assert (first.done(), late.done()) == (True, False)
    late.cancel()


@desk(1, 5)
async def _who_needs_it_more_goes_first(d):
    await d.got(0, urgent=True)
    d.slots.urge(d.tickets[1], renews=True)
    d.tickets[2].owes = True
    order_of = []

    async def turn(n, *, urgent):
        await d.slots.take(d.tickets[n], urgent=urgent)
        order_of.append(n)
        d.slots.give(d.tickets[n])

    d.slots.urge(d.tickets[4])
    d.tickets[4].served = 99  # not even its turn
    turns = [asyncio.create_task(turn(n, urgent=n in (1, 4))) for n in (3, 2, 1, 4)]
    await asyncio.sleep(0)
    d.slots.give(d.tickets[0])
    await asyncio.gather(*turns)
    assert order_of == [4, 1, 2, 3]  # an order, a hold again, a lock to be locked, the rounds


@desk(1, 3)
async def _who_was_cut_keeps_its_place_once(d):
    await d.got(2, urgent=True)
    d.slots.give(d.tickets[2])
    for first in (1, 1, 2):  # the second cut in a row was a turn
        await d.got(0, urgent=True)
        waiting = {n: d.take(n, urgent=True) for n in (2, 1)}
        await asyncio.sleep(0)
        d.slots.give(d.tickets[0])
        await asyncio.sleep(0)
        assert [n for n, turn in waiting.items() if turn.done()] == [first]
        d.tickets[first].cut()
        for n, turn in waiting.items():
            turn.cancel()
            await asyncio.gather(turn, return_exceptions=True)
            d.slots.give(d.tickets[n])


@desk(3, 3)
async def _a_slot_for_each_is_kept(d):
    assert d.slots.keep
    for n in range(3):
        await d.got(n, urgent=False)
    assert d.asked == []


@pytest.mark.parametrize(
    "scene",
    [
        _orders_first, _one_stays_free_for_an_order, _an_idle_connection_is_given_up,
        _background_work_is_broken_off_for_an_order, _who_gets_an_order_meanwhile_need_not_go,
        _a_wait_that_is_given_up_holds_nothing, _a_slot_for_each_is_kept, _who_needs_it_more_goes_first,
        _who_was_cut_keeps_its_place_once,
        _a_wait_for_an_order_that_ended_gives_no_precedence_afterwards,
    ],
)  # fmt: skip
def test_the_rules(scene):
    scene()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=40))
def test_never_more_than_there_are_and_every_order_gets_its_turn(count, wishes):
    async def stage():
        d = Desk(count, 8)
        most = 0
        served = []

        async def lock(n):
            nonlocal most
            for who, urgent in wishes:
                if who != n:
                    continue
                await d.slots.take(d.tickets[n], urgent=urgent)
                most = max(most, d.held())
                await asyncio.sleep(0)
                d.slots.dialled(d.tickets[n])
                await asyncio.sleep(0)
                d.slots.rest(d.tickets[n])
                served.append((n, urgent))
                await asyncio.sleep(0)
                d.slots.give(d.tickets[n])

        await asyncio.wait_for(asyncio.gather(*(lock(n) for n in range(8))), 5)
        assert sorted(served) == sorted(wishes)
        assert most <= count
        assert d.held() == 0

    asyncio.run(stage())


def test_twelve_locks_on_three_connections_are_all_opened():
    async def stage():
        async with lintel_locks(12) as rig:
            driver, inlet = rig.build(), Inlet()
            async with running(driver, inlet):
                orders = [driver.execute(order(device=name, within=20, name=name)) for name in rig.locks]
                assert set(await asyncio.gather(*orders)) == {Outcome.EXECUTED}
                assert all(rig.turns(name) == ["unlock"] for name in rig.locks)
                await until(lambda: len(known_battery(inlet)) == 12, 20.0)
            assert rig.air.adapter.most <= 3

    asyncio.run(stage())


def test_an_order_goes_before_the_rounds():
    async def stage():
        async with lintel_locks(8, slots=1) as rig:
            driver, inlet = rig.build(), Inlet()
            for lock in rig.locks.values():
                rig.air.slow[lock.options.address] = 0.02  # a round through all takes long
            async with running(driver, inlet):
                await until(lambda: rig.air.adapter.links, 5.0)
                start = time.monotonic()
                assert await driver.execute(order(device="lock7", within=10)) is Outcome.EXECUTED
                took = time.monotonic() - start
                assert len(known_battery(inlet)) < 7, took
            assert rig.air.adapter.most == 1

    asyncio.run(stage())


@pytest.mark.parametrize("end", ["not heard", "given up", "void", "the line"])
def test_an_order_that_failed_leaves_its_lock_no_precedence(end):
    async def stage():
        async with lintel_locks(4, slots=1) as rig:
            driver, inlet = rig.build(), Inlet()
            ticket = driver._locks["lock0"]._session.ticket
            async with running(driver, inlet):
                await until(lambda: len(known_battery(inlet)) == 4, 20.0)
                rig.air.leave(rig.address)
                await until(lambda: not driver._locks["lock0"]._session.talk, 5.0)
                doing = asyncio.create_task(
                    driver.execute(order(within=0.3 if end == "not heard" else 30, device="lock0"))
                )
                await until(lambda: ticket.urgent)
                if end == "given up":
                    doing.cancel()
                elif end == "the line":
                    rig.gone.set()
                elif end == "void":
                    driver._locks["lock0"].detach()
                await asyncio.wait({doing}, timeout=5.0)
                await until(lambda: not ticket.urgent, 1.0)
                rig.gone.clear()
                if end == "the line":
                    await until(lambda: inlet.ups >= 2, 5.0)

    asyncio.run(stage())


@pytest.mark.long
def test_thirty_locks_on_three_connections_for_a_while():
    async def stage():
        async with lintel_locks(30) as rig:
            driver, inlet = rig.build(), Inlet()
            async with running(driver, inlet):
                for round_ in range(3):
                    orders = [driver.execute(order(device=n, within=60, name=f"{n}{round_}")) for n in rig.locks]
                    assert set(await asyncio.gather(*orders)) == {Outcome.EXECUTED}
                assert all(rig.turns(name) == ["unlock"] * 3 for name in rig.locks)
            assert rig.air.adapter.most <= 3

    asyncio.run(stage())
