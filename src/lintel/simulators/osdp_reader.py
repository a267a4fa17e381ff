"""An OSDP reader on a pty: a card and PIN reader with lights, a beeper, a relay, inputs and a tamper switch.

Readers of one process with the same link are on one multi-drop line.
"""

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from lintel.simulators.osdp_bus import Station, left, shared
from lintel.simulators.osdp_pd import Lie, Peripheral, Settings
from lintel.simulators.osdp_wire import Say
from lintel.simulators.parts import Emit, JsonMap, Part, PartOptions, SimulatorError, opt


def wiegand26(facility: int, number: int) -> bytes:
    """The 26 bits of a card: even parity, facility 8, number 16, odd parity; left-aligned in 4 bytes."""
    body = (facility & 0xFF) << 16 | number & 0xFFFF
    even = (body >> 12).bit_count() & 1
    odd = 1 - ((body & 0xFFF).bit_count() & 1)
    return ((even << 25 | body << 1 | odd) << 6).to_bytes(4, "big")


def digits(text: str) -> bytes:
    """Keys as a reader sends them: `*` is 7F, `#` is 0D."""
    if not set(text) <= set("0123456789*#"):
        raise SimulatorError("keys are 0 to 9, * and #")
    return text.translate({ord("*"): 0x7F, ord("#"): 0x0D}).encode()


@dataclass(frozen=True, slots=True)
class OsdpOptions(PartOptions):
    """Options of an OSDP reader."""

    id: str = opt("osdp-reader", "name of the reader in commands and events")
    link: str = opt("", "stable path of the port, as under /dev/serial/by-id; empty: in the temporary folder")
    baud: int = opt(9600, "line speed; 0 takes no time")
    address: int = opt(0, "address on the line, 0 to 126")
    key: str = opt("", "its own key (SCBK), 32 hex digits; empty: it has only the default key")
    install: bool = opt(default=False, text="install mode: takes the default key and a new key (KEYSET)")
    enforce: bool = opt(default=True, text="without a secure channel it answers ID and CAP only")
    serial: int = opt(0x12345678, "serial number; part of its cUID")
    turnaround: float = opt(0.002, "seconds between a command's end and the reply's begin")


