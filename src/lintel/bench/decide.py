"""`lintel bench decide`: look-up in the encrypted store and policy, as the gate does them for one presentation."""

import asyncio
import gc
import random
import tempfile
import time
from pathlib import Path
from zoneinfo import ZoneInfo

from lintel.bench import percentile
from lintel.bench.site import CREDENTIALS, person, prepare
from lintel.edge.clock import Clock, always_synced
from lintel.edge.digests import Digester
from lintel.edge.model import Door, Method, Reading
from lintel.edge.policy import decide
from lintel.edge.store import Store, state_key
from lintel.edge.witness import Witness


def measure(count: int = CREDENTIALS, rounds: int = 50_000) -> dict[str, float]:
    """Decide `rounds` presentations of random persons, one in fifty unknown; microseconds per decision."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        digest = prepare(state, count)
        return asyncio.run(_measure(state, digest, count, rounds))


async def _measure(state: Path, digest: Digester, count: int, rounds: int) -> dict[str, float]:
    store = Store.open(state, state_key(state))
    try:
        clock = Clock(synced=always_synced)
        witness = Witness(store.allowlist, {}, 1, ZoneInfo("UTC"))
        door = Door("door0", "door0", frozenset({"all"}), "face0")
        rng = random.Random(1)  # noqa: S311  the order of persons
        chosen = [person(rng.randrange(count + count // 50)) for _ in range(rounds)]
        readings = [Reading(str(n), "door0", "face0", Method.FACE, digest(Method.FACE, p), 0.0, score=0.9)
                    for n, p in enumerate(chosen)]  # fmt: skip
        times, granted = [], 0
        gc.collect()
        gc.freeze()
        begin = time.perf_counter()
        for reading in readings:
            start = time.perf_counter_ns()
            now = clock.now()
            found = witness.find(reading, door, now)
            granted += decide(reading, found.facts, door, now).opens
            times.append((time.perf_counter_ns() - start) / 1000)
        took = time.perf_counter() - begin
        gc.unfreeze()
    finally:
        await store.close()
    times.sort()
    return {
        "credentials": count, "decisions": rounds, "granted": granted, "p50_us": round(percentile(times, 0.5), 1),
        "p99_us": round(percentile(times, 0.99), 1), "per_s": round(rounds / took),
    }  # fmt: skip
