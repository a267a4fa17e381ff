"""An order goes on by itself: it delays nobody, is written down however it ends, and is never repeated."""

import asyncio

import pytest

from lintel.edge.model import Outcome

from .rig import run


def test_a_slow_lock_delays_its_own_door_only(tmp_path):
    async def body(rig):
        await rig.allow("alice")
        rig.lock.before = lambda order: asyncio.sleep(0.5 if order.door == "gate" else 0)
        await rig.gate.present(rig.reading("alice"))
        receipt = await rig.gate.present(rig.reading("alice", door="back"))
        await asyncio.sleep(0.1)
        assert [o.door for o in rig.lock.orders] == ["back"]
        await asyncio.wait_for(receipt, 5)

    run(body, tmp_path)


def test_nobody_waits_for_the_lock_of_who_came_before(tmp_path):
    """A motor takes seconds; the reader on the other side of the door, and the next person, are answered at once."""

    async def body(rig):
        await rig.allow("alice", "bob")
        opened = asyncio.Event()

        async def motor(order):
            await opened.wait()

        rig.lock.before = motor
        first = await rig.gate.present(rig.reading("alice"))
        denied, second = rig.reading("mallory"), rig.reading("bob")
        receipts = [first, await rig.gate.present(denied), await rig.gate.present(second)]
        await asyncio.wait_for(asyncio.gather(*receipts), 5)
        assert [rig.reason(r.id) for r in (denied, second)] == ["unknown_credential", "granted"]
        assert rig.lock.orders == []
        opened.set()
        await rig.flush()
        assert len(rig.lock.orders) == 2

    run(body, tmp_path)


def test_an_order_under_way_when_the_gateway_stops_is_written_down_as_unknown(tmp_path):
    async def body(rig):
        await rig.allow("alice")
        rig.lock.before = lambda order: asyncio.Event().wait()
        await (await rig.gate.present(rig.reading("alice")))
        for task in rig.tasks:
            task.cancel()
        await asyncio.gather(*rig.tasks, return_exceptions=True)
        await rig.store.writer.submit(lambda conn: None, now=True)  # as the store does when it closes
        assert [e.result for e in rig.events() if e.type == "door.order"] == ["unknown_outcome"]

    run(body, tmp_path)


def test_a_lock_that_breaks_while_it_opens_leaves_the_outcome_unknown_and_the_door_at_work(tmp_path):
    async def body(rig):
        await rig.allow("alice")

        async def broken(order):
            raise RuntimeError("a bug")

        rig.lock.before = broken
        assert await rig.present("alice") == "granted"
        rig.lock.before = None
        assert await rig.present("alice") == "granted"
        await rig.flush()
        assert [e.result for e in rig.events() if e.type == "door.order"] == ["unknown_outcome"]

    run(body, tmp_path)


@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.EXECUTED])
def test_an_order_that_did_not_work_is_recorded_and_never_repeated(tmp_path, outcome):
    async def body(rig):
        await rig.allow("alice")
        rig.lock.outcome = outcome
        assert await rig.present("alice") == "granted"
        await rig.gate.drain(1)
        await rig.store.writer.submit(lambda conn: None, now=True)
        assert len(rig.lock.orders) == 1
        assert [e.result for e in rig.events() if e.type == "door.order"] == [outcome]

    run(body, tmp_path)
