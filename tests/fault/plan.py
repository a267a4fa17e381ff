"""What the recorded runs do, and what must therefore be stored: written apart from the product, as its oracle."""

import hashlib
from functools import cache

from lintel.edge.model import ClockState, Direction, Event, Method, PersonKind, Status, Stream
from lintel.edge.store import Change, CountedUse, CredentialPut, Del, ItemPut, PassPut, PassUse, StepUse, Type

T0 = 1_800_000_000
PEOPLE = 24
STREAMS = (Stream.ACCESS, Stream.ACCESS, Stream.ALARM, Stream.ACCESS, Stream.AUDIT, Stream.ACCESS, Stream.WORK)


def digest(name: str) -> bytes:
    """A stand-in for the keyed digest of a credential."""
    return hashlib.blake2b(name.encode(), digest_size=16).digest()


@cache
def event(number: int) -> Event:
    """The event with this number; every third one carries a device's record."""
    return Event(
        f"evt_{number:05d}", STREAMS[number % len(STREAMS)], "access.decision", (T0 + number) * 1000, float(number),
        ClockState.SYNCED, door="gate", device=f"reader-{number % 3}", result="open", reason="granted",
        record=f"r{number}" if number % 3 == 0 else "", detail="x" * (number % 40),
    )  # fmt: skip


@cache
def outcome(number: int, word: str) -> Event:
    """What is journaled about use `number`."""
    return Event(
        f"use_{number:05d}_{word}", Stream.ACCESS, "access.decision", (T0 + number) * 1000, 1.0, ClockState.SYNCED,
        door="gate", result="open" if word == "granted" else "deny", reason=word,
    )  # fmt: skip


def use(number: int) -> CountedUse | PassUse | StepUse:
    """The one-time right with this number: a counted credential, a static pass, a step of a rotating pass."""
    if number % 3 == 0:
        return CountedUse(digest(f"once {number}"))
    if number % 3 == 1:
        return PassUse(1000 + number, 1)
    return StepUse(7, 5000 + number, Direction.IN)


def refusal(number: int) -> str:
    """The word when it is shown again."""
    return "replayed" if isinstance(use(number), StepUse) else "already_used"


def put(name: str, rev: int, status: Status = Status.ACTIVE, limit: int | None = None) -> CredentialPut:
    """A credential of the plan."""
    return CredentialPut(
        digest(name), f"per_{name}", PersonKind.OWNER, Method.CARD, ("public",), status=status, use_limit=limit,
        rev=rev, id=f"crd_{name}",
    )  # fmt: skip


def checkpoint(version: int, uses: int) -> list[Change]:
    """The changes of a version: the first is the whole list; each later one revokes, deletes, changes and blocks."""
    if version == 1:
        people: list[Change] = [put(f"p{n}", 1) for n in range(PEOPLE)]
        once: list[Change] = [put(f"once {n}", 1, limit=1) for n in range(0, uses, 3)]
        return [*people, *once, PassPut(7, ("public",), secret=bytes(32), rev=1, id="vp_7")]
    gone, revoked = (2 * version) % PEOPLE, (2 * version + 1) % PEOPLE
    return [
        Del(Type.CREDENTIAL, f"crd_p{gone}", version, "deleted"),
        put(f"p{revoked}", version, Status.REVOKED),
        put(f"v{version}", version),
        ItemPut(Type.BLOCK, "per_blocked", {"until": T0 + version}, version),
    ]


def listed(version: int, uses: int) -> dict[str, tuple[str, int]]:
    """id -> (status, rev) of the credentials after a version; {} before the first."""
    rows: dict[str, tuple[str, int]] = {}
    for v in range(1, version + 1):
        for change in checkpoint(v, uses):
            if isinstance(change, Del):
                rows.pop(change.id, None)
            elif isinstance(change, CredentialPut):
                rows[change.id] = (str(change.status), change.rev or 0)
    return rows