class OsdpReader(Part):
    """The reader. Its commands are the methods `do_*`; `scanned` tells when a card or keys left it (never which)."""

    kind = "osdp-reader"
    options_class = OsdpOptions

    def __init__(self, options: OsdpOptions, emit: Emit) -> None:
        super().__init__(options, emit)
        link = Path(options.link) if options.link else Path(tempfile.gettempdir()) / f"lintel-{options.id}"
        if not 0 <= options.address <= 0x7E:
            raise SimulatorError("address is 0 to 126")
        try:
            key = bytes.fromhex(options.key) or None
        except ValueError:
            key = b""
        if key is not None and len(key) != 16:
            raise SimulatorError("key is 32 hex digits")
        settings = Settings(options.address, key, options.install, options.enforce, serial=options.serial)
        self.ledger: list[JsonMap] = []
        self.pd = Peripheral(settings, self._told)
        self._bus = shared(link, options.baud, self._port_opened)
        self._station = Station(self._bus, self.pd, options.turnaround)

    async def run(self) -> None:
        """Be on the line until cancelled."""
        line = self._bus.panel.line
        if not line.plugged:
            self._bus.plug()
        self.emit("ready", link=str(line.link), address=self.pd.settings.address)
        try:
            await asyncio.Event().wait()
        finally:
            if self._bus.leave(self._station):
                left(self._bus)

    async def typed(self, line: str) -> JsonMap:
        """A typed line is a card (`FACILITY-NUMBER`, or its bits in hex), or keys that end with #."""
        if line.endswith("#"):
            return await self.do_keypad(line)
        facility, dash, number = line.partition("-")
        if dash and facility.isascii() and number.isascii() and facility.isdigit() and number.isdigit():
            return await self.do_card(facility=int(facility), number=int(number))
        return await super().typed(line) if hasattr(self, f"do_{line}") else await self.do_card(data=line)

    def _told(self, event: str, **fields: object) -> None:
        self.ledger.append({"event": event, "t": time.monotonic(), **fields})
        del self.ledger[:-10_000]
        self.emit(event, **fields)

    def _port_opened(self, now: bool) -> None:  # noqa: FBT001
        self.emit("attached" if now else "detached")

    def _queue(self, say: Say, data: bytes, *, told: str = "") -> None:
        if not self._station.powered:
            raise SimulatorError("the reader is off")
        start = time.monotonic()

        def gone() -> None:
            if told:
                self.emit(told, t0=start, secure=self.pd.secure)

        self.pd.queue.append((say, data, gone))

    async def do_card(
        self,
        data: str = "",
        bits: int = 0,
        facility: int | None = None,
        number: int = 0,
        format: int = 1,  # noqa: A002
    ) -> JsonMap:
        """Hold a card in front: `data` in hex (all its bits, or the first `bits`), or facility and number (26 bits)."""
        raw, count = (bytes.fromhex(data), bits) if facility is None else (wiegand26(facility, number), 26)
        count = count or 8 * len(raw)
        if not 0 < count <= 8 * len(raw) <= 8 * 64:
            raise SimulatorError("a card has 1 to 512 bits, and data for all of them")
        self._queue(Say.RAW, bytes((0, format)) + count.to_bytes(2, "little") + raw, told="scanned")
        return {"bits": count}

    async def do_formatted(self, text: str) -> None:
        """A card as digits (FMT), as old readers send it."""
        self._queue(Say.FMT, bytes((0, 0, len(text))) + text.encode("ascii"), told="scanned")

    async def do_keypad(self, keys: str) -> JsonMap:
        """Press keys."""
        self._queue(Say.KEYPAD, bytes((0, len(keys))) + digits(keys), told="scanned")
        return {"keys": len(keys)}

    async def do_tamper(self, on: bool = True) -> None:  # noqa: FBT001, FBT002  the JSON name
        """Open the cover, or close it."""
        self.pd.unit.tamper = int(on)
        self._queue(Say.LSTATR, bytes((self.pd.unit.tamper, self.pd.unit.power)))

    async def do_power_failure(self, on: bool = True) -> None:  # noqa: FBT001, FBT002
        """The reader's supply fails and it runs on its battery, or is back."""
        self.pd.unit.power = int(on)
        self._queue(Say.LSTATR, bytes((self.pd.unit.tamper, self.pd.unit.power)))

    async def do_input(self, number: int = 0, on: bool = True) -> None:  # noqa: FBT001, FBT002
        """Close a contact, or open it."""
        self.pd.unit.inputs[number] = int(on)
        self._queue(Say.ISTATR, bytes(self.pd.unit.inputs))

    async def do_power_off(self) -> None:
        """Take the reader's power: it forgets its session, and what was not fetched."""
        self.pd.queue.clear()
        self._station.power(on=False)

    async def do_power_on(self) -> None:
        """Give it power again."""
        self._station.power(on=True)

    async def do_unplug(self) -> None:
        """Pull the panel's adapter out: the link goes for all readers of this line."""
        self._bus.cut()
        self.emit("unplugged")

    async def do_replug(self) -> JsonMap:
        """Plug it in again: a new port under the same link."""
        return {"link": str(self._bus.panel.line.link), "port": self._bus.plug()}

    async def do_lie(self, what: str, on: bool = True) -> JsonMap:  # noqa: FBT001, FBT002
        """Be hostile or broken in one of the ways of `Lie`, or no longer."""
        try:
            lie = Lie(what)
        except ValueError:
            raise SimulatorError(f"a lie is one of {', '.join(Lie)}") from None
        (self.pd.lies.add if on else self.pd.lies.discard)(lie)
        return {"lies": sorted(self.pd.lies)}

    async def do_install(self) -> None:
        """Reset it by its button: its key is gone, it waits for a new one."""
        self.pd.settings.key, self.pd.settings.install = None, True
        self.pd.forget()

    async def do_busy(self, times: int = 1) -> None:
        """Answer the next commands with BUSY."""
        self.pd.busy = times

    async def do_status(self) -> JsonMap:
        """What it is in."""
        now, unit = time.monotonic(), self.pd.unit
        return {
            "plugged": self._bus.panel.line.plugged,
            "open": self._bus.panel.line.open,
            "powered": self._station.powered,
            "secure": self.pd.secure,
            "install": self.pd.settings.install,
            "outputs": [output.on(now) for output in unit.outputs],
        }

    async def do_ledger(self) -> JsonMap:
        """All that it was told to do, oldest first."""
        return {"ledger": list(self.ledger)}
