"""What every simulated Bluetooth lock has: a motor with a ledger, a door, a GATT server, advertisements.

A lock needs a Bluetooth controller: one of this machine (`transport`, in bumble's words), or a radio in the same
process: `await lock.appear(air)`.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass, field
from typing import ClassVar, Literal

from bumble import hci
from bumble.core import BaseBumbleError
from bumble.device import Connection, Device
from bumble.gatt import Characteristic, CharacteristicValue, Service
from bumble.transport import open_transport

from lintel.simulators.ble_air import Air
from lintel.simulators.parts import Emit, JsonMap, Part, PartOptions, SimulatorError, opt

Bolt = Literal["unknown", "locked", "unlocking", "unlocked", "locking", "unlatching", "unlatched", "jammed"]
Action = Literal["lock", "unlock", "unlatch"]
MOVES: dict[Action, tuple[Bolt, Bolt]] = {
    "lock": ("locking", "locked"),
    "unlock": ("unlocking", "unlocked"),
    "unlatch": ("unlatching", "unlatched"),
}


@dataclass(frozen=True, slots=True)
class LockOptions(PartOptions):
    """Options of every Bluetooth lock."""

    id: str = opt("lock-1", "name of the lock in commands and events")
    address: str = opt("C4:64:E3:00:00:01", "its Bluetooth address (random static)")
    name: str = opt("Lock", "name that it advertises")
    transport: str = opt("", "Bluetooth controller in bumble's words, e.g. hci-socket:0, usb:0, tcp-client:HOST:PORT")
    interval: float = opt(100.0, "milliseconds between advertisements")
    travel: float = opt(0.02, "seconds that the motor turns")
    hold: float = opt(0.3, "seconds that the latch is held back where an order does not say")
    auto_lock: float = opt(0.0, "seconds after which an unlocked bolt locks by itself (Nuki, Yale); 0: never")
    battery: int = opt(85, "battery, %")
    door: Literal["none", "closed", "open"] = opt("closed", "door sensor: none, closed or open")


@dataclass(frozen=True, slots=True)
class Turn:
    """One movement of the motor. `source` is who asked: the id of a command, or a hand."""

    n: int
    t: float
    action: str
    source: str
    jammed: bool


@dataclass
class Motor:
    """The bolt and its motor; `turns` is the truth of how often it moved.

    It is driven for each order, also where the bolt is there already: a second order is seen.
    """

    travel: float
    hold: float
    changed: Callable[[], None]
    bolt: Bolt = "locked"
    jammed: bool = False
    busy: bool = False
    turns: list[Turn] = field(default_factory=list)
    returns: int = 0
    """How often it went back by itself."""
    _return: asyncio.TimerHandle | None = None

    async def drive(self, action: Action, source: str, hold: float = 0.0) -> bool:
        """Turn; False where it jams. With `hold` s an unlocked bolt goes back by itself; a latch always falls back."""
        self.turns.append(Turn(len(self.turns) + 1, time.monotonic(), action, source, self.jammed))
        self._cancel_return()
        self.busy = True
        try:
            going, there = MOVES[action]
            self._show(going)
            await asyncio.sleep(self.travel)
            self._show("jammed" if self.jammed else there)
        finally:
            self.busy = False
        loop = asyncio.get_running_loop()
        if there == "unlatched" and not self.jammed:
            self._return = loop.call_later(hold or self.hold, self._go_back, "unlatched", "unlocked")
        elif there == "unlocked" and hold and not self.jammed:
            self._return = loop.call_later(hold, self._go_back, "unlocked", "locking")
        return not self.jammed

    def by_hand(self, bolt: Bolt) -> None:
        """Somebody turns the knob."""
        self._cancel_return()
        self._show(bolt)

    def _go_back(self, where: Bolt, to: Bolt) -> None:
        if self.bolt == where and not self.busy:
            self._show(to)
            if to == "locking":
                self.returns += 1
                loop = asyncio.get_running_loop()
                self._return = loop.call_later(self.travel, self._go_back, "locking", "locked")

    def _cancel_return(self) -> None:
        if self._return is not None:
            self._return.cancel()

    def _show(self, bolt: Bolt) -> None:
        if bolt != self.bolt:
            self.bolt = bolt
            self.changed()


class Link:
    """One connection of a central. What the lock sends goes out in order, one value at a time."""

    def __init__(self, device: Device, connection: Connection) -> None:
        self.connection = connection
        self.up = True
        self._device = device
        self._queue: asyncio.Queue[tuple[Characteristic[bytes], bytes] | None] = asyncio.Queue()
        self._sender = asyncio.get_running_loop().create_task(self._send_all())

    @property
    def payload(self) -> int:
        """Most bytes in one notification."""
        return int(self.connection.att_mtu) - 3

    def send(self, characteristic: Characteristic[bytes], value: bytes) -> None:
        """Notify or indicate, whichever the characteristic has."""
        self._queue.put_nowait((characteristic, value))

    def hang_up(self) -> None:
        """Disconnect after what is queued."""
        self._queue.put_nowait(None)

    def lost(self) -> None:
        """The connection is gone."""
        self.up = False
        self._sender.cancel()

    async def _send_all(self) -> None:
        indicates = Characteristic.Properties.INDICATE
        # What a lost link leaves unsent is lost, as on a real one.
        with contextlib.suppress(BaseBumbleError, TimeoutError, hci.HCI_Error):
            while (item := await self._queue.get()) is not None:
                characteristic, value = item
                if characteristic.properties & indicates:
                    await self._device.indicate_subscriber(self.connection, characteristic, value)
                else:
                    await self._device.notify_subscriber(self.connection, characteristic, value)
            await self.connection.disconnect()


class BleLock(Part):
    """A lock. Events: `connected`, `disconnected`, `bolt` (its new state), and those of the kind."""

    options_class: ClassVar[type[PartOptions]] = LockOptions

    def __init__(self, options: LockOptions, emit: Emit) -> None:
        super().__init__(options, emit)
        self.options = options
        self.motor = Motor(options.travel, options.hold, self._bolt_moved)
        self.door: str = options.door
        self.battery = options.battery
        self.device: Device | None = None
        self.links: dict[Connection, Link] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # What a kind of lock says.

    def services(self) -> list[Service]:
        """Its GATT services, made new at each start."""
        raise NotImplementedError

    def advertisement(self) -> tuple[bytes, bytes]:
        """Advertising data and scan response, at most 31 bytes each."""
        raise NotImplementedError

    def connected(self, link: Link) -> None:
        """A central has connected."""

    def disconnected(self, link: Link) -> None:
        """It is gone."""

    def moved(self) -> None:
        """The bolt or the door has changed."""

    # Life.

    async def run(self) -> None:
        """Live on the controller of this machine until cancelled."""
        transport = getattr(self.options, "transport", "")
        if not transport:
            raise SimulatorError("a Bluetooth lock needs a controller: --transport hci-socket:0 (or usb:0, ...)")
        async with await open_transport(transport) as controller:
            address = hci.Address(self.options.address)
            await self.switch_on(Device.with_hci(self.id, address, controller.source, controller.sink))
            await controller.source.wait_for_termination()

    async def appear(self, air: Air) -> None:
        """Live on a radio in this process."""
        await self.switch_on(air.device(self.id, self.options.address))

    async def switch_on(self, device: Device) -> None:
        """Serve and advertise."""
        self.device = device
        for service in self.services():
            device.add_service(service)
        device.on("connection", self._connection)
        await device.power_on()
        await self.advertise()
        self.emit("ready", address=self.options.address)

    async def advertise(self) -> None:
        """Advertise what is now to be said; goes on by itself after each connection."""
        if self.device is None or self.links:
            return
        data, answer = self.advertisement()
        pause = self.options.interval
        await self.device.start_advertising(
            auto_restart=True, advertising_data=data, scan_response_data=answer,
            advertising_interval_min=pause, advertising_interval_max=pause,
        )  # fmt: skip

    async def power_off(self) -> None:
        """The battery is out."""
        for task in list(self._tasks):
            task.cancel()
        if self.device is not None:
            with contextlib.suppress(Exception):
                await self.device.power_off()

    def start(self, work: Coroutine[object, object, None]) -> None:
        """Do something that outlives the connection which asked for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def characteristic(
        self, uuid: str, properties: Characteristic.Properties, write: Callable[[Link, bytes], None] | None = None,
        read: Callable[[], bytes] | None = None,
    ) -> Characteristic[bytes]:  # fmt: skip
        """A characteristic; `write` gets the link and the bytes."""

        def written(connection: Connection, value: bytes) -> None:
            link = self.links.get(connection)
            if link is not None and write is not None:
                write(link, bytes(value))

        def asked(_connection: Connection) -> bytes:
            return b"" if read is None else read()

        rights = Characteristic.Permissions.READABLE | Characteristic.Permissions.WRITEABLE
        return Characteristic(uuid, properties, rights, CharacteristicValue(read=asked, write=written))

    def _connection(self, connection: Connection) -> None:
        if self.device is None:
            return
        link = self.links[connection] = Link(self.device, connection)
        connection.on("disconnection", lambda _reason: self._gone(connection))
        self.emit("connected", peer=str(connection.peer_address))
        self.connected(link)

    def _gone(self, connection: Connection) -> None:
        link = self.links.pop(connection, None)
        if link is not None:
            link.lost()
            self.emit("disconnected")
            self.disconnected(link)

    def _bolt_moved(self) -> None:
        self.emit("bolt", bolt=self.motor.bolt)
        self.moved()

    # Commands.

    async def do_ledger(self) -> JsonMap:
        """How often the motor moved, and why."""
        turns = [asdict(turn) for turn in self.motor.turns]
        return {
            "turns": len(turns),
            "movements": turns,
            "returns": self.motor.returns,
            "bolt": self.motor.bolt,
            "door": self.door,
        }

    async def do_door(self, state: str = "open") -> None:
        """The leaf is now open or closed."""
        self.door = state
        self.moved()

    async def do_hand(self, bolt: Bolt = "unlocked") -> None:
        """Somebody turns the knob inside."""
        self.motor.by_hand(bolt)

    async def do_jam(self, *, jammed: bool = True) -> None:
        """The bolt runs against its plate."""
        self.motor.jammed = jammed

    async def do_battery(self, percent: int) -> None:
        """The battery has this much left."""
        self.battery = percent
        self.moved()
