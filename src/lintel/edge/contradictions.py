"""What no single key of a gateway's file can see: doubled ids, references to nothing, parts that do not fit together.

It works on the table as it was read, so that these are told beside the mistakes of single keys. A value of the wrong
type is the schema's to name and is passed over here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lintel.edge.errors import ConfigError, Mistake
from lintel.edge.model import EVERY_DOOR, ContactKind
from lintel.edge.profiles import Profile, find
from lintel.edge.schedules import zone
from lintel.edge.tables import Row, rows_at, table_at, text_at

_REFERENCES: Final = (("device", "line", "line"), ("device", "door", "door"), ("door", "lock", "device"))


@dataclass(frozen=True, slots=True)
class _Part:
    """One `[[...]]` table and where it stands."""

    where: str
    row: Row

    def text(self, key: str) -> str:
        """The text under `key`; "" where there is none."""
        return text_at(self.row, key)

    def mistake(self, key: str, expected: str) -> Mistake:
        """A mistake at one of its keys."""
        return Mistake(f"{self.where}.{key}", f"expected {expected}")


@dataclass(frozen=True, slots=True)
class _Models:
    """The firmware profiles that a file names, each read once; or why it can not be."""

    folders: Sequence[Path]
    read: dict[str, Profile | ConfigError]

    def of(self, device: _Part) -> Profile | ConfigError:
        name = device.text("profile")
        if name not in self.read:
            try:
                self.read[name] = find(name, self.folders)
            except ConfigError as error:
                self.read[name] = error
        return self.read[name]


def contradictions(table: Row, base: Path) -> Iterator[Mistake]:
    """All of a file's; `base` is the folder that its relative paths begin in."""
    parts = {kind: _parts(table, kind) for kind in ("pass_key", "line", "device", "door")}
    by_id = {kind: {p.text("id"): p for p in found} for kind, found in parts.items()}
    yield from _time_zone(table)
    for found in parts.values():
        yield from _doubled(found, "id", "an id used once")
    folder = table.get("profile_dir")
    models = _Models([base / folder] if isinstance(folder, str) else [], {})
    for kind, key, target in _REFERENCES:
        known = sorted(by_id[target].keys() - {""})
        for part in parts[kind]:
            if key == "door" and part.text(key) == EVERY_DOOR:
                yield from _everywhere(models, part)
            elif part.text(key) and part.text(key) not in known:
                yield part.mistake(key, f"the id of a [[{target}]]: {', '.join(known) or 'there is none'}")
    for device in parts["device"]:
        yield from _profile(models, device, by_id["line"].get(device.text("line")))
    for door in parts["door"]:
        yield from _lock(models, door, by_id["device"].get(door.text("lock")))
    yield from _shared(parts["door"])
    yield from _lines(parts["line"], parts["device"], set(by_id["line"]))


def _parts(table: Row, kind: str) -> list[_Part]:
    return [_Part(f"{kind}[{n}]", row) for n, row in rows_at(table, kind)]


def _time_zone(table: Row) -> Iterator[Mistake]:
    name = table_at(table, "site").get("timezone")
    if isinstance(name, str):
        try:
            zone(name)
        except ValueError as error:
            yield Mistake("site.timezone", f"expected {error}")


def _doubled(parts: Sequence[_Part], key: str, expected: str) -> Iterator[Mistake]:
    seen: set[object] = set()
    for part in parts:
        value = part.row.get(key)
        if isinstance(value, str | int) and value in seen:
            yield part.mistake(key, expected)
        elif isinstance(value, str | int):
            seen.add(value)


def _profile(models: _Models, device: _Part, line: _Part | None) -> Iterator[Mistake]:
    if not device.text("profile"):
        return
    profile = models.of(device)
    if isinstance(profile, ConfigError):
        for m in profile.mistakes:
            yield Mistake(f"{device.where}.profile", m.expected if m.where == "profile" else str(m))
    elif line is not None and line.text("driver") not in ("", profile.driver):
        yield device.mistake("profile", f"a profile for {line.text('driver')}; {profile.name} is for {profile.driver}")


