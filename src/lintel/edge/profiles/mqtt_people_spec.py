"""The `[mqtt.persons]` table of a profile: how a terminal's own person list is kept. Data only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from lintel.edge.profiles.fields import STRICT, Name, Pointer

PersonFiller = Literal[
    "person_id", "person_name", "person_from", "person_to", "person_from_ms", "person_to_ms", "person_timed",
    "person_photo", "person_photo_url",
]  # fmt: skip
"""What a field about one person can be filled with.

`person_from` and `person_to` are `YYYY-MM-DD HH:MM:SS` in the site's time zone, `..._ms` Unix milliseconds; where the
validity is open they stand for the years 2000 and 2099. `person_timed` is 1 for a validity that begins or ends, else 0.
`person_photo` is `data:image/jpeg;base64,...`; it and `person_photo_url` are left out where there is none.
"""
ManyFiller = Literal["persons", "person_ids", "person_count"]
"""What a field about several persons can be filled with: objects by `persons.object`, their ids, how many they are."""

Class = Literal["retry_later", "photo_bad", "store_full", "bug"]
CodeList = Annotated[tuple[Annotated[str, Field(max_length=16)], ...], Field(max_length=32)]
Codes = Mapping[Class, CodeList]
Key = Annotated[str, Field(min_length=1, max_length=64)]
Value = Annotated[str, Field(max_length=256)] | int | bool


@dataclass(frozen=True, slots=True)
class Results:
    """Where an answer lists the persons that were `done` and those that `failed`, each with its id and error code."""

    __pydantic_config__ = STRICT

    done: Pointer
    failed: Pointer
    id: Pointer
    code: Pointer | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """Where an answer lists the ids of all persons: an array, or a text with `separator`.

    `count`: how many ids it should be; a list of another length is not believed. `total`: with those that have no id.
    """

    __pydantic_config__ = STRICT

    at: Pointer
    separator: Annotated[str, Field(max_length=1)] = ""
    count: Pointer | None = None
    total: Pointer | None = None


@dataclass(frozen=True, slots=True)
class Persons:
    """The `[mqtt.persons]` table. `put`, `update`, `first`, `drop`, `query` name commands, each with an answer.

    `put` stores persons; where it refuses those that are there already, `update` replaces one, or `first` deletes it
    before each `put`. `query` asks who is there (`listing`). `batch`, `drop_batch`: persons in one command; more than
    one need the fields `persons` or `person_ids`. `object` and `literal`: what one person looks like in `persons`.
    `packet`: longest command in bytes. `pause_s`: least time between two commands about persons; `per_person_s` is
    added to the answer's `timeout_s` for each of them.

    `code` and `text` stand in an answer that is no; `refusals` says what such a code means, `busy` which of them mean
    that nothing was done yet, `absent` those of a deletion that nobody was there. `errors`: what the code of one person
    means in an answer that is yes. Both name codes by what is to be done; one that is not named is `retry_later`.
    """

    __pydantic_config__ = STRICT

    put: Name
    drop: Name
    update: Name | None = None
    first: Name | None = None
    query: Name | None = None
    batch: Annotated[int, Field(ge=1, le=1000)] = 1
    drop_batch: Annotated[int, Field(ge=1, le=1000)] = 1
    object: Mapping[Key, PersonFiller] = field(default_factory=dict)
    literal: Mapping[Key, Value] = field(default_factory=dict)
    longest_id: Annotated[int, Field(ge=1, le=128)] = 128
    longest_name: Annotated[int, Field(ge=1, le=256)] = 64
    packet: Annotated[int, Field(ge=1000, le=4_000_000)] = 1_000_000
    pause_s: Annotated[float, Field(ge=0, le=60)] = 0.0
    per_person_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    put_results: Results | None = None
    drop_results: Results | None = None
    listing: Listing | None = None
    code: Pointer | None = None
    text: Pointer | None = None
    errors: Codes = field(default_factory=dict)
    refusals: Codes = field(default_factory=dict)
    busy: CodeList = ()
    absent: CodeList = ()

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands that it names."""
        return tuple(n for n in (self.put, self.update, self.first, self.drop, self.query) if n is not None)
