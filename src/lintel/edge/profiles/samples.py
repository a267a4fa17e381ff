"""Samples make a profile its own test: recorded or documented traffic, and what it means in both directions."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from lintel.edge.errors import Mistake
from lintel.edge.profiles.fields import STRICT, Hex, Text

Meaning = Mapping[str, JsonValue]
"""One thing understood from traffic, as plain keys and values, for example `{"code": "L1:AB"}`."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One `[[sample]]`: bytes from a device and what they mean, or an order and the bytes it becomes.

    Bytes stand as `hex` or `text` (a serial line) or as `topic` and `payload` (MQTT). `means` is a list, since one
    read may hold two codes; an empty list says "nothing". `source` says where it comes from: document and section,
    or who recorded it and when. `firmware` names the version it holds for.
    """

    __pydantic_config__ = STRICT

    direction: Literal["in", "out"]
    source: Text
    firmware: Text
    hex: Hex | None = None
    text: Annotated[str, Field(max_length=4096)] | None = None
    topic: Annotated[str, Field(max_length=256)] = ""
    payload: Annotated[str, Field(max_length=65536)] | None = None
    means: tuple[Meaning, ...] | None = None
    order: Meaning | None = None

    def __post_init__(self) -> None:
        if sum(x is not None for x in (self.hex, self.text, self.payload)) != 1:
            raise ValueError("exactly one of 'hex', 'text' and 'payload'")
        if (self.payload is not None) != bool(self.topic):
            raise ValueError("'topic' and 'payload' together")
        if self.direction == "in" and (self.means is None or self.order is not None):
            raise ValueError("'means' (and no 'order') in a sample with direction 'in'")
        if self.direction == "out" and (self.order is None or self.means is not None):
            raise ValueError("'order' (and no 'means') in a sample with direction 'out'")

    @property
    def data(self) -> bytes:
        """The bytes of the sample, however they were written."""
        if self.hex is not None:
            return self.hex
        return (self.text if self.text is not None else self.payload or "").encode()


def same_message(left: bytes, right: bytes) -> bool:
    """Whether two messages are equal: as JSON documents where both are JSON objects, else byte by byte."""
    if left == right:
        return True
    if not (left[:1] == right[:1] == b"{"):
        return False
    try:
        return bool(json.loads(left) == json.loads(right))
    except ValueError:
        return False


def differences(where: str, want: Iterable[Meaning], got: Iterable[Meaning]) -> list[Mistake]:
    """The mistake, if any, between what a sample says and what the profile makes of it."""
    wanted, found = [dict(w) for w in want], [dict(g) for g in got]
    if wanted == found:
        return []
    return [Mistake(f"{where}.means", f"{_plain(wanted)}, but the profile understands {_plain(found)}")]


def _plain(meanings: list[dict[str, JsonValue]]) -> str:
    return json.dumps(meanings, ensure_ascii=True)[:500] if meanings else "nothing"
