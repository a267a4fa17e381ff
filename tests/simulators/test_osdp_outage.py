"""How libosdp's own control panel comes back after a reader was away: why Lintel has a panel of its own.

Measured with libosdp 3.2.9, one reader at 9600 baud, seconds from the end of the outage to the first secured answer:

| outage | the cable was loose | the reader had no power, and forgot its session |
|---|---|---|
| 3 s | 0.1 | 300.5 |
| 10 s | 298.7 | 298.7 |
| 60 s | 248.6 | 248.7 |
"""

import asyncio
import time

import pytest

from lintel.simulators.osdp_bus import Bus, Station
from lintel.simulators.osdp_pd import Peripheral, Settings
from lintel.simulators.osdp_wire import parse
from tests.osdp_peers import KEY, libosdp_cp

PATIENCE = 20.0
"""Seconds that the panel has after the outage; the figures above had 320."""


async def back_after(folder, outage, *, powered):
    """Seconds from the outage's end to a secured poll, or None after PATIENCE. `powered`: only the cable was loose."""
    bus = Bus(folder / f"bus-{outage}-{powered}", 9600)
    pd = Peripheral(Settings(1, bytes.fromhex(KEY)))
    station = Station(bus, pd)
    asked, answered = [], asyncio.Event()

    def tap(from_panel, raw):
        if not from_panel and parse(raw).block[:1] in (b"\x16", b"\x18"):
            answered.set()
        return raw

    def loose(from_panel, raw):
        asked.append(raw)

    bus.tap = tap
    bus.plug()
    try:
        async with libosdp_cp(folder / f"bus-{outage}-{powered}", {"address": 1, "key": KEY}):
            await asyncio.wait_for(answered.wait(), 10)
            await asyncio.sleep(2)
            bus.tap = loose
            if not powered:
                station.power(on=False)
            await asyncio.sleep(outage)
            assert asked, "the outage was seen"
            answered.clear()
            bus.tap = tap
            station.powered = True
            start = time.monotonic()
            try:
                await asyncio.wait_for(answered.wait(), PATIENCE)
            except TimeoutError:
                return None
            return round(time.monotonic() - start, 1)
    finally:
        bus.close()


OUTAGES = [(outage, powered) for powered in (True, False) for outage in (3, 10, 60)]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_libosdps_panel_is_slow_to_come_back(tmp_path):
    """Lintel promises 3 s. Where this fails, libosdp heals fast by now: look at decision 009 again."""

    async def stage():
        return await asyncio.gather(*(back_after(tmp_path, outage, powered=powered) for outage, powered in OUTAGES))

    took = dict(zip(OUTAGES, asyncio.run(stage()), strict=True))
    print(took)
    assert any(each is None or each > 3 for each in took.values())
