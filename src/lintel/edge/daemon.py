"""The composition root: builds everything from the configuration, runs it in one TaskGroup, shuts down in order.

Shutdown: what is pending is committed and acknowledged, the lines close (no new presentation), the doors finish what
is queued, the store commits and closes.
"""

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import msgspec

from lintel.edge import fire
from lintel.edge.answers import Answers, Running
from lintel.edge.clock import Clock, Mark, always_synced, clock_chip, kernel_synced
from lintel.edge.config import Config, password
from lintel.edge.digests import Digester
from lintel.edge.drivers.base import Receipt
from lintel.edge.errors import StoreError
from lintel.edge.gate import Gate
from lintel.edge.health import Health, sd_notify
from lintel.edge.line_tables import LineTable, MqttLine
from lintel.edge.lines import build_line
from lintel.edge.model import (
    ClockState,
    Contact,
    DoorState,
    Fact,
    Instant,
    Measure,
    Method,
    Notice,
    Order,
    Outcome,
    Reading,
)
from lintel.edge.policy import decide
from lintel.edge.store import Store, atomic_write, derive, state_key, state_lock
from lintel.edge.supervisor import Keeper
from lintel.edge.witness import Witness

log = logging.getLogger(__name__)

LOCAL_LIMIT = 0.5
BROKER_LIMIT = 4.0
"""Longest wait between two attempts at a line, in seconds."""
TICK = 5.0
"""Seconds between self-checks; the watchdog is fed from here, after a real decision."""
SAVE = 60.0
"""Seconds between two writes of the clock's mark."""
TEND = 1800.0
"""Seconds between two turns of housekeeping."""
CLOCK_FILE = "clock.json"


@dataclass(frozen=True, slots=True)
class Inlet:
    """What a driver speaks into: the gate behind it, and the keeper of its own line."""

    gate: Gate
    keeper: Keeper

    async def present(self, reading: Reading) -> Receipt:
        """See `drivers.base.Inlet`."""
        return await self.gate.present(reading)

    def offer(self, reading: Reading) -> Receipt | None:
        """See `drivers.base.Inlet`."""
        return self.gate.offer(reading)

    def report(self, fact: Fact) -> None:
        """See `drivers.base.Inlet`."""
        self.gate.ledger.report(fact)

    def door(self, state: DoorState) -> None:
        """See `drivers.base.Inlet`."""
        self.gate.ledger.position(state)

    def contact(self, contact: Contact) -> None:
        """See `drivers.base.Inlet`."""
        self.gate.contact(contact)

    def measure(self, device: str, what: Measure, value: float) -> None:
        """See `drivers.base.Inlet`."""
        self.gate.health.measure(device, what, value)

    def up(self) -> None:
        """See `drivers.base.Inlet`."""
        self.keeper.up()
        self.gate.fire.line_up()


