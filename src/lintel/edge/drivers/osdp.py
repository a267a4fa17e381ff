"""OSDP readers on an RS-485 bus, up to eight on a line. What they say is in `lintel.edge.osdp`; this is only the I/O.

Options of the line: `path` (absolute, stable: /dev/serial/by-id/... or a udev link) and `baud` of all its readers. The
address of a device is its number on the bus, 0 to 126. Its key stands in the store, was made here by the system's
random source while an install window was open, and is never made again without one.
"""

import asyncio
import random
import secrets
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Final

from lintel.edge.drivers.base import Context, Device, Driver, Inlet, Line
from lintel.edge.drivers.osdp_port import OsdpPort
from lintel.edge.drivers.osdp_voice import FOLD_S, Voice
from lintel.edge.drivers.port_options import port_options
from lintel.edge.errors import ConfigError, Mistake, StoreError
from lintel.edge.model import Action, Fact, Notice, Order, Outcome
from lintel.edge.osdp import messages
from lintel.edge.osdp.bus import MAX_READERS, Bus
from lintel.edge.osdp.events import Event, Job, KeyProven, KeyUnused, KeyWanted
from lintel.edge.osdp.keyring import Keyring
from lintel.edge.osdp.messages import Command
from lintel.edge.osdp.panel import Peripheral
from lintel.edge.osdp.secure import patterned
from lintel.edge.profiles.osdp import OsdpSpec, instruct

CURRENT, FRESH = "osdp.key", "osdp.key.fresh"
"""Names of a reader's keys in the store. With one of them it is provisioned, for ever."""
APPEAR_S: Final = 5.0
"""A reader that has not been usable so long after the line came up is told as lost."""
FAR_S: Final = 600.0
"""Greatest number of seconds an order's install window may ask for."""


def build(line: Line, devices: Sequence[Device], ctx: Context) -> Driver:
    """The driver of one bus. Raises ConfigError when an option, an address or a profile does not fit."""
    where = f"line.{line.id}"
    path, baud, mistakes = port_options(line, 9600)
    if not 1 <= len(devices) <= MAX_READERS:
        mistakes.append(Mistake(where, f"expected 1 to {MAX_READERS} devices on an OSDP line, not {len(devices)}"))
    seen: set[int] = set()
    for device in devices:
        address = _address(device)
        if address is None or address in seen:
            mistakes.append(Mistake(f"device.{device.id}.address", "expected its own number on the bus, 0 to 126"))
        elif not isinstance(device.profile.spec, OsdpSpec):
            mistakes.append(Mistake(f"device.{device.id}.profile", "expected a profile with driver 'osdp'"))
        seen.add(-1 if address is None else address)
    if mistakes:
        raise ConfigError(f"line {line.id}", mistakes)
    return Osdp(path, baud, devices, ctx)


def _address(device: Device) -> int | None:
    text = device.address
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 3 else -1
    return number if 0 <= number <= 126 else None


