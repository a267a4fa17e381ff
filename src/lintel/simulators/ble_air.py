"""Bluetooth LE in one process: bumble's controllers on one emulated radio, whose faults can be chosen.

Both ends run a whole host stack (HCI, L2CAP, ATT, GATT); only the radio between them is emulated. What crosses it
can be seen (`taps`), changed (`edits`), held up (`slow`), lost together with the link (`cut`); a device can leave.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from bumble import att, core, hci, ll
from bumble.controller import Connection as Leg
from bumble.controller import Controller
from bumble.device import Device
from bumble.link import LocalLink
from bumble.transport.common import AsyncPipeSink, TransportSink, TransportSource

__all__ = ["Air", "Cut", "Pdu", "le_address"]

_LOST = hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR
_NOT_ESTABLISHED = 0x3E
_OPS = {
    0x08: "find", 0x0A: "read", 0x0B: "read_answer", 0x12: "write", 0x13: "write_answer", 0x52: "command",
    0x1B: "notify", 0x1D: "indicate", 0x1E: "confirm", 0x01: "error",
}  # fmt: skip


def le_address(address: hci.Address | str) -> str:
    """An address as bleak writes it: upper case, no type."""
    return str(address.to_string(with_type_qualifier=False) if isinstance(address, hci.Address) else address).upper()


@dataclass(frozen=True, slots=True)
class Pdu:
    """One ATT message on the radio. `op` is write, write_answer, command, read, read_answer, notify, indicate, ...

    `address` is the peripheral's; `uuid` the attribute's (of a characteristic, or 2902 for its switch), "" where an
    answer names none.
    """

    address: str
    op: str
    uuid: str
    value: bytes = field(repr=False)


@dataclass(slots=True)
class Cut:
    """The link is lost at the `nth` message `op` of one attribute: before it arrives, or right after (`arrives`)."""

    address: str
    op: str
    uuid: str = ""
    nth: int = 1
    arrives: bool = False
    seen: int = 0
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def strikes(self, pdu: Pdu) -> bool:
        """Whether the link is lost at this message."""
        if self.done.is_set() or (pdu.address, pdu.op) != (self.address, self.op) or self.uuid not in ("", pdu.uuid):
            return False
        self.seen += 1
        if self.seen < self.nth:
            return False
        self.done.set()
        return True


class AirController(Controller):
    """bumble's controller with signal strength, scan responses and a connection attempt that can be given up."""

    # Legacy advertising as most locks do it: 31 bytes, and 31 more on request.
    le_features = Controller.le_features & ~hci.LeFeatureMask.LE_EXTENDED_ADVERTISING
    air: "Air"
    wanted: dict[str, list[asyncio.Future[None]]]

    def on_advertising_pdu(self, pdu: ll.AdvInd | ll.AdvExtInd) -> None:
        """Report an advertisement with its scan response, and connect where that is wanted."""
        address = le_address(pdu.advertiser_address)
        if self.le_scan_enable:
            source = self.air.radios.get(address)
            answer = b"" if source is None else source.le_legacy_advertiser.scan_response_data
            kinds = hci.HCI_LE_Advertising_Report_Event.EventType
            for kind, data in ((kinds.ADV_IND, pdu.data), (kinds.SCAN_RSP, answer)):
                report = hci.HCI_LE_Advertising_Report_Event.Report(
                    event_type=kind, address_type=pdu.advertiser_address.address_type, address=pdu.advertiser_address,
                    data=data, rssi=self.air.rssi.get(address, -55),
                )  # fmt: skip
                self.send_hci_packet(hci.HCI_LE_Advertising_Report_Event([report]))
        for heard in self.wanted.pop(address, ()):
            if not heard.done():
                heard.set_result(None)
        pending = self.pending_le_connection
        if pending is not None and pending.peer_address == pdu.advertiser_address:
            self.create_le_connection(pdu.advertiser_address)

    def on_hci_le_create_connection_cancel_command(
        self, command: hci.HCI_LE_Create_Connection_Cancel_Command
    ) -> hci.HCI_StatusReturnParameters:
        """Give up; bumble's own controller leaves the attempt pending for ever."""
        del command
        pending, self.pending_le_connection = self.pending_le_connection, None
        if pending is not None:
            self.send_hci_packet(
                hci.HCI_LE_Connection_Complete_Event(
                    status=hci.HCI_ErrorCode.UNKNOWN_CONNECTION_IDENTIFIER_ERROR, connection_handle=0,
                    role=hci.Role.CENTRAL, peer_address_type=pending.peer_address.address_type,
                    peer_address=pending.peer_address, connection_interval=0, peripheral_latency=0,
                    supervision_timeout=0, central_clock_accuracy=0,
                )
            )  # fmt: skip
        return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.SUCCESS)


