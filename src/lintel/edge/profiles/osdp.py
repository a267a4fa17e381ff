"""The `[osdp]` table of a reader's profile: what is wired to it, which cards it reads, and what its frames mean.

Frames follow OSDP 2.2 (IEC 60839-11-5); numbers of inputs and outputs count from 0, as on the line.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field

from lintel.edge.errors import BadFrame
from lintel.edge.model import ContactKind, Wiring
from lintel.edge.osdp import messages
from lintel.edge.osdp.cards import LAYOUTS, Layout, identity
from lintel.edge.osdp.frames import Packet, Receiver, encode
from lintel.edge.osdp.messages import Command
from lintel.edge.profiles.fields import STRICT
from lintel.edge.profiles.samples import Meaning

InputKind = Literal["exit", "door", "fire", "tamper", "power"]
Bit = Annotated[int, Field(ge=0, le=255)]
Size = Annotated[int, Field(ge=0, le=64)]
Span = tuple[Bit, Size]
"""First bit, counted from 0 at the left, and how many."""


@dataclass(frozen=True, slots=True)
class Input:
    """What is wired to an input. It counts as active, and a door as open, at 1; `inverted`: at 0."""

    __pydantic_config__ = STRICT

    number: Annotated[int, Field(ge=0, le=31)]
    kind: InputKind
    inverted: bool = False


@dataclass(frozen=True, slots=True)
class Card:
    """Where facility and number stand in a card of `bits` bits; a parity span includes its parity bit."""

    __pydantic_config__ = STRICT

    bits: Annotated[int, Field(ge=1, le=256)]
    number: Span
    facility: Span = (0, 0)
    even: Span | None = None
    odd: Span | None = None

    def __post_init__(self) -> None:
        spans = [s for s in (self.number, self.facility, self.even, self.odd) if s]
        if any(first + size > self.bits for first, size in spans):
            raise ValueError("expected spans inside the card's bits")

    @property
    def layout(self) -> Layout:
        """The same for the panel."""
        return Layout(self.bits, self.facility, self.number, self.even, self.odd)


@dataclass(frozen=True, slots=True)
class OsdpSpec:
    """A reader on an RS-485 bus. `outputs`: relays that can be a door's lock.

    `secure_channel` false only for a model that has none: then its line is only as safe as its cable. `card` adds
    layouts to the usual ones of 26, 34 and 37 bits, or replaces one. `bits`: the only lengths of a card that are taken;
    without it all are, and a length of no layout is one number. `green_on_open`: its light is green while an order of
    its own relay runs.
    """

    __pydantic_config__ = STRICT

    secure_channel: bool = True
    outputs: Annotated[int, Field(ge=0, le=32)] = 0
    buzzer: bool = False
    text: bool = False
    green_on_open: bool = False
    bits: Annotated[tuple[Annotated[int, Field(ge=1, le=256)], ...], Field(max_length=16)] = ()
    input: Annotated[tuple[Input, ...], Field(max_length=32)] = ()
    card: Annotated[tuple[Card, ...], Field(max_length=16)] = ()

    @property
    def orders(self) -> tuple[str, ...]:
        """What the gateway ever says, by name: each needs a sample."""
        relay = ("open", "hold", "release") if self.outputs else ()
        return (*relay, *(("beep",) if self.buzzer else ()), *(("show",) if self.text else ()))

    @property
    def channels(self) -> int:
        """How many locks it can open."""
        return self.outputs

    @property
    def contacts(self) -> frozenset[Wiring]:
        """Which contacts it can state; -1 and -2 are what every reader watches of itself."""
        wired = {(ContactKind(i.kind), i.number) for i in self.input if i.kind != "door"}
        return frozenset({(ContactKind.TAMPER, -1), (ContactKind.TAMPER, -2), (ContactKind.POWER, -1), *wired})

    def card_value(self, card: messages.RawCard) -> str:
        """What of a card is digested; ValueError, quoting nothing, where it is none of this reader's."""
        if self.bits and card.bits not in self.bits:
            raise ValueError("a card of another length")
        return identity(card, self.layouts)

    @property
    def layouts(self) -> Mapping[int, Layout]:
        """The card layouts by number of bits."""
        return {**LAYOUTS, **{card.bits: card.layout for card in self.card}}


def instruct(spec: OsdpSpec, command: str, *, channel: int, seconds: float, text: str) -> tuple[int, bytes]:
    """Code and data of an order; ValueError where the reader has no such order, output or character."""
    if command not in spec.orders:
        raise ValueError(f"expected an order of this reader: {', '.join(spec.orders) or 'none'}")
    if command in ("open", "hold", "release"):
        if not 0 <= channel < spec.outputs:
            raise ValueError(f"expected a channel from 0 to {spec.outputs - 1}")
        if command == "open":
            return Command.OUT, messages.output(channel, 5, max(1, round(seconds * 10)))
        return Command.OUT, messages.output(channel, 2 if command == "hold" else 1)
    if command == "beep":
        return Command.BUZ, messages.buzzer()
    return Command.TEXT, messages.text(text, seconds)


def understand(spec: OsdpSpec, topic: str, data: bytes, piece: int) -> list[Meaning]:  # noqa: ARG001  see Profile
    """What the gateway makes of frames from such a reader; of a secured one only that it is one."""
    receiver, packets = Receiver(), []
    size = piece or len(data) or 1
    for at in range(0, len(data), size):
        packets += receiver.feed(data[at : at + size])
    packets += receiver.cut()
    return [_meaning(spec, packet) for packet in packets if packet.reply]


def _meaning(spec: OsdpSpec, packet: Packet) -> Meaning:  # noqa: C901, PLR0912  a line for each kind of reply
    if packet.scb:
        return {"secured": packet.block}
    try:
        reply = messages.parse(packet.code, packet.data)
    except BadFrame:
        return {"fault": "bad_format"}
    match reply:
        case messages.RawCard():
            try:
                return {"card": spec.card_value(reply)}
            except ValueError:
                return {"fault": "bad_format"}
        case messages.TextCard():
            return {"card": reply.text.decode("ascii", "replace")}
        case messages.Keypad():
            return {"keys": reply.keys.translate(_KEYS).decode("ascii", "replace")}
        case messages.Local():
            return {"tamper": reply.tamper, "power_failed": reply.power}
        case messages.Inputs():
            return {"inputs": list(reply.values)}
        case messages.Outputs():
            return {"outputs": list(reply.values)}
        case messages.Readers():
            return {"readers": list(reply.values)}
        case messages.Identity():
            return {"vendor": reply.vendor, "model": reply.model, "serial": reply.serial, "firmware": reply.firmware}
        case messages.Capabilities():
            return {"secure_channel": reply.secure, "outputs": reply.functions.get(2, (0, 0))[1]}
        case messages.Nak():
            return {"nak": reply.error}
        case _:
            return {"reply": packet.code}


_KEYS: Final = bytes.maketrans(b"\x0d\x7f", b"#*")


def compose(spec: OsdpSpec, order: Meaning) -> tuple[str, bytes]:
    """The frame of an order, unsecured, to `address` with `sequence`; ValueError where there is no such order."""

    def number(key: str, default: float) -> float:
        value = order.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"expected a number as {key}")  # noqa: TRY004  as every mistake of an order
        return value

    code, data = instruct(
        spec,
        str(order.get("command")),
        channel=int(number("channel", 0)),
        seconds=number("seconds", 3.0),
        text=str(order.get("text", "")),
    )
    return "", encode(int(number("address", 0)) & 0x7F, int(number("sequence", 0)) & 3, code, data)
