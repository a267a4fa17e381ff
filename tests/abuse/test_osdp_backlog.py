"""A card that a reader kept during an outage opens nothing when it is back: nobody stands there any more."""

import asyncio

import pytest

from .osdp_stage import KNOWN, Wire, card, house, in_session
from .stage import decided
from .test_osdp_attacks import run


def lost(from_panel, raw):
    """The cable is loose."""


@pytest.mark.parametrize("started", [True, False], ids=["during an outage", "before the first start"])
def test_a_card_from_before_the_reader_was_back_is_stale(tmp_path, started):
    async def work():
        wire = Wire(tmp_path)
        if not started:
            wire.card(data=card(KNOWN[0]))
            await asyncio.sleep(0.1)
        async with house(tmp_path, wire, max_age=1.0) as (rig, driver):
            await in_session(driver)
            if started:
                await asyncio.sleep(0.3)
                wire.ear.edit = lost
                wire.card(data=card(KNOWN[0]))
                await asyncio.sleep(2.0)
                wire.ear.edit = None
            (decision,) = await decided(rig, 1)
            assert decision.reason == "stale_reading"
            assert rig.lock.orders == []
            await in_session(driver)
            await asyncio.sleep(0.3)
            wire.card(data=card(KNOWN[1]))
            assert (await decided(rig, 2))[-1].reason == "granted", "the control: a card of now"
        wire.bus.close()

    run(work)