class Air(LocalLink):
    """The radio, with one adapter of a gateway on it. `async with Air() as air:`

    `air.client_backend` and `air.scanner_backend` are what bleak's `backend=` takes. `interval` s is added to each
    message in each direction, as the wait for a connection event would; `slots` is how many links an adapter can hold.
    """

    def __init__(self, *, interval: float = 0.0, slots: int = 32) -> None:
        from lintel.simulators.ble_backend import Adapter  # noqa: PLC0415  it needs this module

        super().__init__()  # type: ignore[no-untyped-call]
        logging.getLogger("bumble").setLevel(logging.CRITICAL)  # it warns of each message that a cut link lost
        self.interval = interval
        self.radios: dict[str, AirController] = {}
        self.rssi: dict[str, int] = {}
        self.away: set[str] = set()
        self.silent: set[str] = set()
        self.slow: dict[str, float] = {}
        self.cuts: list[Cut] = []
        self.taps: list[Callable[[Pdu], None]] = []
        self.edits: list[Callable[[Pdu], Sequence[bytes] | None]] = []
        self._devices: list[Device] = []
        self._asked: dict[int, str] = {}
        self._free_at: dict[int, float] = {}
        self._ending: dict[int, Leg] = {}
        self.adapter = Adapter(self, "F0:00:00:00:00:01", slots)
        self.client_backend = self.adapter.client_backend
        self.scanner_backend = self.adapter.scanner_backend

    async def __aenter__(self) -> Self:
        """Switch the adapter on."""
        await self.adapter.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Switch everything off."""
        for device in self._devices:
            with contextlib.suppress(Exception):
                await device.power_off()
        for controller in self.radios.values():
            controller.le_legacy_advertiser.stop()
            controller.terminated.cancel()
        await asyncio.sleep(0)

    def controller(
        self, name: str, address: str, source: TransportSource | None = None, sink: TransportSink | None = None
    ) -> AirController:
        """A controller on this radio. `source` and `sink`: the host that drives it from another process."""
        controller = AirController(name, source, sink, link=self)
        controller.air, controller.wanted = self, {}
        self.radios[le_address(address)] = controller
        return controller

    def device(self, name: str, address: str) -> Device:
        """A device on this radio, switched off: `await device.power_on()` after its services were added."""
        controller = self.controller(name, address)
        device = Device.with_hci(name, hci.Address(address), controller, AsyncPipeSink(controller))
        self._devices.append(device)
        return device

    # Faults.

    def cut(self, address: str, op: str, *, uuid: str = "", nth: int = 1, arrives: bool = False) -> Cut:
        """Lose the link at a message that is still to come; see Cut."""
        cut = Cut(le_address(address), op, uuid.lower(), nth, arrives)
        self.cuts.append(cut)
        return cut

    def drop(self, address: str) -> None:
        """Lose every link of a device now, as by a jammed radio: both ends see a supervision timeout."""
        controller = self.radios[le_address(address)]
        for leg in list(controller.le_connections.values()):
            self._lose(leg, _LOST)

    def leave(self, address: str) -> None:
        """The device is out of range from now on: its link is lost, nothing is heard of it."""
        self.away.add(le_address(address))
        self.drop(address)

    def back(self, address: str) -> None:
        """It is in range again, and heard."""
        self.away.discard(le_address(address))
        self.silent.discard(le_address(address))

    def mute(self, address: str) -> None:
        """Its advertisements are not heard; a link that is up stays."""
        self.silent.add(le_address(address))

    def _lose(self, leg: Leg, reason: int) -> None:
        other = self._other(leg)
        for end in (leg, other):
            self._ending.pop(id(end), None)
            if end is not None and end.controller.le_connections.get(end.peer_address) is end:
                end.controller.on_le_disconnected(end, reason)

    def _other(self, leg: Leg) -> Leg | None:
        far = self.radios.get(le_address(leg.peer_address))
        return None if far is None else far.le_connections.get(leg.self_address)

    # What crosses the radio.

    def find_le_controller(self, address: hci.Address) -> Controller | None:
        """The controller with this address."""
        return self.radios.get(le_address(address))

    def send_advertising_pdu(self, sender_controller: Controller, packet: ll.AdvertisingPdu) -> None:
        """Deliver to who listens, if the sender is in range."""
        loop = asyncio.get_running_loop()
        if isinstance(packet, ll.ConnectInd):
            loop.call_soon(self._connect, sender_controller, packet)
        elif isinstance(packet, ll.AdvInd):
            address = le_address(packet.advertiser_address)
            if address in self.away or address in self.silent:
                return
            for controller in self.radios.values():
                listens = controller.le_scan_enable or controller.wanted or controller.pending_le_connection
                if listens and controller is not sender_controller:
                    loop.call_soon(controller.on_ll_advertising_pdu, packet)

    def _connect(self, central: Controller, packet: ll.ConnectInd) -> None:
        address = le_address(packet.advertiser_address)
        peer = self.radios.get(address)
        if peer is not None and address not in self.away:
            peer.on_le_connect_ind(packet)
        leg = central.le_connections.get(packet.advertiser_address)
        if leg is not None and self._other(leg) is None:
            central.on_le_disconnected(leg, _NOT_ESTABLISHED)

    def send_acl_data(
        self,
        sender_controller: Controller,
        destination_address: hci.Address,
        transport: core.PhysicalTransport,
        data: bytes,
    ) -> None:
        """Deliver one L2CAP frame in order, unless the link is lost at it."""
        near = sender_controller.le_connections.get(destination_address)
        far = None if near is None else self._other(near)
        if near is None or far is None:
            return
        if id(near) in self._ending:
            return
        cut, frames = None, [data]
        if (pdu := self._understand(near, data)) is not None:
            for tap in self.taps:
                tap(pdu)
            cut = next((c for c in self.cuts if c.strikes(pdu)), None)
            for edit in self.edits if pdu.uuid else ():
                if (values := edit(pdu)) is not None:
                    frames = [(len(value) + 3).to_bytes(2, "little") + data[2:7] + value for value in values]
        if cut is not None:  # what is under way still arrives; nothing follows
            self._ending |= {id(near): near, id(far): far}
        peripheral = near if near.role == hci.Role.PERIPHERAL else far
        wait = self.interval + self.slow.get(le_address(peripheral.self_address), 0.0)
        what = frames if cut is None or cut.arrives else []
        loop = asyncio.get_running_loop()
        if not wait:
            loop.call_soon(self._arrive, far, transport, what, cut is not None)
        else:  # a later message never overtakes
            at = max(loop.time() + wait, self._free_at.get(id(far), 0.0) + 1e-6)
            self._free_at[id(far)] = at
            loop.call_at(at, self._arrive, far, transport, what, cut is not None)

    def _arrive(
        self,
        far: Leg,
        transport: core.PhysicalTransport,
        frames: Sequence[bytes],
        last: bool,  # noqa: FBT001
    ) -> None:
        if far.controller.le_connections.get(far.peer_address) is not far:
            return
        for data in frames:
            far.controller.on_link_acl_data(far.peer_address, transport, data)
        if last:
            self._lose(far, _LOST)

    def _understand(self, near: Leg, data: bytes) -> Pdu | None:
        if int.from_bytes(data[2:4], "little") != att.ATT_CID:
            return None
        central = near.role == hci.Role.CENTRAL
        peripheral = near.peer_address if central else near.self_address
        frame = data[4:]
        op = _OPS.get(frame[0], f"{frame[0]:02x}")
        uuid = ""
        if op in ("write", "command", "read", "notify", "indicate"):
            uuid = self._uuid(le_address(peripheral), int.from_bytes(frame[1:3], "little"))
        at = 3 if uuid else 1
        return Pdu(le_address(peripheral), op, uuid, frame[at:])

    def _uuid(self, address: str, handle: int) -> str:
        name = next((d for d in self._devices if le_address(d.random_address) == address), None)
        attribute = None if name is None else name.gatt_server.get_attribute(handle)
        return "" if attribute is None else _long(attribute.type)


def _long(uuid: core.UUID) -> str:
    text = uuid.to_hex_str("-").lower()
    return text if len(text) == 36 else f"{text.rjust(8, '0')}-0000-1000-8000-00805f9b34fb"