class Osdp:
    """One bus; see `Driver`. `bus` is there for who measures: `bus.on_turn` tells each reader's turns."""

    def __init__(
        self,
        path: str,
        baud: int,
        devices: Sequence[Device],
        ctx: Context,
        *,
        make_key: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._path, self._baud, self._ctx, self._make_key = path, baud, ctx, make_key
        self._devices: dict[int, Device] = {}
        self._specs: dict[str, OsdpSpec] = {}
        self._voices: dict[int, Voice] = {}
        self._at: dict[str, Peripheral] = {}
        self._writing: dict[int, asyncio.Lock] = {}
        for device in devices:
            spec, address = device.profile.spec, _address(device)
            assert isinstance(spec, OsdpSpec) and address is not None  # noqa: S101  checked by build
            peripheral = Peripheral(
                address,
                Keyring(),
                secrets.token_bytes,
                random.random,
                required=spec.secure_channel,
                questions=(Command.LSTAT, Command.ISTAT) if spec.input else (Command.LSTAT,),
            )
            self._devices[address], self._specs[device.id], self._at[device.id] = device, spec, peripheral
            self._writing[address] = asyncio.Lock()
            self._voices[address] = Voice(device, spec, ctx, partial(setattr, peripheral, "hold"))
        self.bus = Bus(list(self._at.values()), baud)
        self._port: OsdpPort | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._errors = 0
        self._told_at = float("-inf")

    async def run(self, inlet: Inlet) -> None:
        """Open the port and talk to the readers until it goes: then raise Lost."""
        loop = asyncio.get_running_loop()
        self.bus.open()
        self._errors = 0
        for device, peripheral in self._at.items():
            peripheral.keyring.current = self._ctx.keys.get(device, CURRENT)  # the store is the truth
            peripheral.keyring.fresh = self._ctx.keys.get(device, FRESH)
        port = await OsdpPort.open(self._path, self._baud, self.bus, partial(self._drain, inlet))
        try:
            self._port = port
            for voice in self._voices.values():
                voice.inlet = inlet
                self._start(voice.carry(inlet))
            self._start(self._appear())
            inlet.up()
            port.turn()
            await port.until_lost()
        finally:
            self._port = None
            self.bus.close(loop.time())
            self._drain(inlet)
            for voice in self._voices.values():
                voice.reset()
                voice.inlet = None
            await self._end()
            await port.close()

    async def execute(self, order: Order) -> Outcome:
        """Switch an output, beep, show a text, or open the install window of a reader."""
        peripheral, spec = self._at.get(order.device), self._specs.get(order.device)
        if peripheral is None or spec is None:
            return Outcome.NOT_SENT
        loop = asyncio.get_running_loop()
        if order.action is Action.INSTALL:
            return self._install(order, peripheral, spec)
        try:
            code, data = instruct(
                spec, str(order.action), channel=order.channel, seconds=order.seconds, text=order.text
            )
        except ValueError:
            return Outcome.REFUSED_BY_DEVICE
        left = order.deadline - self._ctx.clock.now().mono
        if left <= 0:
            return Outcome.ORDER_EXPIRED
        if self._port is None:
            return Outcome.NOT_SENT
        done: asyncio.Future[Outcome] = loop.create_future()

        def finished(outcome: Outcome) -> None:
            if not done.done():
                done.set_result(outcome)

        self.bus.submit(peripheral.address, Job(code, data, loop.time() + left, finished), loop.time())
        self._port.turn()
        outcome = await done
        if outcome is Outcome.EXECUTED and order.action is Action.OPEN and spec.green_on_open:
            self._green(peripheral, order.seconds)
        return outcome

    def _green(self, peripheral: Peripheral, seconds: float) -> None:
        now = asyncio.get_running_loop().time()
        light = messages.light(2, max(1, round(seconds * 10)))
        self.bus.submit(peripheral.address, Job(Command.LED, light, now + 1.0), now)

    # keys

    def _install(self, order: Order, peripheral: Peripheral, spec: OsdpSpec) -> Outcome:
        if not spec.secure_channel:
            return Outcome.REFUSED_BY_DEVICE
        if self._port is None:
            return Outcome.NOT_SENT
        peripheral.arm(asyncio.get_running_loop().time(), min(order.seconds, FAR_S))
        self._port.turn()
        return Outcome.EXECUTED

    async def _set_key(self, inlet: Inlet, peripheral: Peripheral) -> None:
        """Make a key, store it beside the one that the reader has, and only then let it leave."""
        device = self._devices[peripheral.address]
        key: bytes | None = self._make_key(16)
        if key is not None and patterned(key):
            inlet.report(Fact(Notice.WEAK_KEY, device.id, "a new key could be guessed: it was not used"))
            key = None
        async with self._writing[peripheral.address]:
            known = peripheral.keyring.current  # that it was proven may not have been written yet
            try:
                if key is not None:
                    await self._ctx.keys.put(device.id, {FRESH: key} | ({CURRENT: known} if known else {}))
            except StoreError as error:
                inlet.report(Fact(Notice.DEVICE_FAULT, device.id, f"no key was set: {error.word}"))
                key = None
            peripheral.install(key, asyncio.get_running_loop().time())
        if self._port is not None:
            self._port.turn()

    async def _keep_keys(self, peripheral: Peripheral) -> None:
        """Write down which keys the reader has now. If that fails, both are still there, and both are tried."""
        device, keyring = self._devices[peripheral.address], peripheral.keyring
        async with self._writing[peripheral.address]:
            try:
                await self._ctx.keys.put(device.id, {CURRENT: keyring.current, FRESH: keyring.fresh})
            except StoreError as error:
                voice = self._voices[peripheral.address]
                if voice.inlet is not None:
                    detail = f"a proven key was not written: {error.word}"
                    voice.inlet.report(Fact(Notice.DEVICE_FAULT, device.id, detail))

    # what happened

    def _drain(self, inlet: Inlet) -> None:
        """Pass on what the bus has to say."""
        now = asyncio.get_running_loop().time()
        for address, peripheral in self.bus.peripherals.items():
            while peripheral.events:
                self._happened(inlet, address, peripheral.events.popleft(), now)
        if self.bus.errors > self._errors and now - self._told_at >= FOLD_S:
            inlet.report(Fact(Notice.FRAME_ERROR, count=self.bus.errors - self._errors))
            self._errors, self._told_at = self.bus.errors, now

    def _happened(self, inlet: Inlet, address: int, event: Event, now: float) -> None:
        peripheral = self.bus.peripherals[address]
        match event:
            case KeyWanted():
                self._start(self._set_key(inlet, peripheral))
            case KeyProven() | KeyUnused():
                self._start(self._keep_keys(peripheral))
            case _:
                self._voices[address].take(event, now)

    async def _appear(self) -> None:
        """Tell the readers that did not come within a few seconds."""
        await asyncio.sleep(APPEAR_S)
        for address, peripheral in self.bus.peripherals.items():
            if not peripheral.usable:
                self._voices[address].missing("it does not answer" if not peripheral.present else "not to be trusted")

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and self._port is not None:
            self._port.fail(error)

    async def _end(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
