"""Eight OSDP readers on one secure bus at the true speed of its line: card to order, poll cycle, a reader back."""

import asyncio
import contextlib
import itertools
import random
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from lintel.bench import percentile
from lintel.bench.lines_site import CARDS, FACILITY, Plan, gateway, lines_up
from lintel.edge.drivers.osdp import Osdp
from lintel.edge.errors import LintelError
from lintel.edge.osdp.panel import Peripheral
from lintel.simulators.client import Simulator

READERS: Final = 8
WAIT: Final = 30.0
"""Seconds that anything may take before the bench gives up."""
NEXT_S: Final = 0.8
"""Pause between two cards: longer than the line takes to fetch one."""


@contextlib.asynccontextmanager
async def _bus(folder: Path, baud: int) -> AsyncIterator[tuple[Simulator, Osdp]]:
    """Readers that have their keys, each the lock of its door by its own output; all secure when entered."""
    plan, link = Plan(folder), folder / "bus"
    plan.line("bus", "osdp", path=str(link), baud=baud)
    parts: list[dict[str, Any]] = []
    for n in range(READERS):
        name = f"reader{n}"
        plan.keys[name] = secrets.token_bytes(16)
        plan.door(f"door{n}", name)
        plan.device(name, "bus", "osdp-generic-relay", f"door{n}", str(n))
        parts.append({
            "kind": "osdp-reader", "id": name, "link": str(link), "baud": baud, "address": n,
            "key": plan.keys[name].hex(),
        })  # fmt: skip
    path = await plan.write()
    async with Simulator.fleet(parts, timeout=WAIT) as readers, gateway(path) as daemon:
        await lines_up(plan.state, ["bus"])
        for n in range(READERS):
            await readers.event("secure", WAIT, id=f"reader{n}")
        driver = daemon.lines[0].driver
        assert isinstance(driver, Osdp)  # noqa: S101  the only line
        yield readers, driver


async def entries(folder: Path, baud: int, count: int) -> dict[str, float]:
    """Milliseconds from a card at its reader to the order at the relay (p50, p99), and of one full poll cycle."""
    rng = random.Random(7)  # noqa: S311  the order of cards
    async with _bus(folder, baud) as (readers, driver):
        turns: dict[int, list[float]] = {}
        driver.bus.on_turn = lambda address, now: turns.setdefault(address, []).append(now)
        await asyncio.sleep(3.0)
        driver.bus.on_turn = None
        cycles = [b - a for times in turns.values() for a, b in itertools.pairwise(times)]
        times = []
        for n in range(count):
            await asyncio.sleep(rng.uniform(0.05, 0.4))
            times.append(await _enter(readers, f"reader{rng.randrange(READERS)}", n % CARDS) * 1000)
    times.sort()
    return {
        "p50_ms": round(percentile(times, 0.5), 1),
        "p99_ms": round(percentile(times, 0.99), 1),
        "cycle_ms": round(median(cycles) * 1000, 1),
    }


async def _enter(readers: Simulator, name: str, number: int) -> float:
    """Seconds from a card held before a reader to its relay."""
    await readers.command("card", id=name, facility=FACILITY, number=number)
    shown = (await readers.event("scanned", WAIT, id=name))["t0"]
    try:
        return float((await readers.event("output", WAIT, id=name, on=True))["t"]) - float(shown)
    except TimeoutError:
        raise LintelError(f"{name}: a card was read, and its relay never switched") from None


async def reconnect(folder: Path, outages: Sequence[float]) -> list[float]:
    """Seconds from a reader's first answer to its secure session, after outages of so many seconds on one bus.

    Then it must open its door; a card that it kept until it was met opens nothing.
    """
    async with _bus(folder, 9600) as (readers, driver):

        async def lose(n: int, seconds: float) -> float:
            name, peripheral = f"reader{n}", driver.bus.peripherals[n]
            await readers.command("power_off", id=name)
            await asyncio.sleep(seconds)
            while peripheral.present:  # noqa: ASYNC110  away too shortly to be missed so far
                await asyncio.sleep(0.005)
            answered = asyncio.create_task(_present(peripheral))
            await readers.command("power_on", id=name)
            back = float((await readers.event("secure", WAIT, id=name))["t"])
            await _opened(readers, name)
            return max(0.0, back - await answered)

        return list(await asyncio.gather(*(lose(n, seconds) for n, seconds in enumerate(outages))))


async def _opened(readers: Simulator, name: str) -> None:
    """Hold one card after the other before a reader until its relay switches. Raises LintelError."""
    for number in range(int(WAIT / NEXT_S)):
        await readers.command("card", id=name, facility=FACILITY, number=number)
        with contextlib.suppress(TimeoutError):
            await readers.event("output", NEXT_S, id=name, on=True)
            return
    raise LintelError(f"{name} is not back after {WAIT:.0f} s")


async def _present(peripheral: Peripheral) -> float:
    """When a reader answers again (monotonic s)."""
    while not peripheral.present:  # noqa: ASYNC110  what is measured has no event for it
        await asyncio.sleep(0.005)
    return time.monotonic()
