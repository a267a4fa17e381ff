"""Command languages of scan engines, as far as the protocol reference describes them. No I/O."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Family = Literal["none", "zk", "newland", "honeywell", "cipherlab", "keyence", "opticon"]


class Ask(StrEnum):
    """What a host asks of a reader."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"
    ENABLE = "enable"
    DISABLE = "disable"
    TRIGGERED = "triggered"
    AUTO_SENSE = "auto_sense"
    SAME_CODE_MS = "same_code_ms"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, the bytes to answer with (may be empty), and the number it carries."""

    ask: Ask
    answer: bytes = b""
    value: int = 0


ACK, NAK, ENQ = b"\x06", b"\x15", b"\x05"


def _letters(meaning: dict[bytes, Ask]) -> Callable[[bytearray], Request | None]:
    def take(buffer: bytearray) -> Request | None:
        while buffer:
            letter = bytes(buffer[:1])
            del buffer[0]
            if letter in meaning:
                return Request(meaning[letter])
        return None

    return take


def _lines(meaning: dict[bytes, Ask]) -> Callable[[bytearray], Request | None]:
    """Commands that end with CR and are not answered."""

    def take(buffer: bytearray) -> Request | None:
        line, end, _ = bytes(buffer).partition(b"\r")
        if not end:
            return None
        del buffer[: len(line) + 1]
        return Request(meaning.get(line, Ask.NOTHING))

    return take


_NEWLAND = {
    b"SCNTRG1": Ask.START,
    b"SCNTRG0": Ask.STOP,
    b"SCNMOD0": Ask.TRIGGERED,
    b"SCNMOD2": Ask.AUTO_SENSE,
}


def _newland(buffer: bytearray) -> Request | None:
    """`~ SOH 0000 #CMD; ETX`, answered by `STX SOH 0000 #CMD <06|15|05>; ETX`."""
    start = buffer.find(b"~\x01")
    if start < 0:
        del buffer[: -1 if buffer.endswith(b"~") else len(buffer)]
        return None
    end = buffer.find(b";\x03", start)
    if end < 0:
        return None
    body = bytes(buffer[start + 2 : end])
    del buffer[: end + 2]
    address, mode, word = body[:4], body[4:5], body[5:]
    if address != b"0000" or mode not in (b"#", b"@"):
        return Request(Ask.NOTHING, b"\x02\x01" + body + ENQ + b";\x03")
    ask, value, verdict = _newland_word(word)
    return Request(ask, b"\x02\x01" + body + verdict + b";\x03", value)


def _newland_word(word: bytes) -> tuple[Ask, int, bytes]:
    if word in _NEWLAND:
        return _NEWLAND[word], 0, ACK
    if word[:6] in (b"SCNTRG", b"SCNMOD"):
        return Ask.NOTHING, 0, NAK
    if word.startswith(b"RRDDUR"):
        number = word[6:]
        good = number.isdigit() and int(number) <= 65535
        return (Ask.SAME_CODE_MS, int(number), ACK) if good else (Ask.NOTHING, 0, NAK)
    return Ask.NOTHING, 0, ENQ


def _honeywell(buffer: bytearray) -> Request | None:
    """`SYN T CR`, `SYN U CR`; menu `SYN M CR TAGSUBdata.` or `!`, echoed with 06 or 05 before the punctuation."""
    start = buffer.find(b"\x16")
    if start < 0:
        buffer.clear()
        return None
    del buffer[:start]
    if len(buffer) < 3:
        return None
    head = bytes(buffer[:3])
    if head != b"\x16M\r":
        del buffer[:3]
        return Request({b"\x16T\r": Ask.START, b"\x16U\r": Ask.STOP}.get(head, Ask.NOTHING))
    ends = [i for i in (buffer.find(b"."), buffer.find(b"!")) if i >= 0]
    if not ends:
        return None
    menu, mark = bytes(buffer[3 : min(ends)]), bytes(buffer[min(ends) : min(ends) + 1])
    del buffer[: min(ends) + 1]
    known = len(menu) >= 6 and menu[:6].isalnum()
    return Request(Ask.NOTHING, menu + (ACK if known else ENQ) + mark)


_TAKE: dict[str, Callable[[bytearray], Request | None]] = {
    "none": _letters({}),
    "zk": _letters({b"T": Ask.START, b"P": Ask.STOP, b"R": Ask.RESTART}),
    "newland": _newland,
    "honeywell": _honeywell,
    "cipherlab": _letters({b"E": Ask.ENABLE, b"D": Ask.DISABLE}),
    "keyence": _lines({b"LON": Ask.START, b"LOFF": Ask.STOP}),
    "opticon": _lines({b"\x1bZ": Ask.START, b"\x1bY": Ask.STOP}),
}


class CommandStream:
    """Cuts the bytes that a host sends into requests of one command family."""

    def __init__(self, family: Family) -> None:
        self._take = _TAKE[family]
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Request]:
        """Requests completed by `data`. What no command is, is skipped as a real engine does."""
        self._buffer += data
        del self._buffer[:-512]
        requests = []
        while (request := self._take(self._buffer)) is not None:
            requests.append(request)
        return requests
