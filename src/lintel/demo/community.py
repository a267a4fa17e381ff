"""A small made-up community: 200 households, 7 doors, their devices, their allowlist, and the site's files.

Everything is generated from one seed, so that two runs differ only in time. The names are invented.
"""

import json
import random
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

SURNAMES = "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕施张孔曹严华金魏陶姜"
GIVEN = "明华芳秀英娜伟静丽强磊洋艳勇杰娟涛超兰霞平刚桂"
SITE = 0x00C0FFEE
KEY_ID = 7
GROUPS = ("public", "tower-a", "tower-b", "garage", "club")
"""Door groups; their order is the order of the bits in a pass's mask."""
FACILITY = 12
"""Facility code of the residents' cards."""
OSDP_ADDRESS, OSDP_BAUD = 1, 38400
LOCK_ADDRESS = "C4:64:E3:00:00:01"


@dataclass(frozen=True, slots=True)
class DoorSpec:
    """One door: its group, the reader (`framing` and profile) and terminal (`dialect` and profile) beside it.

    `lock` is what opens it: a relay, the terminal's own relay ("face"), or a Bluetooth lock ("lock"). `card`: an OSDP
    card reader stands there.
    """

    id: str
    name: str
    group: str
    reader: tuple[str, str] | None
    terminal: tuple[str, str] | None
    lock: Literal["relay", "face", "lock"]
    card: bool = False


DOORS = (
    DoorSpec(
        "north-gate", "North gate 北门", "public", ("crlf", "zkteco-zkb200"), ("mqtt-face", "mqtt-face"), lock="relay"
    ),
    DoorSpec("south-gate", "South gate 南门", "public", ("cr", "newland-serial"), None, lock="relay"),
    DoorSpec("tower-a", "Tower A A 座", "tower-a", None, ("mqtt-face", "mqtt-face"), lock="face"),
    DoorSpec("tower-b", "Tower B B 座", "tower-b", None, ("yld", "yld"), lock="face"),
    DoorSpec("garage", "Garage 车库", "garage", ("ssi", "zebra-ssi"), None, lock="relay"),
    DoorSpec("club", "Club house 会所", "club", ("none", "generic-usb-cdc"), ("luozhi", "luozhi"), lock="relay"),
    DoorSpec("side-door", "Side door 侧门", "club", None, None, lock="lock", card=True),
)


@dataclass(frozen=True, slots=True)
class Resident:
    """Somebody who lives here. `qr` is the opaque code of the household's app, `card` a 26-bit card's number."""

    id: str
    name: str
    unit: str
    groups: tuple[str, ...]
    qr: str
    card: int


@dataclass(frozen=True, slots=True)
class Community:
    """The generated site: its files below `folder`, and who lives there. `revoked_pass` is a pass's number."""

    folder: Path
    seed: bytes
    doors: tuple[DoorSpec, ...]
    residents: tuple[Resident, ...]
    revoked: Resident
    blocked: Resident
    moved_out: Resident
    rotating_secret: bytes
    rotating_id: int
    revoked_pass: int
    ports: Mapping[str, str] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        """The gateway's configuration."""
        return self.folder / "gateway.toml"

    @property
    def state(self) -> Path:
        """The gateway's state directory."""
        return self.folder / "state"

    @property
    def allowlist(self) -> Path:
        """The file for `lintel allowlist import`."""
        return self.folder / "allowlist.json"


def settle(
    folder: Path,
    broker_port: int,
    public_key: bytes,
    seed: bytes,
    *,
    households: int = 200,
    bluetooth: bool = True,
) -> Community:
    """Make the community and write its files: `gateway.toml` and `allowlist.json`."""
    doors = tuple(door for door in DOORS if bluetooth or door.lock != "lock")
    rng = random.Random(20260101)  # noqa: S311  invented people, no secret
    residents: list[Resident] = []
    for flat in range(households):
        tower = ("tower-a", "tower-b")[flat % 2]
        unit = f"{tower[-1].upper()}-{flat // 2 + 101}"
        surname = rng.choice(SURNAMES)
        for member in range(rng.randint(1, 4)):
            name = surname + rng.choice(GIVEN) + (rng.choice(GIVEN) if rng.random() < 0.5 else "")
            groups = ("public", tower, "club") + (("garage",) if member == 0 else ())
            qr, card = secrets.token_hex(13).upper(), 1000 + len(residents)
            residents.append(Resident(f"per-{flat:03}-{member}", name, unit, groups, qr, card))
    *living, revoked, blocked, moved_out = residents
    ports = {d.id: str(folder / "by-id" / f"usb-{d.reader[1]}-{d.id}") for d in doors if d.reader}
    ports |= {d.id: str(folder / "by-id" / f"usb-rs485-{d.id}") for d in doors if d.card}
    (folder / "by-id").mkdir(parents=True, exist_ok=True)
    found = Community(
        folder, seed, doors, tuple(living), revoked, blocked, moved_out, secrets.token_bytes(32), 4242, 4243, ports
    )  # fmt: skip
    found.allowlist.write_text(json.dumps(_allowlist(found), ensure_ascii=False), "utf-8")
    found.config.write_text(_config(found, broker_port, public_key), "utf-8")
    return found


