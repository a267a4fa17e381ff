"""What an MQTT terminal's messages mean, by its profile. Pure, and no message ever raises out.

Only `decode` raises, and only `BadFrame`. Everything after it is total: fields that are missing, of another type or
out of range become "absent" or `malformed`, never an exception.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from typing import Final, cast

import msgspec
from pydantic import JsonValue

from lintel.edge.errors import BadFrame
from lintel.edge.profiles.fields import steps
from lintel.edge.profiles.mqtt_spec import PRESENTATIONS, Answer, Message, Moment, Share

MAX_BYTES: Final = 4 * 1024 * 1024
"""Longest message: a picture of 1 MB and a scene of 2 MB in base64 (`mqtt/face` v1.25, RecPush)."""

MAX_VALUES: Final = 20_000
"""Most values in a message: 4 MB of "[[],[],..." would hold up all doors for half a second and take 100 MB."""

_LONGEST_RECORD = 64
_LONGEST_PLAIN = 64
_HUGE = 10**18
_DECODER = msgspec.json.Decoder()


@dataclass(frozen=True, slots=True)
class Seen:
    """One message understood. `credential` is "" for a face that the gateway does not know.

    `score`, `liveness` 0 to 1; `time` Unix seconds by the device's clock, else None.
    `live` is whether the profile's own conditions for a live event hold (the clock is not looked at). `malformed`:
    a field that is needed is missing or is no value of its kind. `raw_record` is what `record` is in JSON. What should
    name a record and does not has a `message` without `reply`.
    """

    message: Message
    credential: str = field(default="", repr=False)
    score: float | None = None
    liveness: float | None = None
    record: str = ""
    raw_record: JsonValue = None
    time: float | None = None
    live: bool = True
    malformed: bool = False
    open: bool | None = None
    detail: str = ""


def decode(payload: bytes, *, plain: bool = False) -> JsonValue:
    """The JSON document of a message. Raises BadFrame, without quoting it: not JSON, NaN, 1e309, too much, too deep.

    `plain`: up to 64 printable ASCII characters that are no JSON are a text.
    """
    if len(payload) > MAX_BYTES:
        raise BadFrame(f"longer than {MAX_BYTES} bytes")
    if len(payload) - len(payload.translate(None, b",[{")) > MAX_VALUES:
        raise BadFrame(f"more than {MAX_VALUES} values")
    try:
        return cast("JsonValue", _DECODER.decode(payload))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        if plain and len(payload) <= _LONGEST_PLAIN and payload.isascii() and payload.decode("ascii").isprintable():
            return payload.decode("ascii")
        raise BadFrame(f"no JSON: {type(error).__name__}") from None


def find(document: JsonValue, pointer: str, *, fold: bool = False) -> JsonValue:
    """The value at a JSON pointer; None where there is none, as is null. `fold`: keys in any case."""
    value = document
    for step in steps(pointer):
        if isinstance(value, dict):
            child = value.get(step)
            if child is None and fold:
                small = step.casefold()
                child = next((v for k, v in value.items() if k.casefold() == small), None)
            value = child
        elif isinstance(value, list) and step.isdecimal() and len(step) < 6 and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def same(value: JsonValue, literal: str | int | bool) -> bool:  # noqa: FBT001  a literal of any JSON type
    """Whether a device's value is the profile's literal. Numbers may be spelled as strings, truth values not."""
    if isinstance(value, bool) or isinstance(literal, bool):
        return value is literal
    return value == literal or text(value) == str(literal)


def text(value: JsonValue) -> str | None:
    """An id or a credential as text: a string, or an integer as firmware sometimes writes it; else None."""
    if isinstance(value, str):
        return value
    whole = isinstance(value, int) and not isinstance(value, bool) and -_HUGE < value < _HUGE
    return str(value) if whole else None


def names(pointers: Sequence[str], document: JsonValue, *, fold: bool = False) -> list[str] | None:
    """The device ids that a message states; None when one of them is no id at all."""
    found = []
    for pointer in pointers:
        value = find(document, pointer, fold=fold)
        if value is not None:
            name = text(value)
            if name is None:
                return None
            found.append(name)
    return found


def recognise(messages: Sequence[Message], document: JsonValue) -> Message | None:
    """The first of the messages possible on a topic whose `match` holds."""
    for message in messages:
        if _all(message.match, document, fold=message.fold_keys):
            return message
    return None


def read(message: Message, document: JsonValue, zone: tzinfo = UTC, near: float = 0.0) -> Seen:
    """What a recognised message says. `zone`: of local times; `near` (Unix s) settles the hour that comes twice."""
    fold = message.fold_keys
    time = _moment(message.time, document, zone, near, fold=fold) if message.time is not None else None
    if message.kind == "door":
        value = find(document, message.open or "", fold=fold)
        return Seen(message, time=time, open=None if value is None else same(value, message.open_is))
    if message.kind not in PRESENTATIONS:
        return Seen(message, time=time)
    credential, malformed = _credential(message, document)
    score, bad_score = _share(message.score, document, fold=fold)
    liveness, bad_liveness = _share(message.liveness, document, fold=fold)
    raw = find(document, message.record[0], fold=fold) if message.record else None
    parts = [text(find(document, p, fold=fold)) for p in message.record]
    record = _record("-".join(p for p in parts if p is not None)) if parts and parts[0] else ""
    if message.record and not record:
        message = replace(message, reply=None)  # nothing to name in an acknowledgement
    facts = [(name, text(find(document, p, fold=fold))) for name, p in message.detail.items()]
    return Seen(
        message=message,
        credential=credential,
        score=score,
        liveness=liveness,
        record=record,
        raw_record=raw if record else None,
        time=time,
        live=_all(message.live, document, fold=fold),
        malformed=malformed or bad_score or bad_liveness,
        detail=" ".join(f"{name}={value[:32]!a}"[:48].replace("'", "") for name, value in facts if value),
    )


def says_something(seen: Seen) -> bool:
    """False for a message of a door contact's kind that does not mention the contact."""
    return seen.message.kind != "door" or seen.open is not None


