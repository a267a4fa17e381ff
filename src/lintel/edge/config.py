"""One TOML file -> frozen `Config`: every mistake at once, an unknown key is a mistake, secrets never stand in it.

The format is shown by `examples/gateway.toml`. A password is named, not written: `password = "mqtt"` is read from the
systemd credential `mqtt`, else from the 0600 file `credentials/mqtt` in the state directory.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from lintel.edge.errors import ConfigError, LintelError, Mistake
from lintel.edge.model import Direction, Door, Method
from lintel.edge.passes import PassKey
from lintel.edge.profiles import Profile, find
from lintel.edge.profiles.mqtt import MqttSpec
from lintel.edge.profiles.serial import BAUDS
from lintel.edge.schedules import zone
from lintel.edge.tables import mistakes_of, read_table

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Seconds = Annotated[float, Field(gt=0, le=86400)]


def _baud(value: int) -> int:
    if value not in BAUDS:
        raise ValueError(f"one of {', '.join(map(str, BAUDS))}")
    return value


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=False, validate_default=False)


class Site(_Table):
    """The community. `id` is bound into every visitor pass; `door_groups` are the bits of a pass's mask."""

    id: Annotated[int, Field(ge=1, le=0xFFFFFFFF)]
    name: str = ""
    timezone: str
    door_groups: Annotated[tuple[Id, ...], Field(max_length=16)] = ()
    other_sites: tuple[int, ...] = ()
    schedule_without_clock: bool = False


class Clock(_Table):
    """`kernel` trusts wall time only while the kernel says it is synchronised; `system` trusts it as it is."""

    trust: Literal["kernel", "system"] = "kernel"


class Key(_Table):
    """A public key whose visitor passes are accepted."""

    id: Annotated[int, Field(ge=1, le=255)]
    public_key: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]
    role: Literal["issuer", "delegate"] = "issuer"
    retired_at: float | None = None


class SerialLine(_Table):
    """A serial port. `path` should be a stable one: /dev/serial/by-id/... or a udev link, never ttyUSB0."""

    id: Id
    driver: Literal["serial_qr"]
    path: Path
    baud: Annotated[int, AfterValidator(_baud)] | None = None


class MqttLine(_Table):
    """A connection to a broker, shared by all its devices. `ca` switches TLS on; `certificate` and `key` are ours.

    `rate`, `burst`: messages per second, and at once, that one device may send; what is above is dropped and counted.
    """

    id: Id
    driver: Literal["mqtt_terminal"]
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    client_id: str = ""
    username: str = ""
    password: str = ""
    keepalive: Annotated[int, Field(ge=5, le=3600)] = 30
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    rate: Annotated[float, Field(gt=0, le=100_000)] = 20.0
    burst: Annotated[int, Field(ge=1, le=100_000)] = 100


Line = Annotated[SerialLine | MqttLine, Field(discriminator="driver")]


class DeviceTable(_Table):
    """A device: its line, its firmware profile, its address there, and the door its reader stands at."""

    id: Id
    line: Id
    profile: str
    address: Annotated[str, Field(max_length=64)] = ""
    door: Id
    direction: Direction = Direction.IN


class DoorTable(_Table):
    """A door: its groups, the device that unlocks it, and its rules (see `model.Door`)."""

    id: Id
    name: str = ""
    groups: Annotated[tuple[Id, ...], Field(min_length=1)]
    lock: Id
    channel: Annotated[int, Field(ge=0, le=63)] = 0
    open_s: Annotated[float, Field(ge=0.1, le=60)] = 3.0
    methods: tuple[Method, ...] = tuple(Method)
    max_age: Annotated[float, Field(gt=0, le=30)] = 10.0
    max_list_age: Seconds | None = None
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.8
    min_liveness: Annotated[float, Field(ge=0, le=1)] | None = None

    def rules(self) -> Door:
        """The door as policy sees it."""
        return Door(
            self.id, self.name or self.id, frozenset(self.groups), self.lock, self.channel, self.open_s,
            frozenset(self.methods), self.max_age, self.max_list_age, self.min_score, self.min_liveness,
        )  # fmt: skip


class Config(_Table):
    """Everything a gateway is told by its installer."""

    site: Site
    state_dir: Path = Path("/var/lib/lintel")
    profile_dir: Path | None = None
    clock: Clock = Clock()
    pass_key: tuple[Key, ...] = ()
    line: Annotated[tuple[Line, ...], Field(min_length=1)]
    device: Annotated[tuple[DeviceTable, ...], Field(min_length=1)]
    door: Annotated[tuple[DoorTable, ...], Field(min_length=1)]

    @property
    def zone(self) -> ZoneInfo:
        """The site's time zone."""
        return zone(self.site.timezone)

    def keys(self) -> dict[int, PassKey]:
        """Pass keys by their id."""
        return {
            k.id: PassKey(k.id, bytes.fromhex(k.public_key), self.site.id, k.retired_at, k.role) for k in self.pass_key
        }

    def profile(self, device: DeviceTable) -> Profile:
        """The firmware profile of a device: the site's own folder first."""
        return find(device.profile, [self.profile_dir] if self.profile_dir else [])


_ADAPTER: TypeAdapter[Config] = TypeAdapter(Config)