def _everywhere(models: _Models, device: _Part) -> Iterator[Mistake]:
    """Of every door may only be what is a fire input and nothing else: a card, an exit or a tamper has its own door."""
    profile = models.of(device) if device.text("profile") else None
    if not isinstance(profile, Profile):
        return  # that is told
    if {kind for kind, _ in profile.spec.contacts} != {ContactKind.FIRE}:
        yield device.mistake("door", "the id of a [[door]]: '*' is for what is a fire input and nothing else")


def _shared(doors: Sequence[_Part]) -> Iterator[Mistake]:
    """Two doors at one lock: who may pass one would open the other, and what fire released would be locked for it."""
    seen: dict[tuple[str, object], str] = {}
    for door in doors:
        lock, channel = door.text("lock"), door.row.get("channel", 0)
        if not lock or not isinstance(channel, int):
            continue
        if (other := seen.get((lock, channel))) is not None:
            yield door.mistake("lock", f"a lock and channel of its own: {other} has the same")
        seen.setdefault((lock, channel), door.text("id"))


def _lock(models: _Models, door: _Part, lock: _Part | None) -> Iterator[Mistake]:
    profile = models.of(lock) if lock is not None and lock.text("profile") else None
    if not isinstance(profile, Profile):
        return
    channels, channel = profile.spec.channels, door.row.get("channel", 0)
    if not channels:
        yield door.mistake("lock", "a device that opens doors: its profile has no command 'open'")
    elif channels == 1 and channel != 0:
        yield door.mistake("channel", f"0, or no such key: the command 'open' of {profile.name} names no channel")
    elif isinstance(channel, int) and not 0 <= channel < channels:
        yield door.mistake("channel", f"a number from 0 to {channels - 1}: {profile.name} opens no more")


def _lines(lines: Sequence[_Part], devices: Sequence[_Part], known: set[str]) -> Iterator[Mistake]:
    on: dict[str, list[_Part]] = {}
    for device in devices:
        on.setdefault(device.text("line"), []).append(device)
    strays = on.keys() - known  # a line without devices may be meant by one of these, which are told already
    for line in lines:
        mine = on.get(line.text("id"), [])
        if not mine and not strays:
            yield Mistake(line.where, f"expected at least one [[device]] with line = {line.text('id')!r}")
        if line.text("driver") == "serial_qr" and len(mine) > 1:
            yield Mistake(line.where, "expected one [[device]]: a QR reader has its serial port to itself")
        if line.text("driver") == "mqtt_terminal":
            yield from (
                d.mistake("address", "the device's own MQTT id or serial number") for d in mine if not d.text("address")
            )
            yield from _doubled([d for d in mine if d.text("address")], "address", "an address used once on its line")
            yield from _tls(line)
    yield from _wires([p for p in lines if p.text("driver") == "gpio"], on)
    ports = [p for p in lines if p.text("driver") in ("serial_qr", "osdp")]
    yield from _doubled(ports, "path", "a serial port used once")


def _wires(lines: Sequence[_Part], on: dict[str, list[_Part]]) -> Iterator[Mistake]:
    """A chip may be the chip of two lines, so that a fault of one leaves the fire input of the other alone."""
    chips: dict[str, list[_Part]] = {}
    for line in lines:
        mine = on.get(line.text("id"), [])
        chips.setdefault(line.text("chip") or "/dev/gpiochip0", []).extend(d for d in mine if d.text("address"))
        yield from (
            d.mistake("address", "the line's offset on the chip, or its name") for d in mine if not d.text("address")
        )
    for wired in chips.values():
        yield from _doubled(wired, "address", "an address used once on its chip")


def _tls(line: _Part) -> Iterator[Mistake]:
    own = [key for key in ("certificate", "key") if key in line.row]
    if own and "ca" not in line.row:
        yield line.mistake("ca", f"this key beside {own[0]!r}: without it the connection is not encrypted")
    if own == ["key"]:
        yield line.mistake("certificate", "this key beside 'key'")
