"""The closed vocabularies of the domain: words that stand in the journal and in files, each once."""

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


class ContactKind(StrEnum):
    """What an input means. A door position switch is a `DoorState` of its own."""

    EXIT = "exit"
    FIRE = "fire"
    TAMPER = "tamper"
    POWER = "power"


class Measure(StrEnum):
    """What a device says of its own condition, with its unit."""

    BATTERY_PERCENT = "battery_percent"
    SIGNAL_DBM = "signal_dbm"
    SUPPLY_MV = "supply_mv"
