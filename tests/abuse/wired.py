"""A site of wires: the real daemon in this process before chips in memory, doors with a strike and with a magnet.

`gate` and `back` hang on one chip, `side` on another; panel and exit button on a third.
"""

import asyncio
import gc
import threading
import time
from contextlib import suppress

import gpiod

from lintel.edge import config, daemon
from lintel.edge.digests import Digester
from lintel.edge.ids import new_id
from lintel.edge.model import Method, PersonKind, Reading, Stream
from lintel.edge.store import CredentialPut, Store, derive, state_key
from lintel.edge.store.reading import reading as opened
from lintel.edge.store.rows import read_rows
from tests.edge.drivers.contract import until
from tests.edge.drivers.gpio_chip import Chip

LIMIT = 30.0
"""Seconds that anything may take on a busy machine: paid only for what does not happen."""
DOORS = ("gate", "back", "side")
LOCKS = {"gate": ("locks", 2, True), "back": ("locks", 3, False), "side": ("far", 2, True)}
"""Door -> chip, line, and the level at which it is unlocked."""
PANEL, BUTTON = 27, 5

CONFIG = """\
state_dir = "{state}"
[site]
id = 1
timezone = "UTC"
[clock]
trust = "{trust}"
{lines}
"""


def tables(state, trust="system"):
    lines = []
    for chip in ("locks", "far", "inputs"):
        lines += ["[[line]]", f'id = "{chip}"', 'driver = "gpio"', f'chip = "/dev/{chip}"']
    for door, (chip, at, high) in LOCKS.items():
        profile = "gpio-strike" if high else "gpio-magnet"
        lines += device(f"{door}-lock", chip, profile, at, door)
        lines += ["[[door]]", f'id = "{door}"', 'groups = ["public"]', f'lock = "{door}-lock"', "open_s = 0.5"]
    lines += device("panel", "inputs", "gpio-fire-nc", PANEL, "*")
    lines += device("button", "inputs", "gpio-exit", BUTTON, "gate")
    return CONFIG.format(state=state, trust=trust, lines="\n".join(lines))


def device(name, line, profile, at, door):
    return ["[[device]]", f'id = "{name}"', f'line = "{line}"', f'profile = "{profile}"', f'address = "{at}"',
            f'door = "{door}"']  # fmt: skip


class Wired:
    """`async with Wired(folder, monkeypatch) as site`. `before(site)` runs when the state is there and nothing else."""

    def __init__(self, folder, monkeypatch, *, trust="system", before=None, people=("r1",)):
        self.folder, self.trust, self.before, self.people = folder, trust, before, people
        self.state = folder / "state"
        self.chips = {name: Chip() for name in ("locks", "far", "inputs")}
        self.chips["inputs"].volts[PANEL] = False  # a closed contact
        monkeypatch.setattr(gpiod, "request_lines", self.request_lines)
        monkeypatch.setattr(daemon, "REOPEN", 0.2)
        self.running = self.task = None

    def request_lines(self, path, *args, **kwargs):
        return self.chips[path.removeprefix("/dev/")].request_lines(path, *args, **kwargs)

    async def __aenter__(self):
        self.state.mkdir(mode=0o700, exist_ok=True)
        await self.fill()
        path = self.folder / "gateway.toml"
        path.write_text(tables(self.state, self.trust))
        self.config = config.load(path)
        if self.before is not None:
            await self.before(self)
        await self.start()
        return self

    async def __aexit__(self, *exc):
        await self.stop()
        gc.unfreeze()

    async def fill(self):
        key = state_key(self.state)
        digest = Digester(derive(key, "digest"))
        store = Store.open(self.state, key)
        puts = [CredentialPut(digest(Method.QR, p), p, PersonKind.OWNER, Method.QR, ("public",)) for p in self.people]
        if puts:
            await store.allowlist.apply_checkpoint(puts, epoch=1, seq=1, synced_at=time.time())
        await store.close()

    async def start(self, *, up=True):
        ready = asyncio.Event()
        self.task = asyncio.create_task(self._run(ready))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({self.task, waiting}, timeout=LIMIT, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self.task.done():
            await self.task
        if up:
            await until(lambda: all(r.keeper.state == "up" for r in self.running.lines), LIMIT)

    async def _run(self, ready):
        """As `daemon.run` does, with the daemon in reach of the test."""
        before = None
        while True:
            async with daemon.Daemon(self.config, ready=ready.set, before=before) as self.running:
                await self.running.run()
            before = self.running.after
            if before is None:
                return

    async def stop(self):
        if self.task is not None:
            self.running.stop()
            with suppress(Exception):
                await asyncio.wait_for(self.task, LIMIT)
            self.task = None

    # the world outside

    def fire(self, on=True):
        self.chips["inputs"].wire(PANEL, on)

    def press(self, on=True):
        self.chips["inputs"].wire(BUTTON, not on)

    def unlocked(self, *doors):
        return all(self.chips[LOCKS[d][0]].high(LOCKS[d][1]) is LOCKS[d][2] for d in doors or DOORS)

    def locked(self, *doors):
        return all(self.chips[LOCKS[d][0]].high(LOCKS[d][1]) is not LOCKS[d][2] for d in doors or DOORS)

    async def released(self, *doors, limit=1.0):
        """Wait for the doors; they took no longer than `limit`, besides what this machine kept everybody waiting."""
        begun = time.monotonic()
        with Stall() as stall:
            await until(lambda: self.unlocked(*doors), LIMIT)
        took = time.monotonic() - begun
        assert took - stall.worst <= limit, f"{took:.3f} s, of which the machine {stall.worst:.3f} s"

    async def present(self, value, door="gate"):
        """Show a code; the reason word, as who watches is told."""
        running = self.running
        watcher = asyncio.Queue()
        running.gate.ledger.watchers.add(watcher)
        digest = running.digest(Method.QR, value)
        shown = Reading(new_id(), door, f"{door}-reader", Method.QR, digest, time.time())
        (await running.gate.present(shown)).add_done_callback(lambda r: r.cancelled() or r.exception())
        try:
            async with asyncio.timeout(LIMIT):
                while (event := await watcher.get()).id != shown.id:
                    pass
        finally:
            running.gate.ledger.watchers.discard(watcher)
        return event.reason

    def journal(self, *streams):
        """What is stored, after the stop."""
        with opened(self.state) as database:
            return [r.event for s in streams or Stream for r in read_rows(database.reader, s)]


class Stall:
    """How long this machine kept a thread waiting that wanted 5 ms: what no program can be blamed for."""

    def __enter__(self):
        self.worst, self._on = 0.0, True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self):
        while self._on:
            begun = time.monotonic()
            time.sleep(0.005)
            self.worst = max(self.worst, time.monotonic() - begun - 0.005)

    def __exit__(self, *exc):
        self._on = False
        self._thread.join()
