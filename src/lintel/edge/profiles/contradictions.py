"""What no single key of a profile can see: names of nothing, doubled names, keys that do not fit together.

It works on the table as it was read, so that these are told beside the mistakes of single keys. A value of the wrong
type is the schema's to name and is passed over here.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Final

from lintel.edge.profiles.fields import steps
from lintel.edge.profiles.gpio import cut_wire
from lintel.edge.profiles.mqtt_spec import DEVICE
from lintel.edge.tables import Row, rows_at, table_at, text_at

Found = Iterator[tuple[str, str]]
"""Key path, and what was expected there."""

_ORDERS_ONLY: Final = {"channel", "seconds", "text"}
_RESERVED: Final = ("ack", "nak")
_INPUTS_ONLY: Final = ("debounce_ms", "debounce", "unsupervised")
_RELAYS_ONLY: Final = ("drive", "fail_safe", "relock_on_open_s")


def contradictions(profile: Row) -> Found:
    """All of a file's."""
    yield from _serial(table_at(profile, "serial"))
    yield from dict.fromkeys(_mqtt(table_at(profile, "mqtt")))
    yield from _gpio(table_at(profile, "gpio"))
    yield from _osdp(table_at(profile, "osdp"))


def _serial(serial: Row) -> Found:
    names = [text_at(row, "name") for _, row in rows_at(serial, "command")]
    for number, row in rows_at(serial, "command"):
        if (name := text_at(row, "name")) in _RESERVED or (name and name in names[:number]):
            yield f"serial.command[{number}].name", "expected a name not used before, and not 'ack' or 'nak'"
    init = serial.get("init")
    uses = [(f"serial.init[{n}]", name) for n, name in enumerate(init if isinstance(init, list) else [])]
    uses += [(f"serial.{key}", text_at(serial, key)) for key in ("rearm", "on_close") if text_at(serial, key)]
    known = ", ".join(filter(None, names)) or "there are none"
    for where, name in uses:
        if isinstance(name, str) and name not in names:
            yield where, f"expected the name of one of its commands ({known})"
    if serial.get("rearm_every_s") and not serial.get("rearm"):
        yield "serial.rearm", "expected the name of a command, since rearm_every_s is set"
    kind = text_at(table_at(serial, "framing"), "kind")
    if kind == "length" and "extract" not in serial:
        yield "serial.extract", "expected this table: a binary frame needs it to find the text"
    if kind in ("delimited", "idle_gap") and "extract" in serial:
        yield "serial.extract", "expected no such table unless framing.kind is 'length'"


def _gpio(gpio: Row) -> Found:
    relay = text_at(gpio, "role") == "relay"
    for key in _INPUTS_ONLY if relay else _RELAYS_ONLY:
        if key in gpio:
            yield f"gpio.{key}", f"expected no such key with role {text_at(gpio, 'role')!r}"
    rest = not relay and cut_wire(text_at(gpio, "bias"), active_low=gpio.get("active_low") is True) is False
    if rest and gpio.get("unsupervised") is not True:
        yield "gpio.unsupervised", "expected true: with this bias and polarity a cut wire looks like rest"
    elif gpio.get("unsupervised") is True and not rest and text_at(gpio, "bias") in ("pull_up", "pull_down"):
        yield "gpio.unsupervised", "expected false: with this bias and polarity a cut wire is seen"


def _osdp(osdp: Row) -> Found:
    wired: set[int] = set()
    for number, row in rows_at(osdp, "input"):
        at = row.get("number")
        if isinstance(at, int):
            if at in wired:
                yield f"osdp.input[{number}].number", "expected a number used once: an input is wired to one thing"
            wired.add(at)


def _mqtt(mqtt: Row) -> Found:
    commands = {name: row for name, row in table_at(mqtt, "command").items() if isinstance(row, dict)}
    messages = rows_at(mqtt, "message")
    for number, message in messages:
        yield from _message(f"mqtt.message[{number}]", message, commands)
    for name, command in commands.items():
        yield from _command(f"mqtt.command.{name}", command)
    for key in ("ask", "set_clock"):
        if (name := text_at(mqtt, key)) and name not in commands:
            yield f"mqtt.{key}", f"expected the name of a command: {', '.join(commands)}"
    yield from _persons(table_at(mqtt, "persons"), commands)
    names = [text_at(message, "name") for _, message in messages]
    for name in filter(None, names):
        if names.count(name) > 1:
            yield "mqtt.message", f"expected each name once, {name!r} is twice"


