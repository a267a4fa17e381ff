"""The person list of an MQTT terminal by its profile: commands for persons, and what their answers say. Pure.

A terminal answers for the whole command and, where it takes several persons at once, for each of them. What is not
named in an answer is unknown, never done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Final

from pydantic import JsonValue

from lintel.edge.persons import Listed, Told, Verdict
from lintel.edge.profiles.mqtt_people_spec import Codes, Listing, Persons, Results
from lintel.edge.profiles.mqtt_read import find, text

OPTIONAL: Final = ("person_photo", "person_photo_url")
EARLY, LATE = 946_684_800, 4_102_444_799
"""2000-01-01 and 2099-12-31, UTC: an open validity, for terminals that want both ends."""


@dataclass(frozen=True, slots=True)
class Face:
    """One person as a command shows it; `photo` and `url` None where it has none."""

    id: str
    name: str = field(default="", repr=False)
    valid_from: float | None = None
    valid_to: float | None = None
    photo: str | None = field(default=None, repr=False)
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A terminal said no to a whole command. `busy`: and did nothing of it."""

    verdict: Verdict
    code: str
    text: str
    busy: bool


def values(spec: Persons, faces: Sequence[Face], zone: tzinfo = UTC) -> dict[str, JsonValue]:
    """What the fields of a command about these persons are filled with; those of one person only where it is one."""
    found: dict[str, JsonValue] = {
        "persons": [_object(spec, _of(spec, face, zone)) for face in faces],
        "person_ids": [face.id for face in faces],
        "person_count": len(faces),
    }
    return found | (_of(spec, faces[0], zone) if len(faces) == 1 else {})


def _of(spec: Persons, face: Face, zone: tzinfo) -> dict[str, JsonValue]:
    start = EARLY if face.valid_from is None else int(face.valid_from)
    end = LATE if face.valid_to is None else -int(-face.valid_to // 1) - 1  # terminals take the last second in
    timed = face.valid_from is not None or face.valid_to is not None
    return {
        "person_id": face.id,
        "person_name": shortened(face.name or face.id, spec.longest_name),
        "person_from": _local(start, zone), "person_to": _local(end, zone),
        "person_from_ms": start * 1000, "person_to_ms": end * 1000, "person_timed": int(timed),
        "person_photo": face.photo, "person_photo_url": face.url,
    }  # fmt: skip


def _object(spec: Persons, of: Mapping[str, JsonValue]) -> JsonValue:
    shown: dict[str, JsonValue] = {**spec.literal}
    shown |= {key: of[filler] for key, filler in spec.object.items() if of[filler] is not None}
    return shown


def _local(moment: int, zone: tzinfo) -> str:
    return datetime.fromtimestamp(max(EARLY, min(LATE, moment)), zone).strftime("%Y-%m-%d %H:%M:%S")


def shortened(name: str, longest: int) -> str:
    """A name in at most so many bytes of UTF-8, cut between characters."""
    return name.encode()[:longest].decode(errors="ignore")


def refusal(spec: Persons, document: JsonValue) -> Refusal:
    """What an answer that is no says."""
    code = text(find(document, spec.code)) if spec.code is not None else None
    said = text(find(document, spec.text)) if spec.text is not None else None
    return Refusal(_class(spec.refusals, code), code or "", said or "", code in spec.busy)


def _class(codes: Codes, code: str | None) -> Verdict:
    return next((Verdict(name) for name, of_it in codes.items() if code in of_it), Verdict.RETRY_LATER)


def told(spec: Persons, results: Results | None, ids: Sequence[str], document: JsonValue) -> list[Told]:
    """What an answer that is yes says of each person. One who stands among the failed failed, whatever else it says."""
    if results is None:
        return [Told(name, Verdict.DONE) for name in ids]
    failed = _named(results, document, results.failed)
    done = _named(results, document, results.done)
    return [_one(spec, name, failed, done) for name in ids]


def _one(spec: Persons, name: str, failed: Mapping[str, str], done: Mapping[str, str]) -> Told:
    if name in failed:
        return Told(name, _class(spec.errors, failed[name]), failed[name])
    return Told(name, Verdict.DONE if name in done else Verdict.UNKNOWN)


def _named(results: Results, document: JsonValue, at: str) -> dict[str, str]:
    rows = find(document, at)
    found: dict[str, str] = {}
    for row in rows if isinstance(rows, list) else ():
        name = text(find(row, results.id))
        if name is not None:
            found[name] = (text(find(row, results.code)) if results.code is not None else None) or ""
    return found


def listed(listing: Listing, document: JsonValue) -> Listed | None:
    """Who is on the terminal by its answer; None where it is no list, or cut off."""
    value = find(document, listing.at)
    if isinstance(value, str) and listing.separator:
        names: list[str] | None = [name for name in value.split(listing.separator) if name]
    elif isinstance(value, list):
        names = [name for item in value if (name := text(item))]
    else:
        names = None
    if names is None:
        return None
    count = _whole(listing.count, document)
    if listing.count is not None and count != len(names):
        return None
    total = _whole(listing.total, document)
    return Listed(frozenset(names), max(0, (total if total is not None else len(names)) - len(names)))


def _whole(pointer: str | None, document: JsonValue) -> int | None:
    value = text(find(document, pointer)) if pointer is not None else None
    return int(value) if value is not None and value.isascii() and value.isdigit() and len(value) < 10 else None


# for samples


def faces_of(rows: JsonValue) -> list[Face]:
    """The persons of a sample's order: `{id, name, valid_from, valid_to, photo, url}` each, times in Unix seconds."""
    try:
        return [Face(**row) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []  # type: ignore[arg-type]
    except TypeError:
        raise ValueError("expected persons with id, name, valid_from, valid_to, photo and url") from None


def answered_for(spec: Persons | None, verb: str, document: JsonValue, *, good: bool) -> dict[str, JsonValue]:
    """What an answer says of persons, as plain values."""
    if spec is None or verb not in spec.commands:
        return {}
    if not good:
        no = refusal(spec, document)
        why: dict[str, JsonValue] = {"class": str(no.verdict), "code": no.code, "text": no.text, "busy": no.busy}
        return {key: value for key, value in why.items() if value}
    if verb == spec.query and spec.listing is not None:
        found = listed(spec.listing, document)
        if found is None:
            return {"persons": "cut off"}
        nameless: dict[str, JsonValue] = {"nameless": found.nameless} if found.nameless else {}
        return {"persons": list[JsonValue](sorted(found.ids)), **nameless}
    results = spec.put_results if verb == spec.put else spec.drop_results if verb == spec.drop else None
    if results is None:
        return {}
    names = [*_named(results, document, results.done), *_named(results, document, results.failed)]
    said = {t.id: f"{t.verdict} {t.code}".rstrip() for t in told(spec, results, names, document)}
    return {"persons": dict[str, JsonValue](said)}
