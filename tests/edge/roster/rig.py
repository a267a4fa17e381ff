"""Person lists on simulated terminals behind a real broker; driver, store and list keepers run in this process."""

import asyncio
import io
import json
import tempfile
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

from PIL import Image

from lintel.edge.clock import Clock, always_synced
from lintel.edge.digests import Digester
from lintel.edge.drivers.base import Context, Device, Line
from lintel.edge.drivers.mqtt_terminal import build
from lintel.edge.ids import new_id
from lintel.edge.model import Direction, Method, Notice, PersonKind
from lintel.edge.persons import Consent
from lintel.edge.profiles import builtin
from lintel.edge.roster.lists import Lists
from lintel.edge.store import CredentialPut, Del, Store, Type, derive, state_key
from lintel.edge.supervisor import Keeper
from lintel.simulators.client import Simulator
from tests.brokers import site
from tests.edge.drivers.contract import Recorder

LIMIT = 30.0
URL = "http://192.0.2.10/f/{person}.jpg"
KINDS = {"mqtt-face": "mqtt-face", "mqtt-face-dean": "mqtt-face", "yld": "yld", "luozhi": "luozhi"}


def same(profile):
    return profile


def quicker(profile):
    """The same model with answers that must come within seconds, and no pauses."""
    spec = profile.spec
    commands = {
        name: replace(c, answer=replace(c.answer, timeout_s=1.0)) if name in spec.persons.commands else c
        for name, c in spec.command.items()
    }
    persons = replace(spec.persons, pause_s=0.0, per_person_s=0.5)
    return replace(profile, spec=replace(spec, command=commands, persons=persons))


@cache
def jpeg(shade):
    """A small photo. Every shade is other bytes: what follows the end of a JPEG is free."""
    out = io.BytesIO()
    Image.new("RGB", (24, 24), (shade % 256, shade // 256 % 256, 90)).save(out, "JPEG")
    return out.getvalue() + shade.to_bytes(4, "big")


class Rig:
    """`profiles` by terminal id. The broker and the terminals outlive a `gateway`.

    `quick`: answers must come sooner, and there are no pauses.
    """

    def __init__(self, profiles=None, *, photo_url="", options=None, quick=True):
        self.profiles = profiles or {"1001": "mqtt-face"}
        self.photo_url, self.options, self.quick = photo_url, options or {}, quick
        self.seq = 0

    async def __aenter__(self):
        self.stack = AsyncExitStack()
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="lintel-roster-")))
        self.broker = await self.stack.enter_async_context(site())
        parts = [
            {"kind": KINDS[profile], "id": i} | ({"dean": True} if profile == "mqtt-face-dean" else {})
            for i, profile in self.profiles.items()
        ]
        defaults = {"utc_offset": 0.0, "batch_seconds": 0.0, "fetch_photos": False, "heartbeat": 0.2, "retry": 0.1}
        self.sim = Simulator.fleet(parts, broker=f"127.0.0.1:{self.broker.port}", **(defaults | self.options))
        await self.stack.enter_async_context(self.sim)
        self.state = self.folder / "state"
        self.state.mkdir(mode=0o700)
        self.key = state_key(self.state)
        self.digest = Digester(derive(self.key, "digest"))
        return self

    async def __aexit__(self, *exc):
        await self.stack.aclose()

    def gateway(self, **options):
        return Gateway(self, **options)

    async def there(self, who="1001"):
        """Who is on a terminal by its own word."""
        answer = await self.sim.command("persons", id=who)
        return {p["customId"] for p in answer["persons"]}

    async def fault(self, who="1001", **faults):
        await self.sim.command("fault", id=who, clear=True, **faults)


