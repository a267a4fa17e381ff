"""`lintel bench entry`: a reading published on mosquitto to the open order received by another client."""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lintel.bench import percentile, resident
from lintel.bench.load import Load, connected
from lintel.bench.site import CREDENTIALS, config, prepare
from lintel.edge import broker
from lintel.edge.errors import LintelError
from lintel.edge.model import Stream
from lintel.edge.store.reading import reading
from lintel.edge.store.rows import read_rows

Say = Callable[[str], None]
ROUNDS = 5
_TICKS = os.sysconf("SC_CLK_TCK")


def measure(count: int = CREDENTIALS, seconds: float = 15.0, say: Say = lambda _: None) -> dict[str, Any]:
    """All figures of the entry path; each phase lasts about `seconds`."""
    with tempfile.TemporaryDirectory(prefix="lintel-") as folder:
        say(f"filling the store with {count} credentials")
        prepare(Path(folder) / "state", count)
        return asyncio.run(_measure(Path(folder), count, seconds, say))


async def _measure(folder: Path, count: int, seconds: float, say: Say) -> dict[str, Any]:
    async with broker.start_mosquitto(folder / "broker") as mqtt, connected(mqtt.port, count) as load:
        say("cold start")
        file = config(folder, mqtt.port)
        gateway, start_ms = await _start(file, load)
        try:
            await asyncio.sleep(2.0)
            say("idle")
            idle = await _idle(gateway.pid, seconds)
            say("the bare broker and entries in turn, at 10/s")
            slow, slow_floor = await _beside(load, 10, seconds)
            say("entries at 20/s: disk writes")
            wear20 = await _wear(gateway.pid, load, 20, 2 * seconds)
            say("the bare broker and entries in turn, at 200/s")
            before = _written(gateway.pid)
            fast, fast_floor = await _beside(load, 200, seconds)
            wear200 = (_written(gateway.pid) - before) / fast["sent"]
            say("1,000 readings/s sustained, then as many openings as it can")
            flood = await load.enter(1000, seconds, known=False)
            rush = await load.enter(1000, seconds)
        finally:
            await _stop(gateway)
        say("counting the journal")
        stored = _stored(folder / "state")
    rates = {
        "10": _figures(slow, slow_floor),
        "200": _figures(fast, fast_floor),
        "1000": _figures(flood, []),
        "rush": _figures(rush, []),
    }
    worse = max((rates["10"], rates["200"]), key=lambda figures: figures["ratio_p50"])
    unacknowledged = sum(found["unacknowledged"] for found in (slow, fast, flood, rush))
    return {
        "credentials": count,
        "p50_ms": worse["p50_ms"],
        "p99_ms": rates["200"]["p99_ms"],
        "per_s": rates["1000"]["per_s"],
        "openings_per_s": rates["rush"]["per_s"],
        "floor_p50_ms": worse["floor_p50_ms"],
        "ratio_p50": worse["ratio_p50"],
        "lost": len(load.acked - stored) + unacknowledged,
        "rates": rates,
        "written_per_event_20": round(wear20),
        "written_per_event_200": round(wear200),
        **idle,
        "start_ms": round(start_ms),
    }


async def _beside(load: Load, rate: float, seconds: float) -> tuple[dict[str, Any], list[float]]:
    """Entries at a rate, and the sorted times of the bare broker: in turn, so that both meet the same noise."""
    parts, bare = [], []
    for _ in range(ROUNDS):
        bare += await load.floor(rate, seconds / ROUNDS)
        parts.append(await load.enter(rate, seconds / ROUNDS))
    sums = {key: sum(part[key] for part in parts) for key in ("sent", "orders", "unacknowledged", "took_s")}
    return {**sums, "times": sorted(t for part in parts for t in part["times"])}, sorted(bare)


def _figures(found: dict[str, Any], floor: list[float]) -> dict[str, float]:
    """The figures of one rate; `floor` are the sorted times of the bare broker at the same rate, empty for none."""
    p50 = percentile(found["times"], 0.5)
    figures = {
        "sent": found["sent"], "orders": found["orders"], "unacknowledged": found["unacknowledged"],
        "p50_ms": round(p50, 2), "p99_ms": round(percentile(found["times"], 0.99), 2),
        "per_s": round(found["sent"] / found["took_s"]),
    }  # fmt: skip
    if floor:
        bare = percentile(floor, 0.5)
        figures |= {"floor_p50_ms": round(bare, 2), "ratio_p50": round(p50 / bare, 2)}
    return figures


async def _start(file: Path, load: Load) -> tuple[asyncio.subprocess.Process, float]:
    """Start the gateway; milliseconds from the start of its process to the first order."""
    start = time.monotonic()
    gateway = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lintel.edge", str(file), "warning", stdout=asyncio.subprocess.DEVNULL
    )  # fmt: skip
    deadline = start + 30
    while not load.order_doors[0]:
        if gateway.returncode is not None or time.monotonic() > deadline:
            raise LintelError("the gateway did not decide within 30 s of its start; its messages are above")
        topic, payload, _ = load.recognition(1000, "per_00000000")
        await load.out.publish(topic, payload, qos=0)
        await asyncio.sleep(0.02)
    return gateway, (load.order_doors[0][0] - start) * 1000


async def _stop(gateway: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        gateway.send_signal(signal.SIGTERM)
    await gateway.wait()


async def _idle(pid: int, seconds: float) -> dict[str, float]:
    before, start = _cpu(pid), time.monotonic()
    await asyncio.sleep(seconds)
    percent = (_cpu(pid) - before) / (time.monotonic() - start) * 100
    return {"idle_rss_mb": round(resident(pid) / 1e6, 1), "idle_cpu_percent": round(percent, 2)}


def _cpu(pid: int) -> float:
    """CPU seconds of a process so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _written(pid: int) -> int:
    """Bytes that a process caused to be written to the disk so far."""
    lines = Path(f"/proc/{pid}/io").read_text("ascii").splitlines()
    return int(next(line for line in lines if line.startswith("write_bytes")).split()[1])


async def _wear(pid: int, load: Load, rate: float, seconds: float) -> float:
    before = _written(pid)
    found = await load.enter(rate, seconds)
    return (_written(pid) - before) / float(found["sent"])


def _stored(state: Path) -> set[tuple[int, int]]:
    """(device, record) of everything in the journal."""
    with reading(state) as database:
        rows = read_rows(database.reader, Stream.ACCESS)
        events = (row.event for row in rows)
        return {
            (1000 + int(e.device.removeprefix("face")), int(e.record.partition("-")[0])) for e in events if e.record
        }