def load(path: Path) -> Config:
    """The configuration in `path`. Raises ConfigError naming every mistake: key, and what was expected there."""
    table = read_table(path, str(path))
    try:
        config = _ADAPTER.validate_python(table)
    except ValidationError as error:
        mistakes = mistakes_of(error, ("serial_qr", "mqtt_terminal"))
        raise ConfigError(str(path), mistakes + list(_raw_references(table))) from None
    base = path.resolve().parent
    here = {"state_dir": base / config.state_dir}
    if config.profile_dir is not None:
        here["profile_dir"] = base / config.profile_dir
    config = config.model_copy(update=here)
    if mistakes := list(_contradictions(config)):
        raise ConfigError(str(path), mistakes)
    return config


def _raw_references(table: Mapping[str, object]) -> Iterator[Mistake]:
    """Dangling references of a file that has other mistakes too, so that all are named at once."""
    ids = {kind: _ids(table, kind) for kind in ("line", "device", "door")}
    for kind, key, target in _REFERENCES:
        rows = table.get(kind)
        for n, row in enumerate(rows if isinstance(rows, list) else []):
            value = row.get(key) if isinstance(row, dict) else None
            if isinstance(value, str) and value not in ids[target]:
                yield _dangling(f"{kind}[{n}].{key}", target, ids[target])


_REFERENCES = (("device", "line", "line"), ("device", "door", "door"), ("door", "lock", "device"))


def _ids(table: Mapping[str, object], kind: str) -> set[str]:
    rows = table.get(kind)
    return {str(r["id"]) for r in rows if isinstance(r, dict) and "id" in r} if isinstance(rows, list) else set()


def _dangling(where: str, target: str, known: Sequence[str] | set[str]) -> Mistake:
    return Mistake(where, f"expected the id of a [[{target}]]: {', '.join(sorted(known)) or 'there is none'}")


def _contradictions(config: Config) -> Iterator[Mistake]:
    """What no single field can see: doubled ids, dangling references, profiles that do not fit their line."""
    try:
        _ = config.zone
    except ValueError as error:
        yield Mistake("site.timezone", f"expected {error}")
    for kind, rows in (("line", config.line), ("device", config.device), ("door", config.door)):
        ids = [row.id for row in rows]
        yield from (Mistake(f"{kind}[{n}].id", "expected an id used once") for n, i in enumerate(ids) if i in ids[:n])
    key_ids = [k.id for k in config.pass_key]
    yield from (
        Mistake(f"pass_key[{n}].id", "expected an id used once") for n, i in enumerate(key_ids) if i in key_ids[:n]
    )
    lines = {line.id: line for line in config.line}
    devices, doors = {d.id for d in config.device}, {d.id for d in config.door}
    for n, device in enumerate(config.device):
        if device.line not in lines:
            yield _dangling(f"device[{n}].line", "line", set(lines))
        if device.door not in doors:
            yield _dangling(f"device[{n}].door", "door", doors)
        yield from _profile_fits(config, n, device, lines.get(device.line))
    for n, door in enumerate(config.door):
        if door.lock not in devices:
            yield _dangling(f"door[{n}].lock", "device", devices)
        elif not _opens(config, door.lock):
            yield Mistake(f"door[{n}].lock", "expected a device that opens doors: its profile has no command 'open'")
    for n, line in enumerate(config.line):
        yield from _addresses(n, line, [d for d in config.device if d.line == line.id])


def _opens(config: Config, lock: str) -> bool:
    """Whether a device can execute an open order; an unreadable profile is reported where it is named."""
    try:
        spec = config.profile(next(d for d in config.device if d.id == lock)).spec
    except ConfigError:
        return True
    return isinstance(spec, MqttSpec) and "open" in spec.command


def _profile_fits(
    config: Config, n: int, device: DeviceTable, line: "SerialLine | MqttLine | None"
) -> Iterator[Mistake]:
    try:
        profile = config.profile(device)
    except ConfigError as error:
        yield from (
            Mistake(f"device[{n}].profile", m.expected if m.where == "profile" else str(m)) for m in error.mistakes
        )
        return
    if line is not None and profile.driver != line.driver:
        yield Mistake(
            f"device[{n}].profile", f"expected a profile for {line.driver}; {profile.name} is for {profile.driver}"
        )


def _addresses(n: int, line: "SerialLine | MqttLine", devices: Sequence[DeviceTable]) -> Iterator[Mistake]:
    if not devices:
        yield Mistake(f"line[{n}]", f"expected at least one [[device]] with line = {line.id!r}")
    if isinstance(line, SerialLine):
        if len(devices) > 1:
            yield Mistake(f"line[{n}]", "expected one [[device]]: a QR reader has its serial port to itself")
        return
    addresses = [d.address for d in devices]
    for d, address in zip(devices, addresses, strict=True):
        if not address or addresses.count(address) > 1:
            yield Mistake(f"device {d.id!r}.address", "expected the device's own MQTT id or serial number, used once")


def password(name: str, state_dir: Path) -> str:
    """The secret called `name`: systemd credential first, then `credentials/NAME` in the state directory (0600)."""
    folders = [Path(d) for d in (os.environ.get("CREDENTIALS_DIRECTORY"),) if d] + [state_dir / "credentials"]
    for folder in folders:
        path = folder / name
        if path.is_file():
            if folder == folders[-1] and path.stat().st_mode & 0o077:
                raise LintelError(f"{path} may be read by others; run: chmod 600 {path}")
            return path.read_text("utf-8").strip("\r\n")
    raise LintelError(f"the password {name!r} is in no systemd credential and not in {folders[-1]}")
