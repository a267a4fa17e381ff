"""Commands to MQTT terminals by their profile, and what a profile makes of a topic and payload. Pure."""

from collections.abc import Mapping
from typing import Final

import msgspec
from pydantic import JsonValue

from lintel.edge.errors import BadFrame
from lintel.edge.profiles.fields import steps
from lintel.edge.profiles.mqtt_people import OPTIONAL, answered_for, faces_of
from lintel.edge.profiles.mqtt_people import values as people
from lintel.edge.profiles.mqtt_read import Seen, answered, decode, names, read, recognise, says_something, text
from lintel.edge.profiles.mqtt_spec import DEVICE, GATEWAY, Command, Message, MqttSpec
from lintel.edge.profiles.samples import Meaning

__all__ = ["MqttSpec", "body", "compose", "fill", "recognised", "understand"]


SAMPLE_GATEWAY: Final = "gw1"
"""The name of the gateway in the samples of profiles."""


def fill(topic: str, device: str, gateway: str) -> str:
    """A topic of a profile with its two placeholders replaced."""
    return topic.replace(DEVICE, device).replace(GATEWAY, gateway)


def body(command: Command, values: Mapping[str, JsonValue]) -> bytes:
    """The payload of a command. `values` by filler name; raises KeyError for one that is needed and missing."""
    if command.plain is not None:
        return command.plain.encode()
    document: dict[str, JsonValue] = {}
    for pointer, literal in command.literal.items():
        _put(document, pointer, literal)
    for pointer, filler in command.field.items():
        value = values["record" if filler == "record_text" else filler]
        if value is None and filler in OPTIONAL:
            continue
        if filler == "record_text":
            value = text(value)
        elif isinstance(value, float) and value.is_integer():
            value = int(value)  # some firmware reads whole numbers only
        _put(document, pointer, value)
    return msgspec.json.encode(document)


def understand(spec: MqttSpec, topic: str, data: bytes) -> list[Meaning]:
    """What a message of any device of this model means, as plain values: for samples and `lintel profile replay`."""
    try:
        document = decode(data, plain=spec.plain)
    except BadFrame as error:
        return [{"kind": "bad_frame", "why": str(error)}]
    if (found := _said(spec, topic, document)) is not None:
        message, name, seen = found
        stated = names(message.identity, document, fold=message.fold_keys)
        device = name or (stated[0] if stated else "")
        if not device or stated is None or any(s != device for s in stated):
            return [{"kind": "identity_mismatch", "device": name}]
        return [{"kind": message.kind, "device": device} | _plain(seen)]
    for verb, command in spec.command.items():
        answer = command.answer
        heard = [_device_in(t, topic) for t in answer.topics] if answer else []
        if answer and any(name is not None for name in heard) and (told := answered(answer, document)):
            stated = names(answer.identity, document) or []
            device = next((n for n in [*heard, *stated] if n), "")
            said = {} if answer.correlate is None else {"order_id": told[0]}
            about = answered_for(spec.persons, verb, document, good=told[1])
            return [{"kind": "answer", "command": verb, "device": device, **said, "ok": told[1], **about}]
    return []


def recognised(spec: MqttSpec, topic: str, data: bytes) -> str:
    """The name of the profile's message that this is, or "": samples are to show each."""
    try:
        found = _said(spec, topic, decode(data, plain=spec.plain))
    except BadFrame:
        return ""
    return found[0].name if found is not None else ""


def _said(spec: MqttSpec, topic: str, document: JsonValue) -> tuple[Message, str, Seen] | None:
    """The message that a document on a topic is, the device that the topic names, and what it says."""
    on_topic = [(m, _device_in(t, topic)) for m in spec.message for t in m.topics]
    message = recognise([m for m, name in on_topic if name is not None], document)
    seen = read(message, document) if message is not None else None
    if message is None or seen is None or not says_something(seen):
        return None
    return message, next(n for m, n in on_topic if m is message and n is not None), seen


def compose(spec: MqttSpec, order: Meaning) -> tuple[str, bytes]:
    """Topic and payload of `{"command": name, "device": id, ...}`; raises ValueError where there is no such command."""
    command = spec.command.get(str(order.get("command")))
    if command is None:
        raise ValueError(f"expected 'command' to be one of {', '.join(spec.command) or 'none'}")
    values: dict[str, JsonValue] = {"gateway": SAMPLE_GATEWAY, **order}
    try:
        device, gateway = str(values["device"]), str(values["gateway"])
        if command.reply_to is not None:
            values["reply_to"] = fill(command.reply_to, device, gateway)
        if spec.persons is not None and "persons" in order:
            values |= people(spec.persons, faces_of(order["persons"]))
        return fill(command.topic, device, gateway), body(command, values)
    except KeyError as error:
        raise ValueError(f"expected {error} in the order") from None


def _put(document: dict[str, JsonValue], pointer: str, value: JsonValue) -> None:
    *path, last = steps(pointer)
    for step in path:
        inner = document.setdefault(step, {})
        if not isinstance(inner, dict):
            raise TypeError(f"{pointer} lies inside another value")
        document = inner
    document[last] = value


def _device_in(template: str, topic: str) -> str | None:
    """The device a topic names by this template: "" where the template has none, None where it is another topic."""
    template = template.replace(GATEWAY, SAMPLE_GATEWAY)
    before, mark, after = template.partition(DEVICE)
    if not mark:
        return "" if template == topic else None
    name = topic[len(before) : len(topic) - len(after)]
    fits = name and "/" not in name and template.replace(DEVICE, name) == topic
    return name if fits else None


def _plain(seen: Seen) -> dict[str, JsonValue]:
    """The set values of a reading or state, for people and samples."""
    found: dict[str, JsonValue] = {
        "credential": seen.credential or None,
        "score": None if seen.score is None else round(seen.score, 6),
        "liveness": None if seen.liveness is None else round(seen.liveness, 6),
        "record": seen.record or None,
        "time": seen.time,
        "history": True if not seen.live else None,
        "malformed": True if seen.malformed else None,
        "detail": seen.detail or None,
    }
    if seen.message.kind == "door":
        found |= {"channel": seen.message.channel, "open": seen.open}
        return {k: v for k, v in found.items() if v is not None or k == "open"}
    return {k: v for k, v in found.items() if v is not None}