def _allowlist(site: Community) -> dict[str, object]:
    rows: list[dict[str, object]] = []
    special = {site.revoked.id: {"status": "revoked"}, site.moved_out.id: {"valid_to": "2026-01-01T00:00:00Z"}}
    for person in (*site.residents, site.revoked, site.blocked, site.moved_out):
        card = f"26:{FACILITY}:{person.card}"
        for method, value in (("face", person.id), ("qr", person.qr), ("card", card)):
            rows.append({
                "person": person.id, "kind": "owner", "method": method, "value": value,
                "groups": list(person.groups), **({"consent": "granted"} if method == "face" else {}),
                **special.get(person.id, {}),
            })  # fmt: skip
    return {
        "credentials": rows,
        "blocks": {site.blocked.id: None},
        "passes": [
            {
                "pass_id": site.rotating_id, "secret": site.rotating_secret.hex(), "groups": ["public"],
                "person": site.residents[0].id, "valid_from": "2020-01-01T00:00:00Z",
                "valid_to": "2099-01-01T00:00:00Z",
            },
            {"pass_id": site.revoked_pass, "status": "revoked"},
        ],
    }  # fmt: skip


def _config(site: Community, port: int, public_key: bytes) -> str:
    lines = [
        "[site]", f"id = {SITE}", 'name = "Lintel demo"', 'timezone = "Asia/Shanghai"',
        f"door_groups = {json.dumps(GROUPS)}", "",
    ]  # fmt: skip
    head = [f'state_dir = "{site.state}"', ""]
    lines += ["[clock]", 'trust = "system"', "", "[[pass_key]]", f"id = {KEY_ID}", f'public_key = "{public_key.hex()}"']
    lines += ["", "[[line]]", 'id = "broker"', 'driver = "mqtt_terminal"', 'host = "127.0.0.1"', f"port = {port}"]
    if any(door.lock == "lock" for door in site.doors):
        lines += ["", "[[line]]", 'id = "bluetooth"', 'driver = "ble_lock"']
    for door in site.doors:
        lines += ["", "[[door]]", f'id = "{door.id}"', f'name = "{door.name}"', f'groups = ["{door.group}"]']
        lines += [f'lock = "{door.id}-{door.lock}"', "open_s = 1.0"]
        if door.terminal and door.terminal[0] == "luozhi":
            lines += ["min_score = 0.0  # this dialect reports a match without a score"]
        if door.reader:
            lines += [
                "",
                "[[line]]",
                f'id = "{door.id}-port"',
                'driver = "serial_qr"',
                f'path = "{site.ports[door.id]}"',
            ]
            lines += _device(f"{door.id}-qr", f"{door.id}-port", door.reader[1], "", door.id)
        if door.terminal:
            lines += _device(f"{door.id}-face", "broker", door.terminal[1], address(door.id, "face"), door.id)
        if door.lock == "relay":
            lines += _device(f"{door.id}-relay", "broker", "shelly-gen2", address(door.id, "relay"), door.id)
        if door.card:
            lines += ["", "[[line]]", f'id = "{door.id}-bus"', 'driver = "osdp"']
            lines += [f'path = "{site.ports[door.id]}"', f"baud = {OSDP_BAUD}"]
            lines += _device(f"{door.id}-card", f"{door.id}-bus", "osdp-generic", str(OSDP_ADDRESS), door.id)
        if door.lock == "lock":
            lines += _device(f"{door.id}-lock", "bluetooth", "lintel-lock", LOCK_ADDRESS, door.id)
    return "\n".join([*head, *lines, ""])


def address(door: str, part: str) -> str:
    """The MQTT address of a device at a door."""
    return f"{door}-{part}".replace("-", "").upper()


def _device(id_: str, line: str, profile: str, where: str, door: str) -> list[str]:
    at = [f'address = "{where}"'] if where else []
    return ["", "[[device]]", f'id = "{id_}"', f'line = "{line}"', f'profile = "{profile}"', *at, f'door = "{door}"']
