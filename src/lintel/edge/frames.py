"""Framers: bytes from a line in, whole frames out. Sans-IO; time is handed in. They never raise on any input.

Every framer holds at most one frame, finds its way back after garbage, and gives the same frames however the bytes are
cut. `Frame.data` has no end mark and no checksum. Which bytes end or measure a frame is said by each profile, with the
manual it follows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

MAX_LENGTH = 512
"""Longest frame by default, in bytes."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole frame."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Overflow:
    """A frame was too long. Said once, when it is noticed; the rest of it is thrown away."""


class Framer(Protocol):
    """What all framers have in common. `now` is monotonic seconds."""

    overflows: int
    """Frames that were too long."""
    garbage: int
    """Bytes that belonged to no frame."""

    def feed(self, data: bytes, now: float) -> list[Frame | Overflow]:
        """Take in bytes that arrived at `now`."""
        ...

    def idle(self, now: float) -> list[Frame | Overflow]:
        """Nothing arrived until `now`: what a gap completes. To be called at `deadline()`."""
        ...

    def deadline(self) -> float | None:
        """When `idle` has something to do, or None."""
        ...


class _Bounded:
    """One frame in the making, at most `max_length` bytes; what is longer is told once and discarded."""

    def __init__(self, max_length: int) -> None:
        self._max = max_length
        self._held = bytearray()
        self._discard = False
        self.overflows = self.garbage = 0

    def _add(self, part: bytes, found: list[Frame | Overflow]) -> None:
        if not self._discard and len(self._held) + len(part) > self._max:
            self._discard = True
            self.overflows += 1
            found.append(Overflow())
            self.garbage += len(self._held)
            self._held.clear()
        if self._discard:
            self.garbage += len(part)
        else:
            self._held += part


class Delimited(_Bounded):
    """Frames end at any of the bytes `ends`; empty frames are ignored, so CR, LF and CRLF all serve."""

    def __init__(self, ends: bytes = b"\r\n", max_length: int = MAX_LENGTH) -> None:
        super().__init__(max_length)
        self._end = ends[:1]
        self._table = bytes.maketrans(ends, self._end * len(ends))

    def feed(self, data: bytes, now: float) -> list[Frame | Overflow]:  # noqa: ARG002  the common shape
        """Take in bytes."""
        found: list[Frame | Overflow] = []
        *whole, rest = data.translate(self._table).split(self._end)
        for part in whole:
            self._add(part, found)
            if self._held:
                found.append(Frame(bytes(self._held)))
                self._held.clear()
            self._discard = False
        self._add(rest, found)
        return found

    def idle(self, now: float) -> list[Frame | Overflow]:  # noqa: ARG002  the common shape
        """Nothing: only an end mark completes a frame."""
        return []

    def deadline(self) -> float | None:
        """None: only an end mark completes a frame."""
        return None


class IdleGap(_Bounded):
    """Frames end when the line has been silent for `gap_s`, measured from the last byte."""

    def __init__(self, gap_s: float, max_length: int = MAX_LENGTH) -> None:
        super().__init__(max_length)
        self._gap = gap_s
        self._last = 0.0

    def feed(self, data: bytes, now: float) -> list[Frame | Overflow]:
        """Take in bytes; a gap before them completes the frame before."""
        found = self.idle(now)
        if data:
            self._last = now
            self._add(data, found)
        return found

    def idle(self, now: float) -> list[Frame | Overflow]:
        """Complete the frame if the gap is over."""
        deadline = self.deadline()
        if deadline is None or now < deadline:
            return []
        found: list[Frame | Overflow] = [Frame(bytes(self._held))] if self._held else []
        self._held.clear()
        self._discard = False
        return found

    def deadline(self) -> float | None:
        """The end of the gap, while a frame is open."""
        return self._last + self._gap if self._held or self._discard else None


Checksum = Literal["none", "xor8", "sum8", "sum16_be_twos"]
"""Over all bytes of the frame before it. `sum16_be_twos`: two's complement of the 16-bit sum, high byte first."""


