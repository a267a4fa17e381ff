"""The words of the domain. Frozen values only: no behaviour, no I/O, no clock.

Times named `at`, `*_from`, `*_to` are Unix seconds (UTC); `mono` is monotonic seconds of this boot.
"""

from dataclasses import dataclass, field

from lintel.edge.persons import Consent
from lintel.edge.words import (
    Action,
    ClockState,
    ContactKind,
    Direction,
    Measure,
    Method,
    Notice,
    Outcome,
    PersonKind,
    Reason,
    Status,
    Stream,
)

__all__ = [
    "Action",
    "ClockState",
    "Contact",
    "ContactKind",
    "Credential",
    "Direction",
    "Door",
    "DoorState",
    "Event",
    "Fact",
    "Instant",
    "Measure",
    "Method",
    "Notice",
    "Order",
    "Outcome",
    "PersonKind",
    "Reading",
    "Reason",
    "Status",
    "Stream",
    "Wiring",
]


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment as the gateway knows it. `wall` never runs below the stored floor."""

    wall: float
    mono: float
    state: ClockState


@dataclass(frozen=True, slots=True)
class Reading:
    """A credential was presented: a fact stated by a driver, never a decision.

    `digest` is the 16-byte keyed digest of the credential (see `Digester`); empty when the value was not
    well-formed. `token` holds the text of a signed visitor pass and is kept out of `repr`.
    `age` is how old the presentation already was, in seconds, at `mono` (monotonic; None: when it is handed over);
    infinite for backlog. Time that it waits after that is added by the gate.
    `record` is the device's own record id ("" when it has none): the same record is the same presentation.
    `fault` is set when the driver already knows the reading can not be acted on.
    """

    id: str
    door: str
    device: str
    method: Method
    digest: bytes
    at: float
    age: float = 0.0
    mono: float | None = None
    direction: Direction = Direction.IN
    record: str = ""
    token: str = field(default="", repr=False)
    score: float | None = None
    liveness: float | None = None
    device_time: float | None = None
    fault: Reason | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Credential:
    """One row of the allowlist, or a verified visitor pass in the same shape.

    `groups` are door groups; empty grants nothing. Validity is [valid_from, valid_to); None is open-ended.
    `schedule` names a weekly schedule; "" is always. `use_limit` None is unlimited. `consent`: to a face's use.
    """

    id: str
    person: str
    kind: PersonKind
    method: Method
    status: Status
    groups: frozenset[str]
    valid_from: float | None = None
    valid_to: float | None = None
    schedule: str = ""
    use_limit: int | None = None
    uses: int = 0
    duress: bool = False
    pass_id: int | None = None
    consent: Consent = Consent.NONE


@dataclass(frozen=True, slots=True)
class Door:
    """A door and its rules. `groups` are the door groups it belongs to; `lock` is the device that opens it.

    `max_age` (s): an older presentation is stale. `max_list_age` (s): refuse everybody when the allowlist is older.
    `min_score`, `min_liveness`: the gateway's own limits for face proposals, 0 to 1.
    """

    id: str
    name: str
    groups: frozenset[str]
    lock: str
    channel: int = 0
    open_s: float = 3.0
    methods: frozenset[Method] = frozenset(Method)
    max_age: float = 10.0
    max_list_age: float | None = None
    min_score: float = 0.8
    min_liveness: float | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """An instruction to one device. Void after `deadline` (monotonic seconds): a door never opens late."""

    id: str
    door: str
    device: str
    action: Action
    deadline: float
    channel: int = 0
    seconds: float = 3.0
    text: str = field(default="", repr=False)
    """What to show; of an install order the secret."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A device or its line changed state, or something about it deserves a line in the journal.

    `device` is the device id ("" when the whole line is meant); `count` folds repeats.
    """

    notice: Notice
    device: str = ""
    detail: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True)
class DoorState:
    """What a door position switch says: `open` True, False, or None when unknown (counts as open).

    `door` is the door of a switch of its own; "" where the device that unlocks the door says it, on its `channel`.
    """

    device: str
    channel: int
    open: bool | None
    door: str = ""


EVERY_DOOR = "*"
"""Stands for a door where a fire input is meant that releases the whole site."""


@dataclass(frozen=True, slots=True)
class Contact:
    """An input of a device changed: exit button pressed, fire input on, cover open. `active`: None is unknown.

    `door` is the door that the device stands at; a fire input may be of `EVERY_DOOR`. `input` tells the inputs of one
    device apart: its number there, below 0 what the device watches of itself.
    """

    device: str
    kind: ContactKind
    active: bool | None
    door: str = ""
    input: int = 0


Wiring = tuple[ContactKind, int]
"""A contact that a device can state: its kind, and `Contact.input`."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the journal before it has a place in it. `ts` is Unix milliseconds, `mono` monotonic seconds.

    `device_ts` is the time that the device's own clock gave to the presentation (Unix ms; 0: none): kept, not trusted.
    `type` is for example `access.decision` or `alarm.raised`. No raw credential and no secret ever stands here.
    """

    id: str
    stream: Stream
    type: str
    ts: int
    mono: float
    clock: ClockState
    door: str = ""
    device: str = ""
    result: str = ""
    reason: str = ""
    person: str = ""
    credential: str = ""
    method: str = ""
    direction: str = ""
    record: str = ""
    detail: str = ""
    count: int = 1
    device_ts: int = 0
