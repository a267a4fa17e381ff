"""One TOML file -> frozen `Config`: every mistake at once, an unknown key is a mistake, secrets never stand in it.

The format is shown by `examples/gateway.toml`. A password is named, not written: `password = "mqtt"` is read from the
systemd credential `mqtt`, else from the 0600 file `credentials/mqtt` in the state directory.
"""

import os
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from lintel.edge.contradictions import contradictions
from lintel.edge.errors import ConfigError, LintelError
from lintel.edge.line_tables import DRIVERS, Id, Line, Place, Table
from lintel.edge.model import Direction, Door, Method
from lintel.edge.passes import PassKey
from lintel.edge.profiles import Profile, find
from lintel.edge.profiles.mqtt_spec import NOT_A_NAME, names_device
from lintel.edge.schedules import zone
from lintel.edge.tables import mistakes_of, read_table

Seconds = Annotated[float, Field(gt=0, le=86400)]


def _own_id(value: str) -> str:
    if value and not names_device(value):  # its driver alone knows what "|" means
        raise ValueError(NOT_A_NAME)
    return value


class Site(Table):
    """The community. `id` is bound into every visitor pass; `door_groups` are the bits of a pass's mask."""

    id: Annotated[int, Field(ge=1, le=0xFFFFFFFF)]
    name: str = ""
    timezone: str
    door_groups: Annotated[tuple[Id, ...], Field(max_length=16)] = ()
    other_sites: tuple[int, ...] = ()
    schedule_without_clock: bool = False


class Clock(Table):
    """`kernel` trusts wall time only while the kernel says it is synchronised; `system` trusts it as it is."""

    trust: Literal["kernel", "system"] = "kernel"


class Key(Table):
    """A public key whose visitor passes are accepted."""

    id: Annotated[int, Field(ge=1, le=255)]
    public_key: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]
    role: Literal["issuer", "delegate"] = "issuer"
    retired_at: float | None = None


class DeviceTable(Table):
    """A device: its line, its firmware profile, its address there, and the door its reader stands at.

    A fire input may be of every door: "*".
    """

    id: Id
    line: Id
    profile: str
    address: Annotated[str, Field(max_length=64), AfterValidator(_own_id)] = ""
    door: Place
    direction: Direction = Direction.IN


class DoorTable(Table):
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


class Config(Table):
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
    """The configuration in `path`, its relative paths taken from the file's folder.

    Raises ConfigError naming every mistake: key, and what was expected there.
    """
    table = read_table(path, str(path))
    base = path.resolve().parent
    config, mistakes = None, []
    try:
        config = _ADAPTER.validate_python(table)
    except ValidationError as error:
        mistakes = mistakes_of(error, DRIVERS)
    mistakes += contradictions(table, base)
    if config is None or mistakes:
        raise ConfigError(str(path), mistakes)
    return config.model_copy(
        update={
            "state_dir": base / config.state_dir,
            "profile_dir": base / config.profile_dir if config.profile_dir else None,
            "line": tuple(line.below(base) for line in config.line),
        }
    )


def password(name: str, state_dir: Path) -> str:
    """The secret called `name`: systemd credential first, then `credentials/NAME` in the state directory (0600)."""
    folders = [Path(d) for d in (os.environ.get("CREDENTIALS_DIRECTORY"),) if d] + [state_dir / "credentials"]
    for folder in folders:
        path = folder / name
        if path.is_file():
            if folder == folders[-1] and path.stat().st_mode & 0o077:
                raise LintelError(f"{path} may be read by others; run: chmod 600 {path}")
            return path.read_text("utf-8").strip("\r\n")
    raise LintelError(f"the password that the configuration names is in no systemd credential and not in {folders[-1]}")
