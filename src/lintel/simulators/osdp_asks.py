"""What an OSDP reader has in its box: identity, outputs, inputs, lights, a beeper, a text line, tamper and power."""

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lintel.simulators.osdp_wire import Ask, Nak, Say

Answer = tuple[Say, bytes]
COLOURS = ("off", "red", "green", "amber", "blue", "magenta", "cyan", "white")


class Refused(Exception):
    """The command is answered with NAK."""

    def __init__(self, why: Nak) -> None:
        super().__init__(why)
        self.why = why


@dataclass(slots=True)
class Output:
    """A relay: its lasting state, and a passing one until a time."""

    lasting: bool = False
    passing: bool = False
    until: float = 0.0

    def on(self, now: float) -> bool:
        """Whether it is closed."""
        return self.passing if now < self.until else self.lasting


@dataclass(slots=True)
class Unit:
    """The box. `tell(event, **fields)` hears each thing that it is made to do."""

    vendor: bytes
    serial: int
    tell: Callable[..., None]
    outputs: list[Output] = field(default_factory=lambda: [Output(), Output()])
    inputs: list[int] = field(default_factory=lambda: [0, 0])
    tamper: int = 0
    power: int = 0

    @property
    def identity(self) -> bytes:
        """The body of PDID: vendor, model 1, version 1, serial, firmware 1.0.0."""
        return self.vendor + b"\x01\x01" + self.serial.to_bytes(4, "little") + b"\x01\x00\x00"

    @property
    def capabilities(self) -> dict[int, tuple[int, int]]:
        """Function -> compliance and number, without function 9, which is about security."""
        return {
            1: (1, len(self.inputs)), 2: (1, len(self.outputs)), 3: (1, 1), 4: (1, 1), 5: (1, 1), 6: (1, 1),
            8: (1, 0), 10: (0, 1), 11: (0, 1), 13: (0, 1), 16: (2, 0),
        }  # fmt: skip

    def do(self, code: int, data: bytes) -> Answer:
        """Carry out one command. Raises Refused."""
        status: dict[int, Callable[[], Answer]] = {
            Ask.ID: lambda: (Say.PDID, self.identity),
            Ask.LSTAT: lambda: (Say.LSTATR, bytes((self.tamper, self.power))),
            Ask.ISTAT: lambda: (Say.ISTATR, bytes(self.inputs)),
            Ask.OSTAT: lambda: (Say.OSTATR, bytes(output.on(time.monotonic()) for output in self.outputs)),
            Ask.RSTAT: lambda: (Say.RSTATR, b"\0"),
        }
        orders: dict[int, Callable[[bytes], None]] = {
            Ask.OUT: self._out, Ask.LED: self._led, Ask.BUZ: self._buzz, Ask.TEXT: self._text,
        }  # fmt: skip
        if code in status:
            return status[code]()
        if code in orders:
            orders[code](data)
        elif code not in (Ask.ACURXSIZE, Ask.KEEPACTIVE, Ask.ABORT):
            raise Refused(Nak.UNKNOWN)
        return Say.ACK, b""

    def _buzz(self, data: bytes) -> None:
        if len(data) != 5:
            raise Refused(Nak.LENGTH)
        reader, tone, on, off, count = data
        self.tell("buzzer", reader=reader, tone=tone, on=on, off=off, count=count)

    def _out(self, data: bytes) -> None:
        if not data or len(data) % 4:
            raise Refused(Nak.LENGTH)
        records = list(struct.iter_unpack("<BBH", data))
        if any(number >= len(self.outputs) or not control <= 6 for number, control, _ in records):
            raise Refused(Nak.RECORD)
        now = time.monotonic()
        for number, control, ticks in records:
            output = self.outputs[number]
            if control in (1, 2, 3, 4):
                output.lasting = control in (2, 4)
                output.until = 0.0 if control in (1, 2) else output.until
            elif control in (5, 6):
                output.passing, output.until = control == 5, now + ticks / 10
            self.tell("output", output=number, control=control, seconds=ticks / 10, on=output.on(now))

    def _led(self, data: bytes) -> None:
        if not data or len(data) % 14:
            raise Refused(Nak.LENGTH)
        for reader, led, *passing, p_control, p_on, p_off, on_colour, off_colour in struct.iter_unpack(
            "<2B5BH5B", data
        ):
            control, _, _, *colours, ticks = passing
            if any(colour >= len(COLOURS) for colour in (*colours, on_colour, off_colour)):
                raise Refused(Nak.RECORD)
            if control == 2:
                self.tell("led", reader=reader, led=led, colour=COLOURS[colours[0]], seconds=ticks / 10)
            if p_control == 1:
                self.tell("led", reader=reader, led=led, colour=COLOURS[on_colour if p_on else off_colour], seconds=0)
            if control != 2 and p_control != 1:
                self.tell("led", reader=reader, led=led, cancelled=control == 1, blink=[p_on, p_off])

    def _text(self, data: bytes) -> None:
        if len(data) < 6 or len(data) != 6 + data[5]:
            raise Refused(Nak.LENGTH)
        reader, control, seconds, row, column, _ = data[:6]
        text = data[6:].decode("ascii", "replace")
        self.tell("text", reader=reader, text=text, row=row, column=column, seconds=seconds if control in (3, 4) else 0)
