"""What is told of a lock's condition: there or not, battery, signal, door, faults. Each change once."""

import math
from typing import Final

from lintel.edge.ble.words import Seen
from lintel.edge.drivers.base import Inlet
from lintel.edge.model import DoorState, Fact, Measure, Notice

SILENT_S: Final = 30.0
"""A lock that is not connected and has not advertised for so long is lost (s)."""
SIGNAL_S: Final = 30.0
"""How often the signal is told (s)."""
RECOVERED: Final = 5
"""A battery is low again only after it was so many percent above the limit."""


class Condition:
    """One lock's. Outlives a run, so that nothing is told twice."""

    def __init__(self, device: str, low_battery: int) -> None:
        self._device, self._limit = device, low_battery
        self._alive_at = self._signal_at = -math.inf
        self._lost = self._low = False
        self._fault = ""
        self._door: str | None = None

    def begin(self, now: float) -> None:
        """The line is up: what was not heard until now is no news."""
        self._alive_at, self._signal_at = now, -math.inf

    def heard(self, inlet: Inlet, now: float, rssi: int) -> None:
        """It advertises, with this signal (dBm)."""
        self._alive(inlet, now)
        if now - self._signal_at >= SIGNAL_S and -127 < rssi < 20:
            self._signal_at = now
            inlet.measure(self._device, Measure.SIGNAL_DBM, rssi)

    def tick(self, inlet: Inlet | None, now: float, *, connected: bool) -> float:
        """Look whether it is still there; seconds until the next look."""
        if inlet is None:
            return SILENT_S
        if connected:
            self._alive(inlet, now)
            return SILENT_S / 2
        left = self._alive_at + SILENT_S - now
        if left <= 0 and not self._lost:
            self._lost = True
            inlet.report(Fact(Notice.COMMS_LOST, self._device, "not heard"))
            if self._door is not None:
                self._door = None
                inlet.door(DoorState(self._device, 0, None))
        return left if left > 0 else SILENT_S

    def saw(self, inlet: Inlet, seen: Seen) -> None:
        """How it stands."""
        if seen.battery is not None:
            inlet.measure(self._device, Measure.BATTERY_PERCENT, seen.battery)
        if seen.supply_mv is not None:
            inlet.measure(self._device, Measure.SUPPLY_MV, seen.supply_mv)
        low = seen.low or (seen.battery is not None and seen.battery <= self._limit)
        if low and not self._low:
            self._low = True
            inlet.report(Fact(Notice.LOW_BATTERY, self._device, "" if seen.battery is None else f"{seen.battery} %"))
        elif not low and seen.battery is not None and seen.battery > self._limit + RECOVERED:
            self._low = False
        fault = "jammed" if seen.lock == "jammed" else seen.fault
        if fault and fault != self._fault:
            inlet.report(Fact(Notice.DEVICE_FAULT, self._device, fault))
        self._fault = fault
        if seen.door not in ("none", self._door):
            self._door = seen.door
            inlet.door(DoorState(self._device, 0, {"open": True, "closed": False}.get(seen.door)))

    def _alive(self, inlet: Inlet, now: float) -> None:
        self._alive_at = now
        if self._lost:
            self._lost = False
            inlet.report(Fact(Notice.COMMS_RESTORED, self._device))
