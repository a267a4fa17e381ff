"""QR readers on a serial line or virtual COM port. What model it is stands in its profile; this is only the I/O.

Options of the line: `path` (absolute, stable: /dev/serial/by-id/... or a udev link) and `baud` where the unit was set
to another speed than its profile says. A reader keeps nothing, so it is acknowledged when its frame is understood, not
after the commit: there is no redelivery to wait for.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

from lintel.edge.drivers.base import Code, Context, Device, Driver, Inlet, Line, Receipt, qr_code
from lintel.edge.drivers.port_options import port_options
from lintel.edge.drivers.serial_port import ANSWER_S, Port, Presented
from lintel.edge.errors import ConfigError, Mistake
from lintel.edge.model import Action, Fact, Method, Notice, Order, Outcome, Reading, Reason
from lintel.edge.profiles.serial import Bad, SerialSpec

FOLD_S: Final = 10.0
"""At most one frame error notice in this time."""


def build(line: Line, devices: Sequence[Device], ctx: Context) -> Driver:
    """The driver of one line with one reader. Raises ConfigError when an option or the profile does not fit."""
    where = f"line.{line.id}"
    path, baud, mistakes = port_options(line, 0)
    if len(devices) != 1:
        mistakes.append(Mistake(where, f"expected exactly one device on a serial line, not {len(devices)}"))
    mistakes += [
        Mistake(f"device.{device.id}.profile", "expected a profile with driver 'serial_qr'")
        for device in devices
        if not isinstance(device.profile.spec, SerialSpec)
    ]
    if mistakes:
        raise ConfigError(f"line {line.id}", mistakes)
    spec = devices[0].profile.spec
    assert isinstance(spec, SerialSpec)  # noqa: S101  checked above
    return SerialQr(path, baud or spec.baud, devices[0], spec, ctx)


class SerialQr:
    """One reader on one port; see `Driver`."""

    def __init__(self, path: str, baud: int, device: Device, spec: SerialSpec, ctx: Context) -> None:
        self._path, self._baud, self._device, self._spec, self._ctx = path, baud, device, spec, ctx
        self._port: Port | None = None
        self._turn = asyncio.Lock()
        self._errors = 0
        self._told_at = float("-inf")

    async def run(self, inlet: Inlet) -> None:
        """Open the port, set the reader up, hand over what it reads until the port goes: then raise Lost."""
        port = await Port.open(self._path, self._baud, self._spec, self._ctx.clock)
        try:
            await asyncio.sleep(self._spec.discard_after_open_ms / 1000)
            await self._set_up(port, inlet)
            self._port = port
            port.on_look = partial(self._tell_errors, port, inlet)
            inlet.up()
            port.start_rearming()
            while True:
                receipt = await inlet.present(self._reading(await port.next()))
                receipt.add_done_callback(_forget)
        finally:
            self._port = None
            await port.close()

    async def execute(self, order: Order) -> Outcome:
        """Beep, where the profile has a command called "beep"; a reader can do nothing else."""
        command = self._spec.find("beep") if order.action is Action.BEEP else None
        if command is None:
            return Outcome.REFUSED_BY_DEVICE
        async with self._turn:
            left = order.deadline - self._ctx.clock.now().mono
            if left <= 0:
                return Outcome.ORDER_EXPIRED
            return await self._port.send(command, min(left, ANSWER_S)) if self._port else Outcome.NOT_SENT

    async def _set_up(self, port: Port, inlet: Inlet) -> None:
        """Send the profile's first commands. One that is refused is a fault to report, no reason to stay away."""
        for name in self._spec.init:
            command = self._spec.find(name)
            if command is None:
                continue
            outcome = await port.send(command)
            if outcome is not Outcome.EXECUTED:
                inlet.report(Fact(Notice.DEVICE_FAULT, self._device.id, f"command {name}: {outcome}"))
            await asyncio.sleep(command.pause_ms / 1000)

    def _tell_errors(self, port: Port, inlet: Inlet) -> None:
        """Say how many frames could not be understood, at most once in `FOLD_S`, also across reconnects."""
        self._errors += port.errors
        port.errors = 0
        now = self._ctx.clock.now().mono
        if self._errors and now - self._told_at >= FOLD_S:
            inlet.report(Fact(Notice.FRAME_ERROR, self._device.id, count=self._errors))
            self._errors, self._told_at = 0, now

    def _reading(self, presented: Presented) -> Reading:
        heard, device = presented.heard, self._device
        if isinstance(heard, Bad):
            code = Code(Method.QR, b"", fault=Reason.BAD_FORMAT, detail=heard.detail)
        else:
            code = qr_code(self._ctx.digest, heard.text.decode("ascii"))
        return Reading(
            id=self._ctx.new_id(),
            door=device.door,
            device=device.id,
            method=code.method,
            digest=code.digest,
            at=presented.at.wall,
            age=presented.age,
            mono=presented.at.mono,
            direction=device.direction,
            token=code.token,
            fault=code.fault,
            detail=code.detail,
        )


def _forget(receipt: Receipt) -> None:
    """A reader has no redelivery, so a failed receipt changes nothing here; asking keeps asyncio from complaining."""
    if not receipt.cancelled():
        receipt.exception()
