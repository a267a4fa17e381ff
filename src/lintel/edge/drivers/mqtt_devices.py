"""The devices on an MQTT line: who they are, whether they are there, how much they may send. No I/O."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from pydantic import JsonValue

from lintel.edge.drivers.base import Device
from lintel.edge.drivers.mqtt_lag import Lag
from lintel.edge.errors import Mistake
from lintel.edge.model import Fact, Notice
from lintel.edge.profiles.mqtt import MqttSpec, fill
from lintel.edge.profiles.mqtt_read import answered, names, recognise
from lintel.edge.profiles.mqtt_spec import DEVICE, NOT_A_NAME, PRESENTATIONS, Answer, Message, names_device

FOLD_S: Final = 10.0
"""Repeats of the same fact are told at most this often, with their count (s)."""

GRACE_S: Final = 5.0
"""A device is lost after three heartbeats and this (95 s for `mqtt/face`)."""

MUTE_AFTER: Final = 200
"""Messages above its rate in one second after which a device's topic is not listened to for a while."""

MUTE_S: Final = 10.0
"""How long that is (s). The broker drops what comes meanwhile: reading it would cost the other devices their time."""

TOKEN_BYTES: Final = 500_000
"""A message counts once more for each such part of it: 20 short ones a second, or 10 MB."""

_MOST_FOLDED = 256


class Terminal:
    """One device. `names` are the ids it may call itself; `alive` is None until it has spoken or missed heartbeats.

    The address of a device is its id in topics; other ids that it uses in payloads follow after "|". `turn` and `wiped`
    are those of `persons.Presence`.
    """

    __slots__ = (
        "address", "alive", "burst", "clock_off", "clock_set", "device", "doors", "dropped", "lag", "names", "numbers",
        "rate", "seen", "spec", "stamp", "tokens", "turn", "wiped",
    )  # fmt: skip

    def __init__(self, device: Device, spec: MqttSpec, rate: float, burst: int) -> None:
        self.device, self.spec = device, spec
        self.address, *others = device.address.split("|")
        self.names = frozenset((self.address, *others))
        self.doors = sorted({m.channel for m in spec.message if m.kind == "door"})
        self.alive: bool | None = None
        self.seen = 0.0
        self.clock_off = False
        self.clock_set = float("-inf")
        self.lag = Lag()
        self.numbers: dict[str, tuple[int, float]] = {}  # by message: the newest record's number and device time
        self.dropped = self.turn = self.wiped = 0
        self.rate, self.burst, self.tokens, self.stamp = rate, burst, float(burst), 0.0

    def came_on_line(self, now: float) -> None:
        """The device says so: what it held back comes now, and its clock may be that of a cold start."""
        self.turn += 1
        self.lag.online(now)
        self.clock_set = float("-inf")

    def may_send(self, now: float, size: int) -> bool:
        """Take a message out of the device's allowance (a token bucket), or count it as dropped.

        `size` in bytes: a picture costs the loop more than a short message, and counts as several.
        """
        self.tokens = min(self.burst, self.tokens + (now - self.stamp) * self.rate)
        self.stamp = now
        cost = 1 + size // TOKEN_BYTES
        if self.tokens < min(cost, self.burst):
            self.dropped += 1
            return False
        self.tokens -= cost
        return True

    def overdue(self, now: float) -> bool:
        """Whether three heartbeats were missed."""
        beat = self.spec.heartbeat_s
        return beat is not None and now - self.seen > 3 * beat + GRACE_S


