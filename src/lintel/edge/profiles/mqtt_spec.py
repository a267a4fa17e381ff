"""What an MQTT terminal's profile may say: topics, messages, commands. Data only, nothing in it can run anything."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from lintel.edge.model import Wiring
from lintel.edge.profiles.fields import STRICT, Name, Pointer, Text
from lintel.edge.profiles.mqtt_people_spec import ManyFiller, PersonFiller, Persons

DEVICE: Final = "{device}"
GATEWAY: Final = "{gateway}"
NOT_A_NAME: Final = "the device's id in its topics, without '/', '+', '#', braces and spaces"


def names_device(name: str) -> bool:
    """Whether a device may be called so in topics; `NOT_A_NAME` says what was expected."""
    return name.isprintable() and bool(name) and not set(name) & set("/+#{} ")


def _topic(value: str) -> str:
    rest = value.replace(DEVICE, "").replace(GATEWAY, "")
    if not value.isprintable() or any(mark in rest for mark in "{}+#"):
        raise ValueError("a literal MQTT topic; only '{device}' and '{gateway}' are replaced, '+' and '#' are refused")
    return value


Topic = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_topic)]
"""A literal topic. `{device}` is the device's address, `{gateway}` the name of the gateway."""

Literal_ = Annotated[str, Field(max_length=256)] | int | bool
Pointers = Annotated[tuple[Pointer, ...], Field(max_length=8)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Kind = Literal["face", "qr", "card", "online", "offline", "heartbeat", "door"]
Number = Literal["number", "percent"]
Clock = Literal["unix_s", "unix_ms", "sec_usec", "local_time"]
Filler = Literal[
    "order_id", "device", "gateway", "reply_to", "channel", "seconds", "now_local", "record", "record_text", "text"
]
"""What a command's field can be filled with.

`record` is the device's record id in the JSON type in which it came, `record_text` the same as a string, `now_local`
`YYYY-MM-DD HH:MM:SS` in the site's time zone, `seconds` a number, `reply_to` the command's own `reply_to`.
"""

AnyFiller = Filler | PersonFiller | ManyFiller
"""Also about persons: only in the commands that `persons` names."""

PRESENTATIONS: Final = ("face", "qr", "card")


@dataclass(frozen=True, slots=True)
class Share:
    """Where a score stands and how: `number` is 0 to 1 as a JSON number, `percent` 0 to 100 and may be text."""

    __pydantic_config__ = STRICT

    at: Annotated[Pointers, Field(min_length=1)]
    to: Number


@dataclass(frozen=True, slots=True)
class Moment:
    """Where the device's own time stands. `sec_usec` takes two pointers: whole seconds and microseconds."""

    __pydantic_config__ = STRICT

    at: Annotated[Pointers, Field(min_length=1)]
    to: Clock


@dataclass(frozen=True, slots=True)
class Message:
    """One kind of message a device sends. The first one whose `match` holds on its topic is taken.

    `identity` are the pointers that must name the device where they are present; a topic without `{device}` needs one.
    `credential` alternatives are tried in order; a `face` without one is nobody we know. `record` pointers are joined
    by "-"; `numbered`: the first counts up by one, so that gaps and resets show. `live` are the conditions of a live
    event, and `clock_tolerance_s` how far device time may be off for one: anything else is history. `detail` pointers
    end in the journal as `name=value` (facts of the terminal such as "refused"; no credentials, no names of persons).
    `reply` is the command sent back: at once, for a presentation when it is stored. `retained`: a retained copy states
    the present state (of a door contact only while the device is not known to be away).
    `open` is the pointer of a door contact whose literal value `open_is` means open; absent, it says nothing.
    """

    __pydantic_config__ = STRICT

    name: Name
    kind: Kind
    topics: Annotated[tuple[Topic, ...], Field(min_length=1, max_length=8)]
    match: Mapping[Pointer, Literal_] = field(default_factory=dict)
    identity: Pointers = ()
    fold_keys: bool = False
    credential: Pointers = ()
    score: Share | None = None
    liveness: Share | None = None
    record: Pointers = ()
    numbered: bool = False
    time: Moment | None = None
    live: Mapping[Pointer, Literal_] = field(default_factory=dict)
    clock_tolerance_s: Seconds | None = None
    detail: Mapping[Name, Pointer] = field(default_factory=dict)
    open: Pointer | None = None
    open_is: Literal_ = True
    channel: Annotated[int, Field(ge=0, le=255)] = 0
    reply: Name | None = None
    retained: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """How a device answers a command. Good when every `ok` holds and every `ok_if_present` is absent or holds.

    `correlate` is the pointer of the id sent with the command. Without it the device names no id: the answer is that
    of the order of its kind that is under way. `failed` are pointers whose presence means "no".
    """

    __pydantic_config__ = STRICT

    topics: Annotated[tuple[Topic, ...], Field(min_length=1, max_length=8)]
    timeout_s: Seconds
    correlate: Pointer | None = None
    match: Mapping[Pointer, Literal_] = field(default_factory=dict)
    identity: Pointers = ()
    ok: Mapping[Pointer, Literal_] = field(default_factory=dict)
    ok_if_present: Mapping[Pointer, Literal_] = field(default_factory=dict)
    failed: Pointers = ()

    @property
    def mark(self) -> str:
        """Stands for the id of an order whose answer names none: what this answer looks like, which no id does."""
        return f"= {sorted(self.match.items())} {sorted(self.ok.items())}"


@dataclass(frozen=True, slots=True)
class Command:
    """One command: `literal` and `field` values at their JSON pointers, or `plain` text in place of a JSON document.

    Without `answer` its outcome stays unknown.
    """

    __pydantic_config__ = STRICT

    topic: Topic
    literal: Mapping[Pointer, Literal_] = field(default_factory=dict)
    field: Mapping[Pointer, AnyFiller] = field(default_factory=dict)
    plain: Annotated[str, Field(max_length=256)] | None = None
    reply_to: Topic | None = None
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class MqttSpec:
    """The `[mqtt]` table of a profile.

    `heartbeat_s` is the period of the device's heartbeat (None: it has none); three missed mean "lost". `ask` names
    the command that asks for the door contact's state: sent when the line comes up and when the device does.
    `set_clock` names the one that sets the device's clock: sent when it comes on line, daily, and while it is off.
    `enforces_validity`: whether the terminal itself stops admitting an expired person while it is off line.
    `plain`: a payload that is no JSON is a text; such as `ON`, which the pointer "" finds.
    `persons`: how its own person list is kept; without, it has none that we know of.
    `unconfirmed` lists what no document or device has confirmed yet; the operator sees it.
    """

    __pydantic_config__ = STRICT

    enforces_validity: bool
    message: Annotated[tuple[Message, ...], Field(max_length=32)]
    command: Mapping[Name, Command] = field(default_factory=dict)
    heartbeat_s: Seconds | None = None
    ask: Name | None = None
    set_clock: Name | None = None
    plain: bool = False
    persons: Persons | None = None
    unconfirmed: Annotated[tuple[Text, ...], Field(max_length=16)] = ()

    @property
    def orders(self) -> tuple[str, ...]:
        """What the gateway ever says, by name: each needs a sample."""
        return tuple(self.command)

    @property
    def channels(self) -> int:
        """How many locks it can open: 64 where the command names a channel."""
        if "open" not in self.command:
            return 0
        return 64 if "channel" in self.command["open"].field.values() else 1

    @property
    def contacts(self) -> frozenset[Wiring]:
        """Which contacts it can state."""
        return frozenset()
