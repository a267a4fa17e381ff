"""What the driver of a camera and its worker process say to each other, over a pair of sockets. Sans-IO.

A message is four bytes of length, big-endian, and JSON. Both ends refuse what is longer than `MAX_MESSAGE`, and what is
no message: the worker reads pictures of strangers, so its driver believes nothing of what it says but its form.
"""

from typing import Annotated, Final

import msgspec

from lintel.edge.errors import BadFrame

MAX_MESSAGE: Final = 16 * 1024
"""Longest message in bytes: `MAX_CODES` codes of `MAX_CODE` bytes in base64, and some more."""
MAX_CODES: Final = 16
"""Codes told of one picture."""
MAX_CODE: Final = 512
"""Bytes told of one code; of a longer one its beginning, which is too long for a credential all the same."""

_Code = Annotated[bytes, msgspec.Meta(max_length=MAX_CODE)]
_Text = Annotated[str, msgspec.Meta(max_length=200)]


class Start(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="start"):
    """The first message, from the driver: what to look at, and how. Times in seconds; 0 by 0: the source's own size."""

    kind: str
    source: str
    username: str = ""
    password: str = ""
    fps: float = 10.0
    open_s: float = 5.0
    read_s: float = 5.0
    width: int = 0
    height: int = 0
    memory_mb: int = 384

    def __repr__(self) -> str:
        return f"Start({self.kind!r})"  # a password stands in no log


class Opened(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="opened"):
    """The source gives pictures."""


class Seen(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="seen"):
    """The codes of one picture, in reading order. `at`: when it was taken, in monotonic seconds of this boot."""

    at: float
    codes: Annotated[list[_Code], msgspec.Meta(min_length=1, max_length=MAX_CODES)]


class Alive(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="alive"):
    """Said every second. `damaged`: pictures since the last time that could not be read."""

    damaged: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0


class Failed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="failed"):
    """The last message: the source is gone, or (`refused`) said no."""

    why: _Text
    refused: bool = False


Message = Start | Opened | Seen | Alive | Failed

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final[msgspec.json.Decoder[Message]] = msgspec.json.Decoder(Message)


def encode(message: Message) -> bytes:
    """A message as it goes over the wire."""
    body = _ENCODER.encode(message)
    if len(body) > MAX_MESSAGE:
        raise BadFrame(f"a message of {len(body)} bytes")
    return len(body).to_bytes(4) + body


def size(head: bytes) -> int:
    """How many bytes follow the four of the head. Raises BadFrame."""
    length = int.from_bytes(head)
    if not 2 <= length <= MAX_MESSAGE:
        raise BadFrame("a message of impossible length")
    return length


def decode(body: bytes) -> Message:
    """The message in `body`. Raises BadFrame without quoting it."""
    try:
        return _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise BadFrame("no message of a camera's worker") from None
