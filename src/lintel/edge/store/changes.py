"""What can change on the allowlist, and the frozen answers it gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from types import MappingProxyType

from lintel.edge.model import Direction, Method, PersonKind, Status
from lintel.edge.persons import Consent
from lintel.edge.schedules import Schedule, parse_schedule

KINDS = tuple(PersonKind)
METHODS = tuple(Method)
STATUSES = (Status.ACTIVE, Status.SUSPENDED, Status.REVOKED)
CONSENTS = (Consent.NONE, Consent.GRANTED, Consent.WITHDRAWN)
"""Places in these tuples stand in the database: only ever append."""
CREDENTIAL_SPACE, PASS_SPACE = 0, 1
"""What a count of uses belongs to: the key of a credential's digest, or the number of a pass."""


class Type(StrEnum):
    """Kinds of synced objects that the gateway keeps."""

    CREDENTIAL = "credential"
    VISITOR_PASS = "visitor_pass"  # noqa: S105  a type name
    SCHEDULE = "schedule"
    HOLIDAY_SET = "holiday_set"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class CredentialPut:
    """A person's credential. `digest`: 16 bytes; `rev` None means "newer than what is stored" (a local import).

    `id` "" stands for the digest itself. A revocation and a withdrawn consent are lifted only by a higher `rev`, never
    by None, and a withdrawn consent only where `GRANTED` is said. `consent` None says nothing about it; `consent_rev`:
    the revision that granted it, None: this one. `face`: the value of a face, its id on terminals; "" is not known.
    """

    digest: bytes
    person: str
    kind: PersonKind
    method: Method
    groups: tuple[str, ...]
    status: Status = Status.ACTIVE
    valid_from: float | None = None
    valid_to: float | None = None
    schedule: str = ""
    use_limit: int | None = None
    uses: int = 0
    duress: bool = False
    rev: int | None = None
    id: str = ""
    mask: str = ""
    consent: Consent | None = None
    consent_rev: int | None = None
    face: str = ""

    @property
    def granted_rev(self) -> int:
        """The revision of the consent it grants; 0 is older than every withdrawal."""
        rev = self.rev or 0
        return rev if self.consent_rev is None else min(rev, self.consent_rev)


@dataclass(frozen=True, slots=True)
class PassPut:
    """A visitor pass that is synced here (rotating passes, revoked static ones). `secret`: 32 bytes or None."""

    pass_id: int
    groups: tuple[str, ...] = ()
    status: Status = Status.ACTIVE
    secret: bytes | None = field(default=None, repr=False)
    valid_from: float | None = None
    valid_to: float | None = None
    use_limit: int | None = None
    uses: int = 0
    person: str = ""
    rev: int | None = None
    id: str = ""


@dataclass(frozen=True, slots=True)
class ItemPut:
    """A schedule, holiday set or block as its JSON document; `id` is its name, or the blocked subject's id.

    schedule: see `schedules.parse_schedule`; holiday_set: {"dates": ["2026-10-01"]}; block: {"until": Unix seconds
    or null}.
    """

    type: Type
    id: str
    doc: Mapping[str, object]
    rev: int | None = None

    def __post_init__(self) -> None:
        check_item(self.type, self.id, self.doc)


class Why(StrEnum):
    """Why an object is gone."""

    DELETED = "deleted"
    OUT_OF_SCOPE = "out_of_scope"
    EXPIRED = "expired"
    REVOKED = "revoked"
    ERASED = "erased"


@dataclass(frozen=True, slots=True)
class Del:
    """An object is gone; `why`: a word of `Why`. Its tombstone stays 90 days.

    `id` is the object's id; for a credential without one, the 32 hex digits of its digest.
    """

    type: Type
    id: str
    rev: int | None = None
    why: str = "deleted"


@dataclass(frozen=True, slots=True)
class Uses:
    """Uses that were counted elsewhere, also of what has no row here. Merged by maximum."""

    space: int
    id: int
    uses: int


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A consent that was taken back, also of a face that has no row here. `key`: the first 8 bytes of its digest."""

    key: int
    rev: int
    id: str = ""


@dataclass(frozen=True, slots=True)
class Locked:
    """A door group that is locked down. No list lifts it."""

    group: str


Put = CredentialPut | PassPut | ItemPut
Change = Put | Del | Uses | Withdrawn | Locked


@dataclass(frozen=True, slots=True)
class Applied:
    """What a set of changes did. `kept`: what is stored was the same or newer. `errors`: (id, what is wrong)."""

    put: int
    deleted: int
    kept: int
    revision: int
    errors: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class PassRow:
    """A visitor pass that was synced or revoked here, or whose uses were counted here."""

    pass_id: int
    status: Status
    secret: bytes | None = field(repr=False)
    groups: frozenset[str]
    valid_from: float | None
    valid_to: float | None
    use_limit: int | None
    uses: int
    person: str
    id: str
    """Its own id, under which it may be blocked; `vp_<pass_id>` for one that came without."""


@dataclass(frozen=True, slots=True)
class SiteData:
    """What holds for every door at one revision.

    `blocks` maps a person's, credential's or pass's id to the block's end (None: for ever). `fault`: the list was lost
    and nothing may be decided from it. `restored`: it is an older one, from a snapshot or put back by hand; uses that
    were taken since are not in it. Both last until a full checkpoint, or a list that an operator calls whole.
    """

    schedules: Mapping[str, Schedule] = field(default_factory=lambda: MappingProxyType({}))
    holidays: frozenset[date] = frozenset()
    blocks: Mapping[str, float | None] = field(default_factory=lambda: MappingProxyType({}))
    lockdown: frozenset[str] = frozenset()
    synced_at: float | None = None
    fresh_until: float | None = None
    epoch: int = 0
    seq: int = 0
    fault: bool = False
    restored: bool = False


@dataclass(frozen=True, slots=True)
class CountedUse:
    """One use of a credential with a use limit."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class PassUse:
    """One use of a static visitor pass that allows `limit` uses; the pass need not be known here."""

    pass_id: int
    limit: int


@dataclass(frozen=True, slots=True)
class StepUse:
    """One showing of a rotating pass: each (pass, step, direction) once, and at most `limit` in all."""

    pass_id: int
    step: int
    direction: Direction
    limit: int | None = None


def check_item(kind: Type, name: str, doc: Mapping[str, object]) -> Schedule | frozenset[date] | float | None:
    """Read a document; raises ValueError that says what was expected."""
    if kind is Type.SCHEDULE:
        return parse_schedule(name, doc)
    if kind is Type.HOLIDAY_SET:
        dates = doc.get("dates")
        if not isinstance(dates, list) or set(doc) - {"dates"}:
            raise ValueError(f'holiday_set {name}: expected {{"dates": ["2026-10-01", ...]}}')
        try:
            return frozenset(date.fromisoformat(str(d)) for d in dates)
        except ValueError:
            raise ValueError(f"holiday_set {name}: expected dates such as 2026-10-01") from None
    if kind is Type.BLOCK:
        until = doc.get("until")
        if set(doc) - {"until"} or isinstance(until, bool) or not (until is None or isinstance(until, int | float)):
            raise ValueError(f'block {name}: expected {{"until": Unix seconds or null}}')
        return until
    raise ValueError(f"{kind} is no document")
