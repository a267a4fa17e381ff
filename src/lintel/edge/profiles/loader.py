"""Profile files -> frozen `Profile` values: every mistake of a file at once, and nothing in it is ever executed."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, make_dataclass
from functools import cache, lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError

from lintel.edge.errors import ConfigError, Mistake
from lintel.edge.profiles import mqtt
from lintel.edge.profiles.contradictions import contradictions
from lintel.edge.profiles.fields import STRICT, UNSAFE_KEYS, UNSAFE_TEXT, Name, Text, safe_name
from lintel.edge.profiles.kinds import TABLES, Spec, kind
from lintel.edge.profiles.mqtt import MqttSpec
from lintel.edge.profiles.samples import Meaning, Sample, differences, same_message
from lintel.edge.tables import mistakes_of, read_table

_TAGS: Final = ("delimited", "idle_gap", "length")
"""Values of `kind` that pydantic puts into the path of a mistake; no file spells them there."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One device model as data. `spec` is what its driver reads; `source` and `firmware` say how we know."""

    name: str
    title: str
    vendor: str
    driver: str
    source: str
    firmware: str
    spec: Spec
    samples: tuple[Sample, ...]

    def understand(self, topic: str, data: bytes, *, piece: int = 0) -> list[Meaning]:
        """What the gateway makes of traffic from such a device; `piece` feeds so many bytes at a time (0: at once)."""
        return kind(self.driver).understand(self.spec, topic, data, piece)

    def compose(self, order: Meaning) -> tuple[str, bytes]:
        """The topic ("" on a serial line) and bytes of an order; ValueError where the device has no such order."""
        return kind(self.driver).compose(self.spec, order)


@dataclass(frozen=True, slots=True)
class _File:
    __pydantic_config__ = STRICT

    name: Name
    title: Text
    vendor: Text
    source: Text
    firmware: Text
    sample: Annotated[tuple[Sample, ...], Field(min_length=1, max_length=200)]


@cache
def _adapter(driver: str) -> TypeAdapter[_File]:
    fields = [("driver", Literal[driver]), (TABLES[driver], kind(driver).spec)]
    return TypeAdapter(make_dataclass("File", fields, bases=(_File,), frozen=True, slots=True))


def load(path: Path) -> Profile:
    """The profile in `path`. Raises ConfigError with every mistake of the file: key path and what was expected."""
    return _load(path, str(path))


def _load(path: Path | Traversable, file: str) -> Profile:
    table = read_table(path, file)
    stem, driver = path.name.removesuffix(".toml"), table.get("driver")
    mistakes = list(_unsafe(table))
    if not isinstance(driver, str) or driver not in TABLES:
        mistakes.append(Mistake("driver", f"expected one of {', '.join(map(repr, TABLES))} [schema_violation]"))
        meant = (name for name, own in TABLES.items() if own in table)  # for the mistakes below
        driver = next(meant, "serial_qr")
    if isinstance(table.get("name"), str) and safe_name(table["name"]) and table["name"] != stem:
        mistakes.append(Mistake("name", f"expected {stem!r}, the name of the file [schema_violation]"))
    mistakes += [Mistake(where, f"{expected} [schema_violation]") for where, expected in contradictions(table)]
    read = None
    try:
        read = _adapter(driver).validate_json(json.dumps(table, default=_no_json))
    except ValidationError as error:
        known = {m.where for m in mistakes}
        mistakes += [m for m in mistakes_of(error, _TAGS) if m.where not in known]
    if read is None or mistakes:
        raise ConfigError(file, mistakes)
    spec: Spec = getattr(read, TABLES[driver])
    return Profile(read.name, read.title, read.vendor, driver, read.source, read.firmware, spec, read.sample)


