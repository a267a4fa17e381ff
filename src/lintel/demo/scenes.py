"""The script: who comes to which door, and what must happen. Each scene states its expectation before it acts."""

import asyncio
import contextlib
import math
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import qrcode
from qrcode.constants import ERROR_CORRECT_M
from qrcode.image.pure import PyPNGImage

from lintel.demo.community import GROUPS, KEY_ID, SITE, DoorSpec, Resident
from lintel.demo.world import World
from lintel.edge.passes import Claims, issue, rotating
from lintel.edge.profiles import builtin
from lintel.edge.profiles.serial import SerialSpec

Scene = Callable[[World, DoorSpec, random.Random], Awaitable[None]]


def draw(text: str, path: Path) -> str:
    """A QR picture as a visitor's phone shows it."""
    code = qrcode.QRCode(error_correction=ERROR_CORRECT_M, box_size=8, border=4, image_factory=PyPNGImage)
    code.add_data(text)
    code.make()
    with path.open("wb") as file:
        code.make_image().save(file)
    return str(path)


def visitor_pass(
    world: World, door: DoorSpec, *, start_min: int = -5, minutes: int = 120, uses: int = 0, number: int | None = None
) -> str:
    """A pass for one door's group, signed by the community's issuer. `start_min` is relative to now."""
    claims = Claims(
        1, 0, KEY_ID, secrets.randbits(32) if number is None else number, int(time.time() // 60) + start_min, minutes,
        1 << GROUPS.index(door.group), uses,
    )  # fmt: skip
    return issue(world.site.seed, SITE, claims)


def _paper(world: World, door: DoorSpec, token: str, name: str) -> str:
    """The picture of a pass, as paper or a phone's screen shows it."""
    return draw(token, world.site.folder / f"{door.id}-{name}.png")


ONE_CARD = 3.0
"""Seconds after which a card at an OSDP reader is another presentation: 1.5 s from the commit of the one before."""


def _someone(world: World, door: DoorSpec, rng: random.Random) -> Resident:
    return rng.choice([r for r in world.site.residents if door.group in r.groups])


def _one_scan(door: DoorSpec) -> float:
    """Seconds after which the reader of a door takes the same code for another scan."""
    spec = builtin()[door.reader[1]].spec if door.reader else None
    return spec.duplicate_ms / 1000 + 0.1 if isinstance(spec, SerialSpec) else 0.0


@contextlib.asynccontextmanager
async def _apart(world: World, door: DoorSpec, shown: object, seconds: float) -> AsyncIterator[None]:
    """The same code or card comes to a door after so many seconds, or its reader takes both for one."""
    left = world.shown.get((door.id, shown), -math.inf) + seconds - time.monotonic()
    await asyncio.sleep(max(0.0, left))
    yield
    world.shown[door.id, shown] = time.monotonic()


async def resident_by_face(world: World, door: DoorSpec, rng: random.Random) -> None:
    """A resident is recognised."""
    person = _someone(world, door, rng)
    await world.face(door, person.id, person.name, "granted")


async def resident_by_code(world: World, door: DoorSpec, rng: random.Random) -> None:
    """A resident shows the code of the app."""
    person = _someone(world, door, rng)
    async with _apart(world, door, person.qr, _one_scan(door)):
        await world.scan(door, person.name, "granted", text=person.qr)


async def resident_by_card(world: World, door: DoorSpec, rng: random.Random) -> None:
    """A resident holds a card before the OSDP reader; a Bluetooth lock opens."""
    person = _someone(world, door, rng)
    async with _apart(world, door, person.card, ONE_CARD):
        await world.card(door, person.name, "granted", person.card)


async def unknown_card(world: World, door: DoorSpec, rng: random.Random) -> None:
    """A card of somewhere else."""
    await world.card(door, "unknown card 未知卡", "unknown_credential", rng.randrange(40_000, 60_000))


async def revoked_card(world: World, door: DoorSpec, rng: random.Random) -> None:  # noqa: ARG001
    """A card that was withdrawn."""
    async with _apart(world, door, world.site.revoked.card, ONE_CARD):
        await world.card(door, "revoked card 已注销卡", "revoked", world.site.revoked.card)


async def visitor_once(world: World, door: DoorSpec, rng: random.Random) -> None:  # noqa: ARG001  a scene's shape
    """A visitor with a printed one-time pass; then somebody tries the same paper again."""
    picture = _paper(world, door, visitor_pass(world, door, uses=1), "visitor")
    await world.scan(door, "visitor 访客", "granted", picture=picture)
    await asyncio.sleep(_one_scan(door))
    await world.scan(door, "same paper again 重复使用", "already_used", picture=picture)


async def visitor_rotating(world: World, door: DoorSpec, rng: random.Random) -> None:  # noqa: ARG001
    """A visitor's phone shows a rotating code; a screenshot of it is refused."""
    code = rotating(world.site.rotating_secret, world.site.rotating_id, time.time())
    await world.scan(door, "visitor's phone 访客手机", "granted", text=code)
    await asyncio.sleep(_one_scan(door))
    await world.scan(door, "screenshot 截屏", "replayed", text=code)


async def expired_pass(world: World, door: DoorSpec, rng: random.Random) -> None:  # noqa: ARG001
    """Yesterday's visitor, with the paper of yesterday."""
    picture = _paper(world, door, visitor_pass(world, door, start_min=-1440), "expired")
    await world.scan(door, "yesterday's pass 过期", "expired", picture=picture)


async def revoked_pass(world: World, door: DoorSpec, rng: random.Random) -> None:  # noqa: ARG001
    """A good pass whose host has taken it back."""
    token = visitor_pass(world, door, number=world.site.revoked_pass)
    await world.scan(door, "revoked pass 已撤销的访客码", "revoked", picture=_paper(world, door, token, "revoked"))


async def early_pass(world: World, door: DoorSpec, rng: random.Random) -> None:  # noqa: ARG001
    """Tomorrow's visitor."""
    await world.scan(door, "tomorrow's pass 未到时间", "not_yet_valid", text=visitor_pass(world, door, start_min=1440))


async def forged_pass(world: World, door: DoorSpec, rng: random.Random) -> None:  # noqa: ARG001
    """A pass that somebody signed with a key of their own."""
    claims = Claims(1, 0, KEY_ID, 1, int(time.time() // 60), 120, 0xFFFF, 0)
    picture = _paper(world, door, issue(secrets.token_bytes(32), SITE, claims), "forged")
    await world.scan(door, "forged pass 伪造", "bad_signature", picture=picture)


async def pass_for_another_door(world: World, door: DoorSpec, rng: random.Random) -> None:
    """A good pass, at the wrong door."""
    other = rng.choice([d for d in world.site.doors if d.group != door.group])
    await world.scan(door, "pass for another door 他门", "wrong_scope", text=visitor_pass(world, other))


async def revoked_resident(world: World, door: DoorSpec, rng: random.Random) -> None:  # noqa: ARG001
    """A code that was withdrawn."""
    await world.scan(door, "revoked 已注销", "revoked", text=world.site.revoked.qr)


async def blocked_person(world: World, door: DoorSpec, rng: random.Random) -> None:  # noqa: ARG001
    """A person on the block list: deny wins."""
    await world.scan(door, "blocked 黑名单", "blocked", text=world.site.blocked.qr)


async def injected_text(world: World, door: DoorSpec, rng: random.Random) -> None:
    """A code that tries to be a command is refused before any look-up."""
    text = rng.choice(["' OR 1=1 --", "$(reboot)", "{{7*7}}", "../../etc/passwd"])
    await world.scan(door, "injection 注入", "bad_format", text=text)


async def lookalike(world: World, door: DoorSpec, rng: random.Random) -> None:
    """A recognition below the gateway's own limit."""
    await world.face(door, _someone(world, door, rng).id, "lookalike 相似度低", "low_score", similarity=61.0)


async def neighbour(world: World, door: DoorSpec, rng: random.Random) -> None:
    """A resident of the other tower. The gateway takes them off this tower's terminal, which then sees a stranger."""
    other = rng.choice([r for r in world.site.residents if door.group not in r.groups])
    await world.face(door, other.id, "other tower 他楼", "no_grant|unknown_credential")


async def cut_cable(world: World, door: DoorSpec, rng: random.Random) -> None:
    """The reader's cable is pulled in the middle of a code; plugged in again, readings flow within 2 s."""
    reader = f"{door.id}-qr"
    await world.devices.command({"cmd": "half", "id": reader, "text": "L1:HALF A FRAME"})
    await world.devices.command({"cmd": "unplug", "id": reader})
    await asyncio.sleep(1.0)
    await world.devices.command({"cmd": "replug", "id": reader})
    try:
        await world.line_up(f"{door.id}-port", 2.0)
    except TimeoutError:
        world.wrong.append(f"{door.id}: the reader is not back 2 s after it was plugged in")
    await resident_by_code(world, door, rng)


SCRIPT: dict[str, tuple[Scene, ...]] = {
    "north-gate": (visitor_rotating, forged_pass, revoked_pass, lookalike, visitor_once),
    "south-gate": (cut_cable, expired_pass, revoked_resident, visitor_once, injected_text),
    "tower-a": (neighbour, lookalike),
    "tower-b": (lookalike, neighbour),
    "garage": (visitor_once, blocked_person, early_pass, revoked_pass, forged_pass),
    "side-door": (unknown_card, revoked_card),
    "club": (pass_for_another_door, injected_text, expired_pass, revoked_resident, blocked_person),
}
"""What comes at each door between ordinary residents, in turn and again from the start."""
ONCE = (cut_cable, visitor_rotating)
"""Scenes that a run plays once."""


def unplayed(world: World) -> list[str]:
    """The scenes of the script that were played nowhere yet: without them nothing is proven."""
    names = dict.fromkeys(scene.__name__ for door in world.site.doors for scene in SCRIPT[door.id])
    return [name for name in names if not world.played[name]]


async def life_at(door: DoorSpec, world: World, until: float, seed: int) -> None:
    """What happens at one door until `until` (monotonic seconds) and until each scene was played somewhere."""
    rng = random.Random(seed)  # noqa: S311  a script, no secret
    ordinary: list[Scene] = []
    if door.reader:
        ordinary.append(resident_by_code)
    if door.terminal:
        ordinary.append(resident_by_face)
    if door.card:
        ordinary.append(resident_by_card)
    special = SCRIPT[door.id]
    for n in range(1_000_000):
        scene = special[n // 2 % len(special)] if n % 2 else rng.choice(ordinary)
        if scene in ONCE and world.played[scene.__name__]:
            continue
        await scene(world, door, rng)
        world.played[scene.__name__] += 1
        if world.stopping.is_set() or (time.monotonic() >= until and not unplayed(world)):
            return
        await asyncio.sleep(rng.uniform(0.2, 0.8))
