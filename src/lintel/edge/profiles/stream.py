"""A serial reader's byte stream -> what was heard. Sans-IO: the driver, `profile replay` and samples share it."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from lintel.edge import frames
from lintel.edge.profiles.samples import Meaning
from lintel.edge.profiles.serial import (
    Answer,
    Bad,
    Code,
    Command,
    Damage,
    Delimited,
    Heard,
    IdleGap,
    Length,
    NoRead,
    Part,
    SerialSpec,
    bad,
    decode,
)

_MAX_REMEMBERED: Final = 16
_PART_S: Final = 10.0
"""How long after a part of a text the next frame is still its rest: longer than a reader waits before it gives up."""


class Listener:
    """Splits one connection's stream into frames and says what each means. `now` is monotonic seconds.

    A repeat slides the duplicate window: a phone held before the reader is one presentation however long.
    """

    def __init__(self, spec: SerialSpec, baud: int = 0) -> None:
        self._spec = spec
        self._framer = _framer(spec, baud or spec.baud)
        self._seen: dict[bytes, float] = {}
        self._answers: tuple[tuple[bytes, bool], ...] = ()
        self._until = 0.0
        self._held = b""
        self._garbage = 0
        self._noise = False
        self._rest_until = 0.0  # frames with text are the rest of one that is refused

    def expect(self, commands: Iterable[Command], until: float) -> None:
        """Take the answers of these commands out of the stream until then; everything else stays scan data."""
        pairs = [(c.accepted, True) for c in commands] + [(r, False) for c in commands for r in c.refused]
        self._answers = tuple((literal, ok) for literal, ok in pairs if literal)
        self._until = until

    def feed(self, data: bytes, now: float) -> list[Heard]:
        """Bytes that arrived at `now`; returns what they complete, in order."""
        if now >= self._until:
            self._answers = ()
        data, self._held = self._held + data, b""
        heard: list[Heard] = []
        while data and self._answers:
            start, literal, accepted = self._find(data)
            heard += self._frames(data[:start], now)
            if literal:
                self._answers = ()  # one command is pending at a time, and it has its answer
                heard.append(Answer(accepted))
                data = data[start + len(literal) :]
            else:
                self._held, data = data[start:], b""
        return heard + self._frames(data, now)

    def idle(self, now: float) -> list[Heard]:
        """To be called when `deadline` has passed without data."""
        heard: list[Heard] = []
        if self._held and now >= self._until:
            heard = self.feed(b"", now)
        return heard + self._heard(self._framer.idle(now), now)

    def deadline(self) -> float | None:
        """When to call `idle`; None: only bytes can change anything."""
        times = [t for t in (self._framer.deadline(), self._until if self._held else None) if t is not None]
        return min(times, default=None)

    def _find(self, data: bytes) -> tuple[int, bytes, bool]:
        """The first answer: start, literal, verdict. The literal is b"" where one may be starting, or at the end."""
        best = (len(data), b"", False)
        for literal, accepted in self._answers:
            at = data.find(literal)
            if 0 <= at < best[0]:
                best = (at, literal, accepted)
        for literal, _ in self._answers:
            for size in range(min(len(literal) - 1, len(data)), 0, -1):
                if data.endswith(literal[:size]) and len(data) - size < best[0]:
                    best = (len(data) - size, b"", False)
        return best

    def _frames(self, data: bytes, now: float) -> list[Heard]:
        return self._heard(self._framer.feed(data, now), now) if data else []

    def _heard(self, found: list[frames.Frame | frames.Overflow], now: float) -> list[Heard]:
        heard = [self._hear(f, now) for f in found]
        if isinstance(self._spec.framing, Length):
            if self._framer.garbage > self._garbage and not self._noise:
                heard.append(Damage())  # once for one stretch of noise, however it is cut
            self._noise = (self._noise or self._framer.garbage > self._garbage) and self._framer.deadline() is not None
            self._garbage = self._framer.garbage
        return heard

    def _hear(self, frame: frames.Frame | frames.Overflow, now: float) -> Heard:
        if isinstance(frame, frames.Overflow):
            return bad(f"longer than {self._spec.max_length} bytes", b"", damaged=True)
        heard = decode(self._spec, frame.data)
        rest = now < self._rest_until
        if isinstance(heard, Part):
            self._rest_until = now + _PART_S
            return NoRead() if rest else bad("goes on in another frame", b"")
        if rest and isinstance(heard, Code | Bad):
            self._rest_until = 0.0
            if isinstance(heard, Code):
                self._again(heard.text, now)  # it may be sent again, when our answer is lost
            return NoRead()
        if not isinstance(heard, Code) or not self._spec.duplicate_ms:
            return heard
        return replace(heard, repeat=self._again(heard.text, now))

    def _again(self, text: bytes, now: float) -> bool:
        """Whether this text was seen within the duplicate window, which begins anew."""
        last = self._seen.pop(text, None)
        while len(self._seen) >= _MAX_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen[text] = now
        return last is not None and now - last < self._spec.duplicate_ms / 1000


def reply(spec: SerialSpec, heard: Heard) -> bytes:
    """What the gateway says back at once: the frame was understood, or was damaged. b"" for nothing."""
    if isinstance(heard, Answer):
        return b""
    again = isinstance(heard, Damage) or (isinstance(heard, Bad) and heard.damaged)
    return spec.nak if again else spec.ack


def understand(spec: SerialSpec, data: bytes, *, piece: int = 0) -> list[Meaning]:
    """What the gateway makes of a stretch of the stream followed by silence.

    Meanings: `{"code": text}`, `{"bad": why}`, `{"answer": "accepted" | "refused"}`, each with `"reply"` as hex where
    the gateway answers. The answers of all commands are taken as expected.
    """
    listener = Listener(spec)
    listener.expect(spec.command, until=1e6)
    now, heard = 0.0, list[Heard]()
    for start in range(0, len(data), piece or max(1, len(data))):
        if piece:
            now += 0.0001
        heard += listener.feed(data[start : start + (piece or len(data))], now)
    while (now_or_none := listener.deadline()) is not None:
        now = now_or_none
        heard += listener.idle(now)
    return [meaning for h in heard if (meaning := _meaning(spec, h))]


def compose(spec: SerialSpec, order: Meaning) -> bytes:
    """The bytes of `{"command": name}`; "ack" and "nak" are the answers to frames. ValueError: no such command."""
    name = order.get("command")
    fixed = {"ack": spec.ack, "nak": spec.nak}
    command = spec.find(str(name))
    data = command.send if command else fixed.get(str(name), b"")
    if not data or len(order) != 1:
        names = [c.name for c in spec.command] + [k for k, v in fixed.items() if v]
        raise ValueError(f"expected {{ command = one of {', '.join(names) or 'none'} }}")
    return data


def _meaning(spec: SerialSpec, heard: Heard) -> dict[str, str]:
    said = reply(spec, heard)
    meaning = {"reply": said.hex(" ").upper()} if said else {}
    match heard:
        case Code(text=text, repeat=False):
            return {"code": text.decode("ascii"), **meaning}
        case Bad(detail):
            return {"bad": detail.split(":")[0], **meaning}
        case Damage():
            return {"bad": "damaged frame", **meaning}
        case Answer(accepted):
            return {"answer": "accepted" if accepted else "refused"}
        case Code() | NoRead() | Part():
            return meaning


def _framer(spec: SerialSpec, baud: int) -> frames.Framer:
    framing = spec.framing
    if isinstance(framing, Delimited):
        return frames.Delimited(framing.ends, spec.max_length)
    if isinstance(framing, IdleGap):
        gap = framing.gap_ms / 1000 if framing.gap_ms else max(0.020, 4 * 10 / baud)
        return frames.IdleGap(gap, spec.max_length)
    return frames.LengthPrefixed(
        start=framing.start,
        length_at=framing.at,
        length_size=framing.size,
        extra=framing.extra,
        checksum=framing.checksum,
        min_length=framing.min_length,
        max_length=spec.max_length,
        gap_s=framing.gap_ms / 1000,
    )