@dataclass(slots=True)
class Group:
    """What devices of one model say on one topic. `owner` is set where the topic names the device."""

    messages: tuple[Message, ...]
    answers: tuple[Answer, ...]
    owner: Terminal | None = None
    by_name: dict[str, Terminal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Heard:
    """What a document on a topic is: a device's message, its answer to an order, or somebody else's voice.

    `terminal` is None where nobody of this line can be meant; `mismatch` then says what was stated.
    """

    terminal: Terminal | None
    message: Message | None = None
    answer: tuple[str, bool] | None = None
    mismatch: str = ""


class Route:
    """One topic: the device it belongs to, or the models that share it. Not listened to until `muted` (monotonic s)."""

    __slots__ = ("groups", "muted", "owner", "plain", "presents", "topic")

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.groups: list[Group] = []
        self.plain = False
        self.owner: Terminal | None = None
        self.presents: Message | None = None
        self.muted = 0.0

    @property
    def only_answers(self) -> bool:
        """Whether nothing but answers to our own commands comes in here."""
        return not any(group.messages for group in self.groups)

    def hear(self, document: JsonValue) -> Iterator[Heard]:
        """What a document may be, best guess first; nothing where no message of the profiles matches."""
        for group in self.groups:
            for message in group.messages:
                if recognise((message,), document) is not None:
                    yield _heard(group, message, names(message.identity, document, fold=message.fold_keys))
            for answer in group.answers:
                found = answered(answer, document)
                if found is not None:
                    who = _heard(group, None, names(answer.identity, document))
                    yield Heard(who.terminal, answer=found, mismatch=who.mismatch)


def _heard(group: Group, message: Message | None, stated: list[str] | None) -> Heard:
    """Topic identity, payload identity and configured device must be the same (abuse case B7)."""
    terminal = group.owner
    if terminal is None and stated:
        terminal = group.by_name.get(stated[0])
    if stated is not None and terminal is not None and terminal.names.issuperset(stated):
        return Heard(terminal, message)
    what = "no id" if not stated else ", ".join(ascii(name[:32]) for name in stated[:2])
    return Heard(None, message, mismatch=what)


def routes(terminals: Sequence[Terminal], gateway: str) -> dict[str, Route]:
    """The topics to subscribe to, each with what can come in on it: no wildcards, other tenants are none of ours."""
    found: dict[str, Route] = {}
    groups: dict[tuple[str, int], Group] = {}
    for terminal in terminals:
        spec = terminal.spec
        answers: list[Answer] = []
        for command in spec.command.values():
            if command.answer is not None and command.answer not in answers:
                answers.append(command.answer)
        patterns = dict.fromkeys([t for m in spec.message for t in m.topics] + [t for a in answers for t in a.topics])
        for pattern in patterns:
            topic = fill(pattern, terminal.address, gateway)
            route = found.setdefault(topic, Route(topic))
            route.plain = route.plain or spec.plain
            own = DEVICE in pattern
            key = (topic, id(terminal) if own else id(spec))
            if key not in groups:
                messages = tuple(m for m in spec.message if pattern in m.topics)
                groups[key] = Group(messages, tuple(a for a in answers if pattern in a.topics))
                route.groups.append(groups[key])
            if own:
                groups[key].owner = route.owner = terminal
            else:
                groups[key].by_name.update(dict.fromkeys(terminal.names, terminal))
    for route in found.values():
        possible = [m for g in route.groups for m in g.messages]
        if route.owner is not None and possible and all(m.kind in PRESENTATIONS for m in possible):
            route.presents = replace(possible[0], reply=None)  # what can not be read names no record
    return found


def mistakes(devices: Sequence[Device]) -> list[Mistake]:
    """What is wrong with the devices of a line."""
    found = []
    taken: dict[tuple[str, str], str] = {}
    for device in devices:
        where = f"device {device.id}.address"
        if not isinstance(device.profile.spec, MqttSpec):
            found.append(Mistake(f"device {device.id}.profile", "expected the profile of an MQTT device"))
        for name in device.address.split("|"):
            if not names_device(name):
                found.append(Mistake(where, f"expected {NOT_A_NAME}"))
                break
            other = taken.setdefault((device.profile.name, name), device.id)
            if other != device.id:
                found.append(Mistake(where, f"expected an id of its own: device {other} has the same"))
    return found


class Folder:
    """Tells a fact at once and then, while it repeats, every ten seconds with a count (invariant G3)."""

    def __init__(self, report: Callable[[Fact], None]) -> None:
        self._report = report
        self._open: dict[tuple[Notice, str, str], list[float]] = {}

    def tell(self, notice: Notice, device: str, detail: str, now: float, count: int = 1) -> None:
        """State `count` times the same. Strangers can not fill the memory: beyond 256 kinds the detail is left out."""
        key = (notice, device, detail[:200])
        if key not in self._open and len(self._open) >= _MOST_FOLDED:
            key = (notice, device, "...")
        entry = self._open.get(key)
        if entry is None:
            self._open[key] = [now, 0]
            self._report(Fact(notice, device, key[2], count))
        else:
            entry[1] += count

    def flush(self, now: float) -> None:
        """Tell the counts that are due, and forget what has stopped."""
        for key, (since, count) in list(self._open.items()):
            if now - since < FOLD_S:
                continue
            if count:
                self._report(Fact(*key, count=int(count)))
                self._open[key] = [now, 0]
            else:
                del self._open[key]