def check_samples(profile: Profile) -> list[Mistake]:
    """Run the samples of a profile both ways; also demand one for each message and for all that the gateway says."""
    mistakes: list[Mistake] = []
    for number, sample in enumerate(profile.samples):
        where = f"sample[{number}]"
        if sample.direction == "in":
            mistakes += differences(where, sample.means or (), profile.understand(sample.topic, sample.data))
            continue
        try:
            topic, data = profile.compose(sample.order or {})
        except ValueError as error:
            mistakes.append(Mistake(f"{where}.order", str(error)))
            continue
        if topic != sample.topic or not same_message(data, sample.data):
            got = f"{topic} {data.decode()}" if topic else data.hex(" ")
            mistakes.append(Mistake(where, f"the profile makes {got[:500]} of this order"))
    return mistakes + list(_unproven(profile))


def _unproven(profile: Profile) -> Iterator[Mistake]:
    """What no sample shows."""
    heard = [s for s in profile.samples if s.direction == "in"]
    said = {(s.order or {}).get("command") for s in profile.samples if s.direction == "out"}
    if not heard and getattr(profile.spec, "hears", True):
        yield Mistake("sample", "expected at least one sample with direction 'in'")
    if isinstance(profile.spec, MqttSpec):
        shown = {mqtt.recognised(profile.spec, s.topic, s.data) for s in heard}
        for message in profile.spec.message:
            if message.name not in shown:
                yield Mistake("sample", f"expected one with direction 'in' of the message {message.name!r}")
    for name in profile.spec.orders:
        if name not in said:
            yield Mistake("sample", f"expected one with direction 'out' and order = {{ command = {name!r} }}")


class _Builtin(Mapping[str, Profile]):
    """The profiles that come with Lintel, each read when first asked for."""

    def __init__(self) -> None:
        self._files = {
            f.name.removesuffix(".toml"): f
            for f in sorted((files("lintel") / "firmware_profiles").iterdir(), key=lambda f: f.name)
            if f.name.endswith(".toml")
        }
        self._read: dict[str, Profile] = {}

    def __getitem__(self, name: str) -> Profile:
        if name not in self._read:
            self._read[name] = _load(self._files[name], f"{name}.toml")
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


@cache
def builtin() -> Mapping[str, Profile]:
    """The profiles that come with Lintel by name; a file is read only when its profile is asked for."""
    return _Builtin()


@lru_cache(maxsize=256)
def _unchanged(path: Path, mtime_ns: int, size: int) -> Profile:  # noqa: ARG001  they tell an edited file from this one
    """A site has hundreds of devices of a few models: each file is read once."""
    return load(path)


def find(name: str, dirs: Sequence[Path] = ()) -> Profile:
    """The profile called `name`: from the site's folders in order, else built in. ConfigError if there is none."""
    if safe_name(name):
        for folder in dirs:
            path = folder / f"{name}.toml"
            if path.is_file():
                state = path.stat()
                return _unchanged(path, state.st_mtime_ns, state.st_size)
        if name in builtin():
            return builtin()[name]
    known = {*builtin(), *(p.stem for d in dirs for p in d.glob("*.toml"))}
    raise ConfigError(name[:64], [Mistake("profile", f"expected the name of a profile: {', '.join(sorted(known))}")])


def _unsafe(value: object, where: str = "") -> Iterator[Mistake]:
    """Values no profile may hold: templates, expressions, NaN, dates. Depth is already bounded."""
    if isinstance(value, dict):
        for key, child in value.items():
            at = f"{where}.{key}" if where else str(key)
            if key.casefold() in UNSAFE_KEYS:
                yield Mistake(at, f"expected data: a profile holds no {key} [unsafe_value]")
            else:
                yield from _unsafe(child, at)
    elif isinstance(value, list):
        for number, child in enumerate(value):
            yield from _unsafe(child, f"{where}[{number}]")
    elif isinstance(value, str) and any(mark in value for mark in UNSAFE_TEXT):
        yield Mistake(where, "expected literal text, no template or expression [unsafe_value]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield Mistake(where, "expected a finite number [unsafe_value]")
    elif not isinstance(value, str | int | float):
        yield Mistake(where, "expected a string, number or truth value, no date [unsafe_value]")


def _no_json(value: object) -> str:
    return str(value)  # a date: reported by `_unsafe`, and as text it lets the other mistakes be found
