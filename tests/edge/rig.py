"""A gate on a real encrypted store, with an injected clock and a lock that keeps a ledger. No wire."""

import asyncio
import contextlib
from zoneinfo import ZoneInfo

from lintel.edge import fire
from lintel.edge.clock import Clock, always_synced
from lintel.edge.digests import Digester
from lintel.edge.gate import Gate
from lintel.edge.health import Health
from lintel.edge.model import Door, Method, Outcome, PersonKind, Reading, Stream
from lintel.edge.passes import Claims, PassKey, issue
from lintel.edge.store import CredentialPut, Store, derive, state_key
from lintel.edge.witness import Witness

T0 = 1_800_000_000.0
SITE = 0x00C0FFEE
SEED = bytes(range(32))
PUBLIC = bytes.fromhex("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8")
GROUPS = ("public", "tower-a")


class Time:
    """Wall and monotonic time that the test moves."""

    def __init__(self, wall=T0):
        self.wall, self.mono = wall, 1000.0

    def move(self, seconds):
        self.wall += seconds
        self.mono += seconds


class Lock:
    """Executes orders and remembers them. `outcome` is what it answers, `delay` how long it takes."""

    def __init__(self):
        self.orders, self.outcome, self.delay, self.before = [], Outcome.EXECUTED, 0.0, None

    async def __call__(self, order):
        if self.before is not None:
            await self.before(order)
        self.orders.append(order)
        await asyncio.sleep(self.delay)
        return self.outcome


class Rig:
    def __init__(self, path, *, doors=None, time=None, synced=always_synced, keys=None, other_sites=(), wait=5.0):
        self.path, self.time, self.lock = path, time or Time(), Lock()
        self.doors = doors or {d: Door(d, d, frozenset({"public"}), f"{d}-lock") for d in ("gate", "back")}
        self.keys = keys if keys is not None else {7: PassKey(7, PUBLIC, SITE)}
        self.synced, self.other_sites, self.wait = synced, other_sites, wait
        self.count = 0

    async def __aenter__(self):
        key = state_key(self.path)
        self.digest = Digester(derive(key, "digest"))
        self.notices = []
        self.store = Store.open(self.path, key, on_notice=lambda n, d: self.notices.append((n, d)))
        self.clock = Clock(lambda: self.time.wall, lambda: self.time.mono, synced=self.synced,
                           floor=self.store.journal.newest_ts() / 1000)  # fmt: skip
        witness = Witness(self.store.allowlist, self.keys, SITE, ZoneInfo("UTC"), GROUPS, self.other_sites)
        self.health = Health()
        self.gate = Gate(self.doors, self.store, witness, self.clock, self.lock, self.health,
                         fire_file=self.path / fire.FILE)  # fmt: skip
        self.tasks = [asyncio.create_task(self.gate.serve(d)) for d in self.doors]
        return self

    async def __aexit__(self, *exc):
        await self.gate.close()
        await self.gate.drain(self.wait)
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.store.close()

    async def allow(self, *people, seq=1, **fields):
        """People with an opaque code each: person id = code."""
        puts = [self.credential(p, **fields) for p in people]
        await self.store.allowlist.apply_checkpoint(puts, epoch=1, seq=seq, synced_at=self.time.wall)

    def credential(self, person, method=Method.QR, kind=PersonKind.OWNER, groups=("public",), **fields):
        return CredentialPut(self.digest(method, person), person, kind, method, groups, **fields)

    def reading(self, value, door="gate", method=Method.QR, **fields):
        self.count += 1
        token = value if method is Method.PASS else ""
        return Reading(f"evt_{id(self)}_{self.count}", door, f"{door}-reader", method, self.digest(method, value),
                       self.time.wall, token=token, **fields)  # fmt: skip

    async def present(self, value, **fields):
        """Present and wait until it is durable; the reason word of the journal."""
        reading = self.reading(value, **fields)
        receipt = await self.gate.present(reading)
        await self.flush()
        await asyncio.wait_for(receipt, 5)
        return self.reason(reading.id)

    async def flush(self):
        """Let the doors finish, then commit: tests need not wait for the group commit's window."""
        await self.gate.drain(5)
        await self.store.writer.submit(lambda conn: None, now=True)

    def reason(self, event_id):
        return next(e.reason for e in self.decisions() if e.id == event_id)

    def decisions(self):
        return [e for e in self.events() if e.type == "access.decision"]

    def events(self, stream=Stream.ACCESS):
        return [row.event for row in self.store.journal.export(stream)]


def visitor(uses=0, start=-600, minutes=60, mask=1, pass_id=42, seed=SEED, site=SITE, key_id=7, flags=0, now=T0):
    """The token of a static pass, times relative to `now`."""
    return issue(seed, site, Claims(1, flags, key_id, pass_id, int((now + start) // 60), minutes, mask, uses))


def run(body, *args, **kwargs):
    """Run `async body(rig)` on a fresh rig."""

    async def main():
        async with Rig(*args, **kwargs) as rig:
            return await body(rig)

    return asyncio.run(main())


@contextlib.contextmanager
def swapped(owner, name, value):
    """Replace an attribute for a negative control."""
    old = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, old)
