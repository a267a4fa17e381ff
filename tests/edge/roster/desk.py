"""The keeper of one list, step by step: a terminal in memory and a time that only the test moves; the store is real."""

import asyncio

from lintel.edge.clock import Clock, always_synced
from lintel.edge.digests import Digester
from lintel.edge.persons import Keeping, NotNow, Presence, Told, Verdict
from lintel.edge.persons import Listed as Names
from lintel.edge.roster.keeper import ListKeeper
from lintel.edge.store import Store
from tests.edge.rig import T0, Time
from tests.edge.roster.rig import face

KEY = bytes(range(32))


class Terminal:
    """`busy`: deletions that it refuses. `silent`: commands to store that it obeys, and does not answer."""

    def __init__(self, time, *, lists=True, batch=1, photos=False, validity=True, takes=0.0):
        self.time, self.takes = time, takes
        self.on, self.log = {}, []
        self.there, self.turn, self.wiped, self.busy, self.silent = True, 0, 0, 0, False
        self.can = Keeping(batch, 50, photos, lists, validity)

    def keeping(self, _device):
        return self.can

    def presence(self, _device):
        return Presence(self.there, self.turn, self.wiped)

    async def put(self, _device, persons):
        self.time.move(self.takes)
        self.log += [("put", p.id) for p in persons]
        self.on |= {p.id: p for p in persons}
        return [Told(p.id, Verdict.UNKNOWN if self.silent else Verdict.DONE) for p in persons]

    async def drop(self, _device, ids):
        self.log += [("drop", i) for i in ids]
        if self.busy:
            self.busy -= 1
            return [Told(i, Verdict.RETRY_LATER, "465", "busy") for i in ids]
        for i in ids:
            self.on.pop(i, None)
        return [Told(i, Verdict.DONE) for i in ids]

    async def listed(self, _device):
        self.log.append(("list", ""))
        return Names(frozenset(self.on))

    def count(self, what):
        return sum(did == what for did, _ in self.log)


class Desk:
    """A store in `path`, and the keeper of the terminal `device`."""

    def __init__(self, path, terminal, *, synced=always_synced, device="t1"):
        self.path, self.terminal, self.time, self.synced, self.device = path, terminal, terminal.time, synced, device
        self.facts, self.seq = [], 0
        self.digest = Digester(bytes(32))

    async def __aenter__(self):
        self.store = Store.open(self.path, KEY)
        clock = Clock(lambda: self.time.wall, lambda: self.time.mono, synced=self.synced)
        self.keeper = ListKeeper(
            self.device, ("public",), driver=self.terminal, keeping=self.terminal.can, store=self.store, clock=clock,
            report=self.facts.append, digest=lambda name: self.digest("face", name),
        )  # fmt: skip
        return self

    async def __aexit__(self, *exc):
        await self.store.close()

    def face(self, person, **fields):
        return face(self.digest, person, **({"rev": self.seq + 1, "consent": "granted"} | fields))

    async def apply(self, *changes):
        self.seq += 1
        await self.store.allowlist.apply_checkpoint(changes, epoch=1, seq=self.seq, synced_at=self.time.wall)

    async def step(self):
        """One step; what has nothing to do lets a second pass."""
        try:
            working = await self.keeper.step()
        except NotNow:
            working = False
        if not working:
            self.time.move(1.0)

    async def run(self, seconds):
        """So long by the time of the test."""
        until = self.time.mono + seconds
        while self.time.mono < until:
            await self.step()

    async def gone(self, person, limit):
        """How many seconds until the terminal has lost a person."""
        began = self.time.mono
        while person in self.terminal.on and self.time.mono < began + limit:
            await self.step()
        return self.time.mono - began

    def told(self, notice):
        return [f for f in self.facts if f.notice is notice]


def run(body):
    asyncio.run(body())


__all__ = ["KEY", "T0", "Desk", "Terminal", "Time", "run"]