def answered(answer: Answer, document: JsonValue) -> tuple[str, bool] | None:
    """The id a device answers to, and whether it says yes; None when this is no such answer.

    The id is the answer's `mark` where the device names none.
    """
    if not _all(answer.match, document):
        return None
    order = answer.mark if answer.correlate is None else text(find(document, answer.correlate))
    if not order:
        return None
    good = _all(answer.ok, document) and not any(find(document, p) is not None for p in answer.failed)
    present = {p: v for p, v in answer.ok_if_present.items() if find(document, p) is not None}
    return order, good and _all(present, document)


def _all(wanted: Mapping[str, str | int | bool], document: JsonValue, *, fold: bool = False) -> bool:
    return all(same(find(document, pointer, fold=fold), literal) for pointer, literal in wanted.items())


def _record(text: str) -> str:
    """A record's id as the journal keeps it: printable and bounded, and never that of another record."""
    if len(text) <= _LONGEST_RECORD and text.isascii() and text.isprintable():
        return text
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def _credential(message: Message, document: JsonValue) -> tuple[str, bool]:
    """The credential's text, and whether the message is malformed; a face may be a stranger's."""
    for pointer in message.credential:
        value = find(document, pointer, fold=message.fold_keys)
        if value is None:
            continue
        found = text(value)
        if found is None:
            return "", True
        if found.strip():  # a single space stands for "none" in some firmware
            return found, False
    return "", message.kind != "face"


def _share(share: Share | None, document: JsonValue, *, fold: bool) -> tuple[float | None, bool]:
    """A score as 0 to 1, and whether something stood there that is no score (abuse case A15)."""
    value = next((v for p in share.at if (v := find(document, p, fold=fold)) is not None), None) if share else None
    if share is None or value is None:
        return None, False
    limit = 1.0
    if share.to == "percent":
        limit = 100.0
        if isinstance(value, str):
            value = _decimal(value)
    if not isinstance(value, float | int) or isinstance(value, bool) or not 0 <= value <= limit:
        return None, True
    return float(value) / limit, False


def _decimal(value: str) -> float | None:
    """Plain decimal digits with at most one point; float() would also take 'nan', '1e9' and '1_0'."""
    whole, _, part = value.partition(".")
    return float(value) if len(value) <= 32 and value.isascii() and (whole + part).isdecimal() and whole else None


def _moment(moment: Moment, document: JsonValue, zone: tzinfo, near: float, *, fold: bool) -> float | None:
    """Device time as Unix seconds; None where it is absent or no time: a device's clock proves nothing then."""
    value = find(document, moment.at[0], fold=fold)
    if moment.to == "local_time":
        return _local(value, zone, near) if isinstance(value, str) and len(value) == 19 else None
    seconds = _whole(value)
    if seconds is None:
        return None
    if moment.to == "unix_ms":
        return seconds / 1000
    micros = _whole(find(document, moment.at[1], fold=fold)) if moment.to == "sec_usec" else None
    return seconds + (micros or 0.0) / 1e6


def _whole(value: JsonValue) -> float | None:
    number = _decimal(value) if isinstance(value, str) else value
    usable = isinstance(number, float | int) and not isinstance(number, bool) and 0 <= number < 1e15
    return float(number) if usable and isinstance(number, float | int) else None


def _local(value: str, zone: tzinfo, near: float) -> float | None:
    try:
        local = datetime.fromisoformat(value).replace(tzinfo=zone)
        first, second = local.timestamp(), local.replace(fold=1).timestamp()
    except (ValueError, OverflowError):
        return None
    found = first if abs(first - near) <= abs(second - near) else second
    return found if math.isfinite(found) else None