class Gateway:
    """The store, the line and the list keepers, until the block ends."""

    def __init__(self, rig, *, groups=("public",), time=time.time, synced=always_synced):
        self.rig, self.groups, self.wall, self.synced = rig, groups, time, synced
        self.facts = []

    async def __aenter__(self):
        rig = self.rig
        self.clock = Clock(self.wall, time.monotonic, synced=self.synced)
        self.store = Store.open(rig.state, rig.key)
        context = Context(self.clock, rig.digest, new_id, "UTC", "gw1")
        devices = [
            Device(i, i, "gate", Direction.IN, (quicker if rig.quick else same)(builtin()[profile]))
            for i, profile in rig.profiles.items()
        ]
        line = Line("broker", "mqtt_terminal", {"port": rig.broker.port, "client_id": "gw", "photo_url": rig.photo_url})
        self.driver = build(line, devices, context)
        self.inlet = Recorder()
        self.lists = Lists(
            [(d.id, self.groups, self.driver) for d in devices],
            store=self.store, clock=self.clock, digest=rig.digest, report=self.facts.append,
        )  # fmt: skip
        self.tasks = [asyncio.create_task(self._line()), asyncio.create_task(self.lists.run())]
        return self

    async def _line(self):
        await Keeper("broker", lambda fact: None, 0.5).keep(lambda: self.driver.run(self.inlet))

    async def __aexit__(self, *exc):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.store.close()

    async def put(self, *people, photos=True, consent=Consent.GRANTED, **fields):
        """Faces on the allowlist, each with a photo of its own."""
        self.rig.seq += 1
        puts = [face(self.rig.digest, p, consent=consent, **({"rev": self.rig.seq} | fields)) for p in people]
        await self.store.allowlist.apply_checkpoint(puts, epoch=1, seq=self.rig.seq, synced_at=self.wall())
        if photos and consent is Consent.GRANTED:
            await self.photos({p: jpeg(number(p)) for p in people})

    async def photos(self, photos):
        wrong = await self.store.faces.put(list(photos.items()), self.rig.digest)
        assert wrong == []

    async def delete(self, *people, why="deleted"):
        self.rig.seq += 1
        changes = [Del(Type.CREDENTIAL, self.rig.digest(Method.FACE, p).hex(), self.rig.seq, why) for p in people]
        await self.store.allowlist.apply_checkpoint(changes, epoch=1, seq=self.rig.seq, synced_at=self.wall())

    def keeper(self, who="1001"):
        return self.lists.keepers[who]

    async def counts(self, who="1001"):
        return await self.store.roster.counts(self.keeper(who).place, self.wall())

    async def states(self, who="1001"):
        rows = await self.store.roster.persons(self.keeper(who).place, self.wall(), limit=100_000)
        return {r["person"]: r["state"] for r in rows}

    async def row(self, person, who="1001"):
        return (await self.store.roster.persons(self.keeper(who).place, self.wall(), name=person))[0]

    async def until(self, true, limit=LIMIT):
        """Wait until an async condition holds."""
        last = None
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while not (last := await true()):
                    await asyncio.sleep(0.05)
        assert last, [(k.device, k.standing) for k in self.lists.keepers.values()]

    async def settled(self, people, who="1001", limit=LIMIT):
        """Wait until a terminal holds these and no others, and the gateway knows it."""
        want = set(people)

        async def same():
            if await self.rig.there(who) != want:
                return False
            states = await self.states(who)
            return set(states) == want and set(states.values()) <= {"stored"}

        await self.until(same, limit)

    def told(self, notice):
        return [f for f in self.facts if f.notice is notice]


async def state(g, person, word, who="1001"):
    return (await g.states(who)).get(person) == word


def number(person):
    return int.from_bytes(person.encode()[-3:], "big") if not person[-4:].isdigit() else int(person[-4:])


def face(digest, person, groups=("public",), kind=PersonKind.OWNER, **fields):
    fields = {"face": person, "mask": f"{person[:2]}*", **fields}
    return CredentialPut(digest(Method.FACE, person), f"per_{person}", kind, Method.FACE, groups, **fields)


def run(body, *args, **options):
    """Run `async body(rig)` on a fresh broker and fresh terminals."""

    async def main():
        async with asyncio.timeout(180), Rig(*args, **options) as rig:
            return await body(rig)

    return asyncio.run(main())


async def events(sim, name, **match):
    """The waiting events of that name."""
    return [e for e in sim.events if e["event"] == name and match.items() <= e.items()]


__all__ = ["LIMIT", "URL", "Notice", "Rig", "events", "face", "jpeg", "json", "run", "state"]
