"""Relays, door contacts, exit buttons, fire and tamper inputs on the lines of one GPIO chip (libgpiod 2).

What a line is stands in its device's profile; its address is the line's offset or its name. All lines of a chip that
are configured are requested at once, with locks locked in the same call that makes them outputs.

At the end every relay falls off, which locks a fail-secure lock and unlocks a fail-safe one. A lock that is held is
left as it stands: it is held because of fire, and to lock it is nothing that a restart may do.
"""

import importlib.util
from collections.abc import Sequence

from lintel.edge.drivers.base import Context, Device, Driver, Inlet, Line
from lintel.edge.drivers.gpio_bank import Bank, Wire
from lintel.edge.errors import ConfigError, Mistake
from lintel.edge.model import Action, Order, Outcome
from lintel.edge.profiles.gpio import GpioSpec

INSTALL = "expected the package gpiod: pip install 'lintel[gpio]', or from a clone LINTEL_LEVEL=lines ./lintel ..."


def build(line: Line, devices: Sequence[Device], ctx: Context) -> Driver:
    """The driver of one chip. Raises ConfigError when an option, an address or a profile does not fit."""
    where = f"line.{line.id}"
    mistakes = [
        Mistake(f"{where}.{key}", "expected no such key: 'chip' is the option of gpio")
        for key in line.options
        if key != "chip"
    ]
    if importlib.util.find_spec("gpiod") is None:
        mistakes.append(Mistake(where, INSTALL))
    wires: list[Wire] = []
    for device in devices:
        at = f"device.{device.id}"
        if not isinstance(device.profile.spec, GpioSpec):
            mistakes.append(Mistake(f"{at}.profile", "expected a profile with driver 'gpio'"))
        elif not device.address:
            mistakes.append(Mistake(f"{at}.address", "expected the line's offset on the chip, or its name"))
        else:
            wires.append(Wire(device, device.profile.spec))
    taken = [wire.line for wire in wires]
    mistakes += [
        Mistake(f"device.{wire.device.id}.address", "expected an address used once on its line")
        for number, wire in enumerate(wires)
        if wire.line in taken[:number]
    ]
    if mistakes:
        raise ConfigError(f"line {line.id}", mistakes)
    return Gpio(str(line.options.get("chip", "/dev/gpiochip0")), wires, ctx)


class Gpio:
    """The lines of one chip; see `Driver`."""

    def __init__(self, chip: str, wires: Sequence[Wire], ctx: Context) -> None:
        self._chip, self._wires, self._ctx = chip, wires, ctx
        self._bank: Bank | None = None

    async def run(self, inlet: Inlet) -> None:
        """Request the lines, say how each stands, and then what changes, until the chip goes: then raise Lost."""
        bank = Bank.open(self._chip, self._wires, inlet, self._ctx.released)
        try:
            self._bank = bank
            inlet.up()
            bank.start()
            await bank.lost
        except Exception:
            bank.forget()
            raise
        finally:
            self._bank = None
            bank.close()

    async def execute(self, order: Order) -> Outcome:
        """Open for so many seconds, hold or release a relay. Inputs, and other orders, are refused."""
        if self._ctx.clock.now().mono >= order.deadline:
            return Outcome.ORDER_EXPIRED
        if order.action not in (Action.OPEN, Action.HOLD, Action.RELEASE):
            return Outcome.REFUSED_BY_DEVICE
        if not any(wire.device.id == order.device and not wire.spec.hears for wire in self._wires):
            return Outcome.REFUSED_BY_DEVICE
        if self._bank is None or self._bank.lost.done():
            return Outcome.NOT_SENT
        return self._bank.order(order)