def _message(where: str, message: Row, commands: Mapping[str, Row]) -> Found:
    kind, reply = text_at(message, "kind"), text_at(message, "reply")
    if not message.get("identity") and _anonymous(message):
        yield f"{where}.identity", "expected a pointer to the device's id: a topic does not name the device"
    if reply and reply not in commands:
        yield f"{where}.reply", f"expected the name of a command: {', '.join(commands)}"
    if reply in commands and _ORDERS_ONLY & set(_fillers(commands[reply])):
        yield f"{where}.reply", "expected a command without the fields of orders: channel, seconds, text"
    if kind in ("qr", "card") and not message.get("credential"):
        yield f"{where}.credential", "expected pointers to what was presented"
    if kind and (kind == "door") != ("open" in message):
        yield f"{where}.open", "expected with kind 'door', and only there"
    if message.get("retained") is True and kind not in ("", "online", "offline", "door"):
        yield f"{where}.retained", "expected only with kind 'online', 'offline' or 'door'"
    if "clock_tolerance_s" in message and "time" not in message:
        yield f"{where}.clock_tolerance_s", "expected together with 'time'"
    time = table_at(message, "time")
    at, to = time.get("at"), text_at(time, "to")
    if to and isinstance(at, list) and len(at) != (2 if to == "sec_usec" else 1):
        yield f"{where}.time.at", "expected two pointers with 'sec_usec', else one"


def _command(where: str, command: Row) -> Found:
    places = sorted(steps(at) for at in [*table_at(command, "literal"), *table_at(command, "field")])
    for at, later in pairwise(places):
        if later[: len(at)] == at:
            yield where, f"expected values that do not lie inside each other: {'/'.join(at)!r} and {'/'.join(later)!r}"
    if "plain" in command and places:
        yield f"{where}.plain", "expected no 'literal' and no 'field' beside it"
    if ("reply_to" in _fillers(command)) != ("reply_to" in command):
        yield f"{where}.reply_to", "expected together with a field 'reply_to'"
    answer = command.get("answer")
    if not isinstance(answer, dict):
        return
    if "correlate" in answer and "order_id" not in _fillers(command):
        yield f"{where}.field", "expected an 'order_id': the answer is correlated by it"
    if not answer.get("identity") and _anonymous(answer):
        yield f"{where}.answer.identity", "expected a pointer to the device's id: a topic does not name the device"
    if not any(answer.get(key) for key in ("ok", "ok_if_present", "failed")):
        yield f"{where}.answer.ok", "expected what a good answer looks like"


def _persons(persons: Row, commands: Mapping[str, Row]) -> Found:
    """Commands about persons are there, are answered, and say whom they mean; no other command may."""
    about = {key: name for key in ("put", "update", "first", "drop", "query") if (name := text_at(persons, key))}
    for key, name in about.items():
        where, command = f"mqtt.persons.{key}", commands.get(name, {})
        fillers = _fillers(command)
        if name not in commands:
            yield where, f"expected the name of a command: {', '.join(commands)}"
        elif "answer" not in command:
            yield where, "expected a command with an answer: what nobody confirms is stored nowhere"
        elif key != "query" and not {"person_id", "person_ids", "persons"} & set(fillers):
            yield where, "expected a command with a field 'person_id', 'person_ids' or 'persons'"
        many = {"put": "batch", "drop": "drop_batch"}.get(key, "")
        if name in commands and persons.get(many, 1) != 1 and not {"person_ids", "persons"} & set(fillers):
            yield f"mqtt.persons.{many}", f"expected 1: the command {name!r} takes one person"
    for name, command in commands.items():
        if name not in about.values() and any(filler.startswith("person") for filler in _fillers(command)):
            yield f"mqtt.command.{name}.field", "expected no field about persons: 'mqtt.persons' does not name it"
    if ("query" in persons) != ("listing" in persons):
        yield "mqtt.persons.listing", "expected together with 'query'"


def _fillers(command: Row) -> list[str]:
    return [filler for filler in table_at(command, "field").values() if isinstance(filler, str)]


def _anonymous(row: Row) -> bool:
    """Whether a topic of this message or answer does not name the device."""
    topics = row.get("topics")
    return isinstance(topics, list) and any(isinstance(t, str) and DEVICE not in t for t in topics)
