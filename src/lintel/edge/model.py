"""The words of the domain. Frozen values only: no behaviour, no I/O, no clock.

Times named `at`, `*_from`, `*_to` are Unix seconds (UTC); `mono` is monotonic seconds of this boot.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class Reason(StrEnum):
    """Why a presentation was decided as it was. Closed vocabulary: never translated, never removed."""

    GRANTED = "granted"
    FIRE_RELEASE = "fire_release"
    EGRESS = "egress"
    OPERATOR_OPEN = "operator_open"
    BAD_FORMAT = "bad_format"
    RATE_LIMITED = "rate_limited"
    DEVICE_UNTRUSTED = "device_untrusted"
    STALE_READING = "stale_reading"
    BAD_SIGNATURE = "bad_signature"
    UNTRUSTED_KEY = "untrusted_key"
    REPLAYED = "replayed"
    UNKNOWN_CREDENTIAL = "unknown_credential"
    BLOCKED = "blocked"
    REVOKED = "revoked"
    SUSPENDED = "suspended"
    WRONG_SCOPE = "wrong_scope"
    NO_GRANT = "no_grant"
    LOCKDOWN = "lockdown"
    CLOCK_UNTRUSTED = "clock_untrusted"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    OUTSIDE_SCHEDULE = "outside_schedule"
    ALLOWLIST_TOO_OLD = "allowlist_too_old"
    METHOD_DISABLED = "method_disabled"
    CONSENT_MISSING = "consent_missing"
    CONSENT_WITHDRAWN = "consent_withdrawn"
    LIVENESS_FAILED = "liveness_failed"
    LOW_SCORE = "low_score"
    ANTI_PASSBACK = "anti_passback"
    INTERLOCK = "interlock"
    DUAL_REQUIRED = "dual_required"
    ALREADY_USED = "already_used"
    FENCED = "fenced"
    STORAGE_READ_ONLY = "storage_read_only"
    STORAGE_FAULT = "storage_fault"
    INTERNAL_ERROR = "internal_error"


class Outcome(StrEnum):
    """What became of a door order. `UNKNOWN_OUTCOME` is never repeated: a repeat may open twice."""

    EXECUTED = "executed"
    REFUSED_BY_DEVICE = "refused_by_device"
    UNKNOWN_OUTCOME = "unknown_outcome"
    ORDER_EXPIRED = "order_expired"
    NOT_SENT = "not_sent"


class Notice(StrEnum):
    """Alarms and state changes of doors, device links and the box itself (closed families)."""

    DURESS = "duress"
    GUESSING = "guessing"
    MASS_CHANGE_HELD = "mass_change_held"
    FORCED_OPEN = "forced_open"
    HELD_OPEN = "held_open"
    TAMPER = "tamper"
    COMMS_LOST = "comms_lost"
    COMMS_RESTORED = "comms_restored"
    DEVICE_FAULT = "device_fault"
    LOW_BATTERY = "low_battery"
    FRAME_ERROR = "frame_error"
    IDENTITY_MISMATCH = "identity_mismatch"
    RETAINED_IGNORED = "retained_ignored"
    DUPLICATE = "duplicate"
    TAKEOVER = "takeover"
    FLOOD = "flood"
    SEQUENCE_GAP = "sequence_gap"
    SEQUENCE_RESET = "sequence_reset"
    LINK_DOWNGRADE = "link_downgrade"
    WEAK_KEY = "weak_key"
    INSTALL_WINDOW_CLOSED = "install_window_closed"
    BAD_MAC = "bad_mac"
    REPLAYED = "replayed"
    CLEARTEXT_REFUSED = "cleartext_refused"
    READER_KEY_LOST = "reader_key_lost"
    KEY_SET = "key_set"
    FIRE = "fire"
    POWER = "power"
    DEVICE_CLOCK_OFF = "device_clock_off"
    DISK_FULL = "disk_full"
    STORAGE_READ_ONLY = "storage_read_only"
    COMMIT_FAILED = "commit_failed"
    DB_DAMAGED = "db_damaged"
    DB_RESTORED = "db_restored"
    CLOCK_STEPPED = "clock_stepped"
    CLOCK_DRIFT = "clock_drift"
    CLOCK_UNKNOWN = "clock_unknown"
    AUDIT_BROKEN = "audit_broken"
    SCHEMA_NEWER = "schema_newer"
    HELPER_KILLED = "helper_killed"
    GAP = "gap"
    ERASE_DONE = "erase_done"
    ERASE_FAILED = "erase_failed"


class Stream(StrEnum):
    """Journal streams; each has its own gap-free sequence and hash chain."""

    ACCESS = "access"
    ALARM = "alarm"
    AUDIT = "audit"
    WORK = "work"
    TELEMETRY = "telemetry"


class Method(StrEnum):
    """How a person identifies. `PASS` is a signed visitor QR; `QR` is an opaque code on the allowlist."""

    QR = "qr"
    PASS = "pass"  # noqa: S105  a method name, no password
    CARD = "card"
    FACE = "face"
    PIN = "pin"
    BLE = "ble"
    PLATE = "plate"


class PersonKind(StrEnum):
    """Who somebody is to the community. Only visitors lose access when the list grows too old."""

    OWNER = "owner"
    TENANT = "tenant"
    FAMILY = "family"
    STAFF = "staff"
    CONTRACTOR = "contractor"
    VISITOR = "visitor"


class Status(StrEnum):
    """Whether a credential is in force. Revocation is sticky: only a higher revision lifts it."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"


class Direction(StrEnum):
    """Which way through the door."""

    IN = "in"
    OUT = "out"


class Action(StrEnum):
    """What a driver can be told to do at a door."""

    OPEN = "open"
    HOLD = "hold"
    RELEASE = "release"
    SHOW = "show"
    BEEP = "beep"
    INSTALL = "install"
    """Arm the install window of a device for `seconds`: only in it may keys be made or a lock be paired."""


class ClockState(StrEnum):
    """How far wall time can be relied on."""

    SYNCED = "synced"
    HOLDOVER = "holdover"
    UNKNOWN = "unknown"


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
    `schedule` names a weekly schedule; "" is always. `use_limit` None is unlimited. `withdrawn`: so is the consent.
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
    withdrawn: bool = False


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
    text: str = ""


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


class ContactKind(StrEnum):
    """What an input means. A door position switch is a `DoorState` of its own."""

    EXIT = "exit"
    FIRE = "fire"
    TAMPER = "tamper"
    POWER = "power"


@dataclass(frozen=True, slots=True)
class Contact:
    """An input of a device changed: exit button pressed, fire input on, cover open. `active`: None is unknown.

    `door` is the door that the device stands at; a fire input may be of `EVERY_DOOR`.
    """

    device: str
    kind: ContactKind
    active: bool | None
    door: str = ""


class Measure(StrEnum):
    """What a device says of its own condition, with its unit."""

    BATTERY_PERCENT = "battery_percent"
    SIGNAL_DBM = "signal_dbm"
    SUPPLY_MV = "supply_mv"


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
