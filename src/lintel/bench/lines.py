"""`lintel bench lines`: OSDP, Bluetooth, and every kind of line at once in one daemon."""

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lintel.bench import lines_ble, lines_mixed, lines_osdp

OUTAGES = (3.0, 10.0, 60.0, 600.0)
"""Seconds for which a reader is away. The longest sets how long the bench takes."""


def measure(
    seconds: float = 60.0, outages: Sequence[float] = OUTAGES, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """All figures. `seconds` of the load on all lines; the other parts are as long in proportion."""
    return asyncio.run(_measure(seconds, outages, say))


async def _measure(seconds: float, outages: Sequence[float], say: Callable[[str], None]) -> dict[str, Any]:
    count = max(10, round(seconds * 3))
    with tempfile.TemporaryDirectory(prefix="lintel-") as name:
        folders = [Path(name) / word for word in ("9600", "115200", "ble", "mixed", "away")]
        for folder in folders:
            folder.mkdir()
        say(f"8 OSDP readers at 9600 baud, {count} cards")
        slow = await lines_osdp.entries(folders[0], 9600, count)
        say(f"8 OSDP readers at 115200 baud, {count} cards")
        fast = await lines_osdp.entries(folders[1], 115200, count)
        say("a Bluetooth lock beside the bare write and notification")
        ble = await lines_ble.measure(folders[2], max(10, count // 3))
        say("30 locks, 20 terminals, 16 OSDP readers and 10 QR readers at once")
        mixed = await lines_mixed.measure(folders[3], seconds)
        say(f"OSDP readers that are away for {', '.join(f'{s:g}' for s in outages)} s")
        back = await lines_osdp.reconnect(folders[4], outages)
    return {
        "osdp_p99_ms_9600": slow["p99_ms"],
        "osdp_cycle_ms_9600": slow["cycle_ms"],
        "osdp_p99_ms_115200": fast["p99_ms"],
        "osdp_cycle_ms_115200": fast["cycle_ms"],
        "osdp_reconnect_s": round(max(back), 2),
        "ble_unlock_ratio": ble["ratio"],
        "ble_floor_ms": ble["floor_ms"],
        "ble_reconnect_s": ble["reconnect_s"],
        "mixed_p99_ms": mixed["p99_ms"],
        "mixed_rss_mb": mixed["rss_mb"],
        "serial_replug_s": mixed["replug_s"],
        "broker_restart_s": mixed["broker_s"],
    }
