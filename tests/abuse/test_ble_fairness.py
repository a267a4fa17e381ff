"""Many locks share three connections: an order is carried out in time, or it is said in time that it was not."""

import asyncio
import time

import pytest

from lintel.edge.model import Action, Order, Outcome

from .ble_stage import honest, site


async def everybody(place, within):
    """An order at every door at once; (outcome, movements, seconds) by door."""
    order_at, seen = time.monotonic(), {}

    async def one(name, n):
        before = place.turns(name)
        order = Order(f"all-{order_at}-{n}", name, name, Action.OPEN, order_at + within, 0, 0.0, "")
        outcome = await place.driver.execute(order)
        took = time.monotonic() - order_at
        seen[name] = (outcome, place.turns(name) - before, took)

    await asyncio.gather(*(one(name, n) for n, name in enumerate(place.locks)))
    return seen


@pytest.mark.parametrize("count", [9, pytest.param(30, marks=pytest.mark.long)])
def test_on_three_connections_each_lock_has_its_turn_or_is_told_that_it_has_not(tmp_path, count):
    async def main():
        async with site(tmp_path, count, weak="rate", interval=0.001) as place:
            seen = await everybody(place, 60.0)
            assert all((o, t) == (Outcome.EXECUTED, 1) for o, t, _ in seen.values()), seen
            within = max(took for *_, took in seen.values()) / 4
            seen = await everybody(place, within)
            assert all(honest(outcome, turns) for outcome, turns, _ in seen.values()), seen
            late = [took for outcome, _, took in seen.values() if outcome is not Outcome.EXECUTED]
            assert late, "control: in a quarter of the time not all can be served"
            assert max(late) < within + 5, "and are told so in time"
            hungry = {name for name, (outcome, *_) in seen.items() if outcome is not Outcome.EXECUTED}
            seen = await everybody(place, 60.0)
            assert all(seen[name][:2] == (Outcome.EXECUTED, 1) for name in hungry), "nobody is left behind by that"
            assert place.air.adapter.most <= 3

    asyncio.run(main())