def _xor8(data: bytes) -> bytes:
    width = 1
    while width < len(data):
        width *= 2
    value = int.from_bytes(data)
    while width > 1:
        width //= 2
        value = (value >> 8 * width) ^ (value & ((1 << 8 * width) - 1))
    return value.to_bytes(1)


_CHECKSUMS: dict[Checksum, tuple[int, Callable[[bytes], bytes]]] = {
    "none": (0, lambda _: b""),
    "xor8": (1, _xor8),
    "sum8": (1, lambda data: (sum(data) & 0xFF).to_bytes(1)),
    "sum16_be_twos": (2, lambda data: (-sum(data) & 0xFFFF).to_bytes(2)),
}


def seal(data: bytes, checksum: Checksum) -> bytes:
    """A frame as it goes on the wire: the data and its checksum."""
    return data + _CHECKSUMS[checksum][1](data)


class LengthPrefixed:
    """Binary frames: fixed `start` bytes if any, a length field at `length_at`, at the end a checksum.

    The frame without its checksum is as long as the length field says plus `extra`. A frame that is cut off ends after
    `gap_s` of silence. What does not check is dropped byte by byte until something does; a length field beyond
    `max_length` is garbage like any other, so `overflows` stays 0.
    """

    def __init__(
        self,
        *,
        start: bytes = b"",
        length_at: int = 0,
        length_size: int = 1,
        byteorder: Literal["big", "little"] = "big",
        extra: int = 0,
        checksum: Checksum = "none",
        min_length: int = 0,
        max_length: int = MAX_LENGTH,
        gap_s: float = 0.1,
    ) -> None:
        self._start = start
        self._field = slice(length_at, length_at + length_size)
        self._order: Literal["big", "little"] = byteorder
        self._extra = extra
        self._trailer, self._sum = _CHECKSUMS[checksum]
        self._head = max(len(start), length_at + length_size)
        self._min = max(self._head, min_length)
        self._max = max_length
        self._gap = gap_s
        self._held = bytearray()
        self._last = 0.0
        self.overflows = self.garbage = 0

    def feed(self, data: bytes, now: float) -> list[Frame | Overflow]:
        """Take in bytes; a gap before them gives up the frame that it cut."""
        found = self.idle(now)
        if data:
            self._last = now
            self._held += data
            self._scan(found, cut=False)
        return found

    def idle(self, now: float) -> list[Frame | Overflow]:
        """Give up a frame that was cut off, and look for whole ones behind its start."""
        found: list[Frame | Overflow] = []
        deadline = self.deadline()
        if deadline is not None and now >= deadline:
            self._scan(found, cut=True)
        return found

    def deadline(self) -> float | None:
        """When to give up, while a frame is open."""
        return self._last + self._gap if self._held else None

    def _scan(self, found: list[Frame | Overflow], *, cut: bool) -> None:
        """Take whole frames off the front; with `cut`, what is not whole will never be, and nothing is left."""
        held = bytes(self._held)
        at = 0
        while at < len(held):
            size = self._size(held, at)
            if size > 0 and at + size + self._trailer <= len(held):
                data, end = held[at : at + size], at + size + self._trailer
                if self._sum(data) == held[at + size : end]:
                    found.append(Frame(data))
                    at = end
                    continue
            elif size >= 0 and not cut:
                break
            at += 1
            self.garbage += 1
        del self._held[:at]

    def _size(self, held: bytes, at: int) -> int:
        """Length of the frame that begins here, without checksum: 0 not known yet, -1 none begins here."""
        if not self._start.startswith(held[at : at + len(self._start)]):
            return -1
        head = held[at : at + self._head]
        if len(head) < self._head:
            return 0
        size = int.from_bytes(head[self._field], self._order) + self._extra
        return size if self._min <= size <= self._max else -1


def zebra_ssi() -> LengthPrefixed:
    """Framer of Zebra's Simple Serial Interface: the first byte counts all bytes but the checksum."""
    return LengthPrefixed(checksum="sum16_be_twos", min_length=4, max_length=255)
