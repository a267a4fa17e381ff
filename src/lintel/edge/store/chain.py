"""The journal's format: places, bodies, the hash chain, and the anchors outside the database. No SQL here.

A row is (place, packed body, hash). `place` holds stream, epoch and sequence number; `hash` is
SHA-256(previous hash, place as 8 bytes big-endian, body), where the body is the event as canonical JSON: keys sorted,
defaults left out. Bodies are packed with a fixed dictionary: a third of the size, so a third of the flash wear.
"""

import dataclasses
import hashlib
import hmac
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from lintel.edge.errors import StoreError
from lintel.edge.model import Event, Stream
from lintel.edge.store.files import atomic_write

NUMBERS = {Stream.ALARM: 1, Stream.AUDIT: 2, Stream.WORK: 3, Stream.TELEMETRY: 4, Stream.ACCESS: 5}
"""Places of the streams. The busiest is the last: appending at the end of a b-tree fills its pages."""
STREAMS = {number: stream for stream, number in NUMBERS.items()}
ZERO = bytes(32)
ANCHOR_FILE = "anchors"

_DICTIONARY = (
    b'notice"door.position"door.order"comms_restored"comms_lost"result":"executed"unknown_outcome"{"count":2,"detail":'
    b'"method":"ble","method":"pass","method":"face","mono":1"person":"","reason":"already_used","reason":"stale_reading'
    b'","reason":"unknown_credential","record":"1,"result":"deny","stream":"alarm","ts":176,"type":"notice"}{"clock":"sy'
    b'nced","credential":"crd_01K","device":"door","direction":"out","device":"reader","direction":"in","door":"gate","i'
    b'd":"evt_01K","method":"card","method":"qr","mono":1,"person":"per_01K","reason":"granted","record":"","result":"op'
    b'en","stream":"access","ts":17,"type":"access.decision"}'
)
_PLAIN, _PACKED = b"\x00", b"\x01"  # first byte of a stored body: how it is packed; 1 is this dictionary, for ever

_ENCODER = msgspec.json.Encoder(order="sorted")
_DECODER = msgspec.json.Decoder(Event)
_FIELDS = tuple((f.name, None if f.default is dataclasses.MISSING else f.default) for f in dataclasses.fields(Event))


def place_of(stream: Stream, epoch: int, seq: int) -> int:
    """Where an event stands: 8 bits of stream, 16 of epoch, 40 of sequence number."""
    return NUMBERS[stream] << 56 | epoch << 40 | seq


def split(place: int) -> tuple[Stream, int, int]:
    """(stream, epoch, seq) of a place."""
    return STREAMS[place >> 56], place >> 40 & 0xFFFF, place & 0xFF_FFFF_FFFF


def span(stream: Stream) -> tuple[int, int]:
    """The first and the last place that a stream can have."""
    return NUMBERS[stream] << 56, (NUMBERS[stream] << 56) + (1 << 56) - 1


def encode(event: Event) -> bytes:
    """The canonical JSON of an event."""
    fields: dict[str, Any] = {}
    for name, default in _FIELDS:
        value = getattr(event, name)
        if value != default:
            fields[name] = value
    fields["mono"] = round(event.mono, 6)
    return _ENCODER.encode(fields)


def decode(body: bytes) -> Event:
    """The event of a body; raises msgspec.DecodeError (a ValueError)."""
    return _DECODER.decode(body)


def readable(stored: bytes) -> Event | None:
    """The event of a stored body; None when it is not one of ours: damage costs that event alone."""
    try:
        return decode(unpack(stored))
    except ValueError:
        return None


def pack(body: bytes) -> bytes:
    """The body as it is stored."""
    squeeze = zlib.compressobj(6, zlib.DEFLATED, -12, 9, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY)
    return _PACKED + squeeze.compress(body) + squeeze.flush()


def unpack(stored: bytes) -> bytes:
    """The body of a stored one; raises ValueError when it is not one of ours."""
    if stored[:1] == _PLAIN:
        return stored[1:]
    if stored[:1] != _PACKED:
        raise ValueError("unknown packing")
    try:
        stretch = zlib.decompressobj(-12, _DICTIONARY)
        body = stretch.decompress(stored[1:], 65536)
    except zlib.error:
        raise ValueError("damaged body") from None
    if not stretch.eof or stretch.unused_data:
        raise ValueError("damaged body")
    return body


def link(previous: bytes, place: int, body: bytes) -> bytes:
    """The hash of a row."""
    return hashlib.sha256(previous + place.to_bytes(8, "big") + body).digest()


@dataclass(frozen=True, slots=True)
class Head:
    """The newest row of one epoch of a stream; seq 0 with a zero hash while it is empty."""

    epoch: int
    seq: int
    hash: bytes


Anchors = dict[Stream, tuple[Head, ...]]
"""For each stream the last known head of every epoch, oldest first."""


def write_anchors(directory: Path, key: bytes, anchors: Anchors) -> None:
    """Keep the heads outside the database, authenticated: a cut or rolled-back journal is found against them."""
    heads = {str(s): [[h.epoch, h.seq, h.hash.hex()] for h in hs] for s, hs in sorted(anchors.items())}
    text = json.dumps(heads, separators=(",", ":"))
    atomic_write(directory / ANCHOR_FILE, f"{text}\n{_mac(key, text)}\n".encode())


def read_anchors(directory: Path, key: bytes) -> Anchors:
    """The anchored heads. Raises StoreError("audit_broken") when they are missing or not ours."""
    path = directory / ANCHOR_FILE
    try:
        text, mac, *_ = path.read_text("utf-8", "replace").split("\n")
    except FileNotFoundError:
        raise StoreError("audit_broken", f"{path} is missing") from None
    except (OSError, ValueError):
        raise StoreError("audit_broken", f"{path} can not be read") from None
    if not hmac.compare_digest(mac.encode(), _mac(key, text).encode()):
        raise StoreError("audit_broken", f"{path} was changed by somebody without the key")
    heads = json.loads(text)
    return {Stream(s): tuple(Head(e, n, bytes.fromhex(h)) for e, n, h in hs) for s, hs in heads.items()}


def _mac(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def seal(key: bytes, floor: int, floor_hash: bytes) -> bytes:
    """Authenticates where a stream begins after retention: rows cut off at the front by hand do not have it."""
    return hmac.new(key, b"floor" + floor.to_bytes(8, "big") + floor_hash, hashlib.sha256).digest()
