"""A GPIO chip of the kernel's own simulator (gpio-sim): made by configfs, wired and looked at by sysfs.

Kernel documentation, "Configfs GPIO Simulator".
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

_MAKE = Path("/sys/kernel/config/gpio-sim")


class SimChip:
    """The chip while `with SimChip(...)` lasts. `names` by offset."""

    def __init__(self, lines: int, names: Mapping[int, str]) -> None:
        self._lines, self._names = lines, names
        self._device = _MAKE / "box"
        self._bank = self._device / "bank"
        self._wires = Path()
        self.path = Path()

    def __enter__(self) -> Self:
        self._bank.mkdir(parents=True)
        (self._bank / "num_lines").write_text(str(self._lines))
        (self._bank / "label").write_text("door-board")
        for at, name in self._names.items():
            (self._bank / f"line{at}").mkdir()
            (self._bank / f"line{at}" / "name").write_text(name)
        self.plug()
        return self

    def __exit__(self, *exc: object) -> None:
        if (self._device / "live").read_text().strip() == "1":
            self.unplug()
        for at in self._names:
            (self._bank / f"line{at}").rmdir()
        self._bank.rmdir()
        self._device.rmdir()

    def plug(self) -> None:
        """The board is there."""
        (self._device / "live").write_text("1")
        chip = (self._bank / "chip_name").read_text().strip()
        device = (self._device / "dev_name").read_text().strip()
        self._wires = Path("/sys/devices/platform") / device / chip
        self.path = Path("/dev") / chip

    def unplug(self) -> None:
        """The board is gone, whoever uses it."""
        (self._device / "live").write_text("0")

    def wire(self, at: int, *, high: bool) -> None:
        """The world outside draws a line up or down."""
        (self._wires / f"sim_gpio{at}" / "pull").write_text("pull-up" if high else "pull-down")

    def high(self, at: int) -> bool:
        """What a meter shows."""
        return (self._wires / f"sim_gpio{at}" / "value").read_text().strip() == "1"
