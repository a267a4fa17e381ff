"""What a serial QR reader's profile says, and what one of its frames means. Pure: bytes in, frozen values out.

Framing, alphabet and commands follow the readers' public manuals; each profile names its own.
"""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field

from lintel.edge.digests import credential_bytes
from lintel.edge.frames import Checksum
from lintel.edge.model import Method, Wiring
from lintel.edge.passes import ROTATING, STATIC
from lintel.edge.profiles.fields import STRICT, Hex, Name

BAUDS: Final = (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600)

_PRINTABLE: Final = bytes(range(0x20, 0x7F))
_PASS: Final = (STATIC.encode(), ROTATING.encode())
_FLOW_CONTROL: Final = b"\x11\x13"  # DC1 and DC3: in no token alphabet

Literals = Annotated[tuple[Annotated[Hex, Field(min_length=1)], ...], Field(max_length=8)]
NonEmptyHex = Annotated[Hex, Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Delimited:
    """Frames end at any one of the bytes `ends`; empty frames are ignored, so CR LF is one end."""

    __pydantic_config__ = STRICT

    kind: Literal["delimited"]
    ends: Annotated[Hex, Field(min_length=1, max_length=8)] = b"\r\n"


@dataclass(frozen=True, slots=True)
class IdleGap:
    """Frames end when the line is silent for `gap_ms`; without it max(20 ms, 4 characters)."""

    __pydantic_config__ = STRICT

    kind: Literal["idle_gap"]
    gap_ms: Annotated[int, Field(ge=5, le=2000)] | None = None


@dataclass(frozen=True, slots=True)
class Length:
    """Frames carry their length: `size` bytes, big-endian, at offset `at`; `extra` more bytes are not counted.

    The checksum covers all bytes before it and is counted in neither. `gap_ms` of silence gives up a cut frame.
    """

    __pydantic_config__ = STRICT

    kind: Literal["length"]
    start: Hex = b""
    at: Annotated[int, Field(ge=0, le=16)] = 0
    size: Annotated[int, Field(ge=1, le=2)] = 1
    extra: Annotated[int, Field(ge=0, le=64)] = 0
    min_length: Annotated[int, Field(ge=1, le=64)] = 1
    checksum: Checksum = "none"
    gap_ms: Annotated[int, Field(ge=5, le=2000)] = 100


@dataclass(frozen=True, slots=True)
class Strip:
    """What stands around the text in a frame: literals, an AIM identifier (`]Q1`), letters of a code id.

    `needed`: a frame without the prefix has lost its beginning.
    """

    __pydantic_config__ = STRICT

    prefix: Hex = b""
    suffix: Hex = b""
    needed: bool = False
    aim_id: bool = False
    code_id: Annotated[int, Field(ge=0, le=4)] = 0


@dataclass(frozen=True, slots=True)
class Extract:
    """Where the text stands in a binary frame. `opcode` is a literal at `opcode_at`; text from `text_at` on.

    Frames with opcode `accepted` or `refused` answer the host's commands; other opcodes are ignored. A frame that has a
    bit of `more` at `more_at` goes on in the next one: too long for a credential, so all of it is refused, once.
    """

    __pydantic_config__ = STRICT

    opcode: NonEmptyHex
    opcode_at: Annotated[int, Field(ge=0, le=64)]
    text_at: Annotated[int, Field(ge=0, le=64)]
    more_at: Annotated[int, Field(ge=0, le=64)] = 0
    more: Annotated[int, Field(ge=0, le=255)] = 0
    accepted: Hex = b""
    refused: Hex = b""


@dataclass(frozen=True, slots=True)
class Command:
    """Bytes the gateway may send: its name, the literal answers that accept or refuse it, the pause after it."""

    __pydantic_config__ = STRICT

    name: Name
    send: NonEmptyHex
    accepted: Hex = b""
    refused: Literals = ()
    pause_ms: Annotated[int, Field(ge=0, le=5000)] = 50


@dataclass(frozen=True, slots=True)
class SerialSpec:
    """The `[serial]` table: line settings, framing, and the few commands the gateway may send.

    `init` names the commands sent after opening, `rearm` the one sent after each frame (and every `rearm_every_s`,
    0 for never), `on_close` the one sent before closing. `ack` answers an understood frame, `nak` a damaged one
    (empty: say nothing). `dtr` raises DTR. A command called "beep" is what the order to beep sends.
    """

    __pydantic_config__ = STRICT

    framing: Annotated[Delimited | IdleGap | Length, Field(discriminator="kind")]
    baud: Literal[1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600] = 9600
    parity: Literal["none", "even", "odd"] = "none"
    stop_bits: Literal[1, 2] = 1
    dtr: bool = True
    max_length: Annotated[int, Field(ge=16, le=4096)] = 512
    strip: Strip = Strip()
    extract: Extract | None = None
    no_read: Annotated[tuple[str, ...], Field(max_length=16)] = ("%%NoRead", "NR", "NG", "ERROR")
    duplicate_ms: Annotated[int, Field(ge=0, le=60_000)] = 1500
    discard_after_open_ms: Annotated[int, Field(ge=0, le=2000)] = 50
    drop_flow_control: bool = True
    ack: Hex = b""
    nak: Hex = b""
    command: Annotated[tuple[Command, ...], Field(max_length=32)] = ()
    init: Annotated[tuple[Name, ...], Field(max_length=16)] = ()
    rearm: str = ""
    rearm_every_s: Annotated[int, Field(ge=0, le=3600)] = 0
    on_close: str = ""

    @property
    def orders(self) -> tuple[str, ...]:
        """What the gateway ever says, by the names that samples use: each needs one."""
        answers = (("ack", self.ack), ("nak", self.nak))
        return (*(c.name for c in self.command), *(name for name, said in answers if said))

    @property
    def channels(self) -> int:
        """How many locks it can open: none."""
        return 0

    @property
    def contacts(self) -> frozenset[Wiring]:
        """Which contacts it can state."""
        return frozenset()

    def find(self, name: str) -> Command | None:
        """The command called `name`; None where the reader has none."""
        return next((c for c in self.command if c.name == name), None)


@dataclass(frozen=True, slots=True)
class Code:
    """The text of a scanned code, well-formed as `credential_bytes` says. `repeat`: seen within the duplicate window.

    `method`: a signed visitor pass is known by how it begins; anything else is an opaque code.
    """

    text: bytes
    method: Method
    repeat: bool = False


@dataclass(frozen=True, slots=True)
class NoRead:
    """The reader said something that is no code: no-read text, an event, an empty frame."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The reader answered a command."""

    accepted: bool


@dataclass(frozen=True, slots=True)
class Bad:
    """A frame that can not be a code. `detail` says why, with at most 64 of its bytes as hex.

    `damaged`: it may have suffered on the way, so that sending it again can help.
    """

    detail: str
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes on the line that form no frame (noise, a wrong checksum): nothing was presented."""


@dataclass(frozen=True, slots=True)
class Part:
    """A frame with text that goes on in the next frame."""


Heard = Code | NoRead | Answer | Bad | Damage | Part


def decode(spec: SerialSpec, frame: bytes) -> Heard:
    """What one frame means. Spaces are never stripped: a base45 token may begin or end with one."""
    text = frame
    if spec.extract is not None:
        body = _extract(spec.extract, frame)
        if not isinstance(body, bytes):
            return body
        text = body
    elif spec.drop_flow_control:
        text = text.translate(None, _FLOW_CONTROL)
    if spec.strip.needed and not text.startswith(spec.strip.prefix):
        return bad("no prefix", text, damaged=True)
    text = _strip(spec.strip, text)
    if not text or any(text == word.encode() for word in spec.no_read):
        return NoRead()
    return decode_text(text, damaged=spec.extract is None)


def decode_text(text: bytes, *, damaged: bool = False) -> Code | Bad:
    """What the text of a code means. `damaged`: bytes that are no text may have been spoilt on the way."""
    if text.translate(None, _PRINTABLE):
        return bad("not printable ASCII", text, damaged=damaged)
    method = Method.PASS if text.startswith(_PASS) else Method.QR
    try:
        credential_bytes(method, text)
    except ValueError:
        return bad("not the form of a credential", text)
    return Code(text, method)


def bad(why: str, data: bytes, *, damaged: bool = False) -> Bad:
    """A refused frame: the reason and its first 64 bytes, escaped as hex."""
    return Bad(f"{why}: {data[:64].hex()}", damaged)


def _extract(extract: Extract, frame: bytes) -> bytes | Heard:
    at = extract.opcode_at
    if frame.startswith(extract.opcode, at):
        goes_on = len(frame) > extract.more_at and frame[extract.more_at] & extract.more
        return Part() if goes_on else frame[extract.text_at :]
    if extract.accepted and frame.startswith(extract.accepted, at):
        return Answer(accepted=True)
    if extract.refused and frame.startswith(extract.refused, at):
        return Answer(accepted=False)
    return NoRead()


def _strip(strip: Strip, text: bytes) -> bytes:
    text = text.removeprefix(strip.prefix).removesuffix(strip.suffix)
    if strip.aim_id and len(text) >= 3 and text[:1] == b"]":
        text = text[3:]
    return text[strip.code_id :]
