"""A serial QR reader on a pty: wall reader or scan engine, with its framings, triggers and faults."""

import asyncio
import tempfile
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lintel.simulators import ssi
from lintel.simulators.line import Line
from lintel.simulators.parts import Emit, JsonMap, Part, PartOptions, opt
from lintel.simulators.pictures import Code, look
from lintel.simulators.scanner_commands import Ask, CommandStream, Family

_SUFFIX = {
    "cr": b"\r", "lf": b"\n", "crlf": b"\r\n", "tab": b"\t", "stxetx": b"\x03", "none": b"", "acknak": b"\r",
    "ssi": b"\r",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ReaderOptions(PartOptions):
    """Options of a serial QR reader."""

    id: str = opt("qr-reader", "name of the reader in commands and events")
    link: str = opt("", "stable path of the port, as under /dev/serial/by-id; empty: in the temporary folder")
    framing: Literal["cr", "crlf", "lf", "tab", "stxetx", "none", "ssi", "acknak"] = opt(
        "crlf", "cr, crlf, lf, tab, stxetx, none, ssi or acknak"
    )
    baud: int = opt(9600, "line speed; 0 sends without delay, as USB-CDC does")
    prefix: str = opt("", "text before every code")
    aim: bool = opt(default=False, text="send the AIM identifier, e.g. ]Q1")
    no_read: str = opt("%%NoRead", "text sent when no code is found; empty: nothing")
    commands: Family = opt(  # noqa: RUF009  opt is dataclasses.field
        "zk", "command language: none, zk, newland, honeywell, cipherlab, keyence or opticon"
    )
    mode: Literal["continuous", "triggered"] = opt("continuous", "read at any time, or only after a trigger")
    read_time: float = opt(2.0, "seconds a trigger waits for a code")
    same_code: float = opt(1.0, "seconds between repeats while a code is held in front")
    answer_time: float = opt(2.0, "seconds to wait for the host's ACK (ssi, acknak)")
    retries: int = opt(3, "how often an unanswered code is sent again (ssi, acknak)")
    packeted: bool = opt(default=True, text="ssi: send packets; false: plain text until the host sets parameter EE")


class SerialReader(Part):
    """The reader. Its commands are the methods `do_*`; event `scanned` tells when a code left it (never which)."""

    kind = "qr-reader"
    options_class = ReaderOptions

    def __init__(self, options: ReaderOptions, emit: Emit) -> None:
        super().__init__(options, emit)
        self._options = options
        link = Path(options.link) if options.link else Path(tempfile.gettempdir()) / f"lintel-{options.id}"
        self._line = Line(link, options.baud, self._received, self._port_opened)
        self._sending = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._front: Code | None = None
        self._armed_until = 0.0
        self._triggered = options.mode == "triggered"
        self._same_code = options.same_code
        self._enabled = True
        self._packeted = options.packeted
        self._answer: asyncio.Future[bool] | None = None
        self._new_streams()

    def _new_streams(self) -> None:
        self._requests = CommandStream(self._options.commands)
        self._packets = ssi.HostStream()

    async def run(self) -> None:
        """Be plugged in until cancelled."""
        await self.do_replug()
        try:
            await asyncio.Event().wait()
        finally:
            for task in self._tasks:
                task.cancel()
            self._line.unplug()

    async def typed(self, line: str) -> JsonMap:
        """A typed line is the text of a code held before the reader."""
        return await self.do_scan(text=line)

    async def do_scan(
        self, text: str | None = None, picture: str | None = None, png_base64: str | None = None, hold: float = 0.0
    ) -> JsonMap:
        """Hold a code (text or picture) in front of the reader for `hold` seconds; answers how often it was sent."""
        code = Code(text.encode()) if text else await asyncio.to_thread(look, text, picture, png_base64)
        end = time.monotonic() + hold
        sent = 0
        self._front = code
        try:
            while True:
                if self._enabled and (not self._triggered or self._armed):
                    self._armed_until = 0.0
                    sent += await self._report(code)
                rest = end - time.monotonic()
                if rest <= 0 or not self._line.plugged:
                    return {"sent": sent, "found": code is not None}
                await asyncio.sleep(min(rest, self._same_code if not self._triggered else 0.02))
        finally:
            self._front = None

    async def do_half(self, text: str) -> JsonMap:
        """Send the first half of the frame of a code, without end mark; the rest never comes."""
        frame = self._frame(Code(text.encode()))
        async with self._sending:
            return {"heard": await self._line.send(frame[: max(1, len(frame) // 2)])}

    async def do_garbage(self, hex: str) -> JsonMap:  # noqa: A002  the JSON name
        """Send raw bytes, given in hex: line noise."""
        async with self._sending:
            return {"heard": await self._line.send(bytes.fromhex(hex))}

    async def do_unplug(self) -> None:
        """Pull the cable: the link goes, the open port breaks, a code on its way is cut off."""
        self._line.unplug()
        self.emit("unplugged")

    async def do_replug(self) -> JsonMap:
        """Plug in again: a new port under the same link. Settings are back to those of the start."""
        self._new_streams()
        self._packeted = self._options.packeted
        self._triggered = self._options.mode == "triggered"
        self._enabled = True
        port = self._line.plug()
        where = {"link": str(self._line.link), "port": port}
        self.emit("ready", **where)
        return where

    async def do_status(self) -> JsonMap:
        """Whether the reader is plugged in and the host has the port open."""
        mode = "triggered" if self._triggered else "continuous"
        return {"plugged": self._line.plugged, "open": self._line.open, "mode": mode, "enabled": self._enabled}

    # What the host asks.

    @property
    def _armed(self) -> bool:
        return time.monotonic() < self._armed_until

    def _received(self, data: bytes) -> None:
        if self._options.framing == "ssi":
            for packet in self._packets.feed(data):
                self._packet(packet)
            return
        if self._options.framing == "acknak" and self._answer is not None:
            for byte in data:
                if byte in (0x06, 0x15) and not self._answer.done():
                    self._answer.set_result(byte == 0x06)
        for request in self._requests.feed(data):
            if request.answer:
                self._start(self._send_raw(request.answer))
            self._act(request.ask, request.value)

    def _port_opened(self, now: bool) -> None:  # noqa: FBT001
        self.emit("attached" if now else "detached")

    def _act(self, ask: Ask, value: int = 0) -> None:
        self.emit("asked", what=str(ask))
        if ask in (Ask.START, Ask.RESTART):
            self._armed_until = time.monotonic() + self._options.read_time
            self._start(self._read_now())
        elif ask is Ask.STOP:
            self._armed_until = 0.0
        elif ask in (Ask.ENABLE, Ask.DISABLE):
            self._enabled = ask is Ask.ENABLE
        elif ask in (Ask.TRIGGERED, Ask.AUTO_SENSE):
            self._triggered = ask is Ask.TRIGGERED
        elif ask is Ask.SAME_CODE_MS:
            self._same_code = value / 1000

    def _packet(self, packet: ssi.Packet) -> None:
        waiting = self._answer is not None and not self._answer.done()
        if packet.good and packet.op in (ssi.Op.ACK, ssi.Op.NAK):
            if self._answer is not None and waiting:
                self._answer.set_result(packet.op == ssi.Op.ACK)
            return
        known = packet.op in {int(op) for op in ssi.Op} - {ssi.Op.DECODE_DATA, ssi.Op.REPLY_REVISION}
        if not packet.good or not known:
            reason = ssi.Nak.UNDEFINED if packet.good else ssi.Nak.CHECKSUM
            self._start(self._send_raw(ssi.encode(ssi.Op.NAK, bytes((reason,)))))
            return
        if packet.op == ssi.Op.REQUEST_REVISION:
            self._start(self._send_raw(ssi.encode(ssi.Op.REPLY_REVISION, b"LINTEL-SIM 1")))
            return
        self._start(self._send_raw(ssi.encode(ssi.Op.ACK)))
        if packet.op == ssi.Op.PARAM_SEND and packet.data[1:2] == b"\xee":  # decode data packet format
            self._packeted = packet.data[2:3] == b"\x01"
        asks = {ssi.Op.START_SESSION: Ask.START, ssi.Op.STOP_SESSION: Ask.STOP}
        asks |= {ssi.Op.SCAN_ENABLE: Ask.ENABLE, ssi.Op.SCAN_DISABLE: Ask.DISABLE}
        if packet.op in asks:
            self._act(asks[ssi.Op(packet.op)])

    async def _read_now(self) -> None:
        until = self._armed_until
        if self._front is not None:
            return  # the scan in progress sees that the reader is armed
        await asyncio.sleep(max(0.0, until - time.monotonic()))
        if self._armed_until == until and self._enabled:
            self._armed_until = 0.0
            await self._report(None)

    # What leaves the reader.

    def _frame(self, code: Code) -> bytes:
        aim = code.aim.encode() if self._options.aim else b""
        text = self._options.prefix.encode() + aim + code.data
        if self._options.framing == "ssi" and self._packeted:
            return ssi.encode(ssi.Op.DECODE_DATA, bytes((ssi.QR_CODE,)) + text[: ssi.MAX_TEXT])
        start = b"\x02" if self._options.framing == "stxetx" else b""
        return start + text + _SUFFIX[self._options.framing]

    async def _report(self, code: Code | None) -> int:
        if code is None:
            if self._options.no_read and not (self._options.framing == "ssi" and self._packeted):
                await self._send_raw(self._options.no_read.encode() + _SUFFIX[self._options.framing])
            self.emit("no_read")
            return 0
        async with self._sending:
            start = time.monotonic()
            if self._options.framing == "ssi" and self._packeted:
                return await self._send_packets(code, start)
            frame = self._frame(code)
            if self._options.framing == "acknak":
                return await self._send_answered([frame] * (1 + self._options.retries), start)
            if not await self._line.send(frame):
                self.emit("unheard")
                return 0
            self.emit("scanned", t0=start, bytes=len(frame))
            return 1

    async def _send_packets(self, code: Code, start: float) -> int:
        aim = code.aim.encode() if self._options.aim else b""
        text = self._options.prefix.encode() + aim + code.data
        chunks = [text[i : i + ssi.MAX_TEXT] for i in range(0, len(text), ssi.MAX_TEXT)]
        sent = 0
        for chunk in chunks:
            status = 0 if chunk is chunks[-1] else ssi.CONTINUES
            body = bytes((ssi.QR_CODE,)) + chunk
            first = ssi.encode(ssi.Op.DECODE_DATA, body, status)
            again = ssi.encode(ssi.Op.DECODE_DATA, body, status | ssi.RETRANSMIT)
            sent = await self._send_answered([first] + [again] * self._options.retries, start)
            if not sent:
                return 0
        return sent

    async def _send_answered(self, attempts: list[bytes], start: float) -> int:
        """Send until the host says ACK; 1 when it did, else 0."""
        for number, frame in enumerate(attempts, 1):
            self._answer = asyncio.get_running_loop().create_future()
            try:
                if not await self._line.send(frame):
                    self.emit("unheard")
                    return 0
                self.emit("scanned", t0=start, bytes=len(frame), attempt=number)
                good = await asyncio.wait_for(self._answer, self._options.answer_time)
            except TimeoutError:
                good = False
            finally:
                self._answer = None
            if good:
                self.emit("acknowledged", attempt=number)
                return 1
        self.emit("unacknowledged", attempts=len(attempts))
        return 0

    async def _send_raw(self, data: bytes) -> None:
        # An answer to a command goes out at once, also while a code waits for its ACK.
        await self._line.send(data)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