class Daemon:
    """One gateway. `async with Daemon(config) as d: await d.run()`; `ready` is called when doors decide."""

    def __init__(self, config: Config, *, ready: Callable[[], None] = lambda: None) -> None:
        self.config = config
        self.health = Health()
        self._ready = ready
        self._stop = asyncio.Event()
        self._cleanup = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            await self._cleanup.aclose()
            raise
        return self

    def _build(self) -> None:
        state = self.config.state_dir
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._cleanup.enter_context(state_lock(state))
        key = state_key(state)
        self.store = Store.open(state, key, on_notice=self._notice, loop=asyncio.get_running_loop())
        self._cleanup.push_async_callback(self.store.close)
        self.digest = Digester(derive(key, "digest"))
        trusted = always_synced if self.config.clock.trust == "system" else kernel_synced
        self.clock = Clock(
            floor=self.store.journal.newest_ts() / 1000,
            mark=_load_mark(state),
            synced=trusted,
            chip=clock_chip(),
        )
        site = self.config.site
        witness = Witness(
            self.store.allowlist, self.config.keys(), site.id, self.config.zone, site.door_groups,
            site.other_sites, site.schedule_without_clock,
        )  # fmt: skip
        doors = {d.id: d.rules() for d in self.config.door}
        self.gate = Gate(
            doors, self.store, witness, self.clock, self._execute, self.health, fire_file=state / fire.FILE
        )  # fmt: skip
        self.lines = [self._line(table) for table in self.config.line]
        self._by_device = {d.id: r.driver for r in self.lines for d in r.devices}
        for notice, detail in self.store.notices:
            self.gate.ledger.report(Fact(notice, detail=detail))

    async def __aexit__(self, *exc: object) -> None:
        await self._cleanup.aclose()

    def _line(self, table: LineTable) -> Running:
        secret = getattr(table, "password", "")
        passwords = {table.id: password(secret, self.config.state_dir)} if secret else {}
        line, driver, devices = build_line(
            self.config, table, self.clock, self.digest, passwords, keys=self.store.keys, released=self.gate.fire.frees
        )
        limit = BROKER_LIMIT if isinstance(table, MqttLine) else LOCAL_LIMIT
        return Running(line, driver, Keeper(table.id, self._report, limit), devices)

    def _report(self, fact: Fact) -> None:
        self.gate.ledger.report(fact)

    def _notice(self, notice: Notice, detail: str) -> None:
        """A condition of the store. It can not be journaled by the store itself; the gate does that."""
        if notice is Notice.COMMIT_FAILED and detail == "over":
            self.health.cleared([Notice.DISK_FULL, Notice.STORAGE_READ_ONLY, Notice.COMMIT_FAILED])
        else:
            self.gate.ledger.report(Fact(notice, detail=detail))

    async def _execute(self, order: Order) -> Outcome:
        """Route an order to the line of its device; a driver that overruns the deadline leaves the outcome unknown."""
        driver = self._by_device[order.device]
        left = order.deadline - self.clock.now().mono
        try:
            async with asyncio.timeout(max(0.0, left) + 0.1):
                return await driver.execute(order)
        except TimeoutError:
            return Outcome.UNKNOWN_OUTCOME
        except Exception:  # whatever broke, the order may have gone out: it is not repeated
            log.exception("door %s: order %s failed unexpectedly", order.door, order.id)
            return Outcome.UNKNOWN_OUTCOME

    def stop(self) -> None:
        """Ask for an orderly shutdown."""
        self._stop.set()

    async def run(self) -> None:
        """Serve until `stop`, SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        answers = Answers(self.config, self.store, self.gate, self.clock, self.health, self.digest, self.lines)
        async with answers.serving(), asyncio.TaskGroup() as rooms:
            doors = [rooms.create_task(self.gate.serve(door), name=f"door {door}") for door in self.gate.doors]
            care = [rooms.create_task(self._tick(), name="tick"), rooms.create_task(self._tend(), name="tend")]
            lines = [
                rooms.create_task(r.keeper.keep(partial(r.driver.run, Inlet(self.gate, r.keeper))), name=r.line.id)
                for r in self.lines
            ]
            self.gate.fire.resume()
            gc.freeze()  # what was built stays: a full collection need not walk it while somebody waits at a door
            sd_notify("READY=1")
            self._ready()
            await self._stop.wait()
            sd_notify("STOPPING=1")
            await self._acknowledge()
            await _cancel(lines)
            await self.gate.close()
            await self.gate.drain(2.0)
            self.gate.ledger.tell_repeats()
            await _cancel([*doors, *care])
        _save_mark(self.config.state_dir, self.clock.mark())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    async def _acknowledge(self) -> None:
        """Commit what is pending while the lines still stand: what a device is not told of, it sends again."""
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(1.0):
                await self.store.writer.submit(lambda _: None, now=True)
            await asyncio.sleep(0.05)  # the acknowledgements leave

    async def _tick(self) -> None:
        """What is due every few seconds; an unexpected error leaves the watchdog hungry, and the doors at work."""
        saved = -SAVE
        while True:
            try:
                now = self._check()
                if now.mono - saved >= SAVE:
                    saved = now.mono
                    await asyncio.to_thread(_save_mark, self.config.state_dir, self.clock.mark())
            except Exception:
                log.exception("the self-check failed")
            await asyncio.sleep(TICK)

    def _check(self) -> Instant:
        """Decide a credential that can not exist, and only then tell the service manager that we are alive."""
        door = next(iter(self.gate.doors.values()))
        now = self.clock.now()
        probe = Reading("self", door.id, "", Method.QR, bytes(16), now.wall)
        decide(probe, self.gate.witness.find(probe, door, now).facts, door, now)
        if self.store.writer.alive:
            sd_notify("WATCHDOG=1")
        if now.state is not ClockState.UNKNOWN:
            self.health.cleared([Notice.CLOCK_UNKNOWN])
        for notice, detail in self.clock.take_notices():
            self.gate.ledger.report(Fact(notice, detail=detail))
        self.gate.ledger.tell_repeats()
        return now

    async def _tend(self) -> None:
        """Snapshot and retention, beside the decisions; what fails is tried again at the next turn."""
        while True:
            await asyncio.sleep(TEND)
            try:
                await self.store.tend(self.clock.now())
            except (StoreError, OSError) as error:
                log.warning("housekeeping failed: %s", error)
            except Exception:  # a bug in housekeeping must not take the doors down
                log.exception("housekeeping failed unexpectedly")


def _load_mark(state: Path) -> Mark | None:
    """The clock's mark of the last run; an unreadable one is no mark, the journal's newest time still bounds."""
    try:
        return msgspec.json.decode((state / CLOCK_FILE).read_bytes(), type=Mark)
    except (OSError, msgspec.MsgspecError):
        return None


def _save_mark(state: Path, mark: Mark) -> None:
    with contextlib.suppress(OSError):  # a full or read-only disk must not stop the doors
        atomic_write(state / CLOCK_FILE, msgspec.json.encode(mark))


async def _cancel(tasks: Sequence["asyncio.Task[Any]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def run(config: Config, *, ready: Callable[[], None] = lambda: None) -> None:
    """Run a gateway until it is told to stop."""

    async def main() -> None:
        async with Daemon(config, ready=ready) as daemon:
            await daemon.run()

    asyncio.run(main())
