"""The composition root: builds everything from the configuration, runs it in one TaskGroup, shuts down in order.

Where exit buttons or fire inputs are wired and the store can not be opened, the gateway runs without it: nobody is let
in, exits and fire work, and as soon as the store opens everything is built again, with what was noted meanwhile.

Shutdown: what is pending is committed and acknowledged, the lines close (no new presentation), the doors finish what
is queued, the store commits and closes.
"""

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import msgspec

from lintel.edge import fire, storeless
from lintel.edge.answers import Answers
from lintel.edge.clock import Clock, Mark, always_synced, clock_chip, kernel_synced
from lintel.edge.config import Config, password
from lintel.edge.devices import Desk, Running, lists_of
from lintel.edge.digests import Digester
from lintel.edge.errors import LintelError, StoreError
from lintel.edge.gate import Gate
from lintel.edge.health import Health, sd_notify
from lintel.edge.inlet import Inlet
from lintel.edge.line_tables import CameraLine, LineTable, MqttLine
from lintel.edge.lines import build_line
from lintel.edge.model import (
    ClockState,
    Contact,
    ContactKind,
    Fact,
    Instant,
    Method,
    Notice,
    Order,
    Outcome,
    Reading,
)
from lintel.edge.policy import decide
from lintel.edge.store import Store, atomic_write, derive, standin, state_key, state_lock
from lintel.edge.storeless import Carried, NoSecret, must_run
from lintel.edge.supervisor import Keeper
from lintel.edge.witness import Witness

log = logging.getLogger(__name__)

LOCAL_LIMIT = 0.5
BROKER_LIMIT = 4.0
"""Longest wait between two attempts at a line, in seconds."""
SETTLE = 10.0
"""Seconds that a lock may take from the last moment to begin until it says what became of an order: motors are slow."""
TICK = 5.0
"""Seconds between self-checks; the watchdog is fed from here, after a real decision."""
SAVE = 60.0
"""Seconds between two writes of the clock's mark."""
TEND = 1800.0
"""Seconds between two turns of housekeeping."""
REOPEN = 10.0
"""Seconds between attempts to open the store, where the gateway runs without it."""
CLOCK_FILE = "clock.json"


class Daemon:
    """One gateway. `async with Daemon(config) as d: await d.run()`; `ready` is called when doors decide.

    `after` is set when a run ended because there is a store now: run another, with it as `before`.
    """

    def __init__(
        self, config: Config, *, ready: Callable[[], None] = lambda: None, before: Carried | None = None
    ) -> None:
        self.config = config
        self.health = Health()
        self.after: Carried | None = None
        self._before = before
        self._durable = True
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
        key = self._open(state)
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
        if self._before is not None:
            self.gate.fire.carry(self._before.latch, self._before.over)
        self.lines = [self._line(table) for table in self.config.line]
        self._by_device = {d.id: r.driver for r in self.lines for d in r.devices}
        self.gate.fire.far = {d.id for r in self.lines if r.line.driver == "ble_lock" for d in r.devices}
        self.gate.fire.expect(
            Contact(d.id, kind, None, d.door, number)
            for r in self.lines for d in r.devices for kind, number in d.profile.spec.contacts
            if kind is ContactKind.FIRE
        )  # fmt: skip
        self.lists = lists_of(self.config, self.lines, self.store, self.clock, self.digest, self.gate.ledger)
        for notice, detail in self.store.notices:
            self.gate.ledger.report(Fact(notice, detail=detail))
        if self._before is not None:
            storeless.keep(self._before, self.store, self.gate)

    def _open(self, state: Path) -> bytes:
        """Open the store, or what stands in for it; its key."""
        try:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._cleanup.enter_context(state_lock(state))
            key = state_key(state)
            self.store = Store.open(state, key, on_notice=self._notice, loop=asyncio.get_running_loop())
            return key
        except Exception as error:  # whatever it is: what has to work without a store works
            if getattr(error, "word", "") == "state_locked" or not must_run(self.config):
                raise
            bug = not isinstance(error, StoreError | OSError)
            log.error(  # noqa: TRY400
                "no store, so nobody is let in; exit buttons and fire inputs work: %s", error, exc_info=bug
            )
            self._durable = False
            folder = self._cleanup.enter_context(standin.place())
            self.store, key = standin.open_in(folder, self._notice, str(error))
            return key

    async def __aexit__(self, *exc: object) -> None:
        await self._cleanup.aclose()

    def _line(self, table: LineTable) -> Running:
        secret, missing = getattr(table, "password", ""), ""
        passwords: dict[str, str] = {}
        try:
            passwords = {table.id: password(secret, self.config.state_dir)} if secret else {}
        except (LintelError, OSError, UnicodeDecodeError) as error:
            if self._durable:
                raise
            missing = str(error)
        line, driver, devices = build_line(
            self.config, table, self.clock, self.digest, passwords,
            keys=self.store.keys if self._durable else None, released=self.gate.fire.frees,
        )  # fmt: skip
        limit = BROKER_LIMIT if isinstance(table, MqttLine | CameraLine) else LOCAL_LIMIT
        driver = NoSecret(missing) if missing else driver
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
        """Route an order to the line of its device; one that overruns even `SETTLE` leaves the outcome unknown."""
        driver = self._by_device[order.device]
        left = order.deadline - self.clock.now().mono
        try:
            async with asyncio.timeout(max(0.0, left) + SETTLE):
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
        desk = Desk(
            self.config, self.store, self.clock, self.health, self.gate.ledger, self.digest, self.lines, self.lists,
            self._execute,
        )  # fmt: skip
        answers = Answers(
            self.config, self.store, self.gate, self.clock, self.health, self.digest, self.lines, desk.handlers(),
            self._durable,
        )  # fmt: skip
        async with answers.serving(), asyncio.TaskGroup() as rooms:
            doors = [rooms.create_task(self.gate.serve(door), name=f"door {door}") for door in self.gate.doors]
            care = [rooms.create_task(self._tick(), name="tick"), rooms.create_task(self._tend(), name="tend")]
            lines = [
                rooms.create_task(r.keeper.keep(partial(r.driver.run, Inlet(self.gate, r.keeper, self._durable))),
                                  name=r.line.id)
                for r in self.lines
            ]  # fmt: skip
            lists = [rooms.create_task(self.lists.run(), name="person lists")] if self._durable else []
            if not self._durable:
                care.append(rooms.create_task(self._reopen(), name="reopen"))
            self.gate.fire.resume()
            gc.freeze()  # what was built stays: a full collection need not walk it while somebody waits at a door
            sd_notify("READY=1")
            self._ready()
            await self._stop.wait()
            if self.after is None:
                sd_notify("STOPPING=1")
            await _cancel(lists)
            await self._acknowledge()
            await _cancel(lines)
            await self.gate.close()
            await self.gate.drain(2.0)
            self.gate.ledger.tell_repeats()
            await _cancel([*doors, *care])
        if self.after is not None:
            await self._acknowledge()
            self.after = storeless.gathered(self.store, self.gate)
        _save_mark(self.config.state_dir, self.clock.mark())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    async def _acknowledge(self) -> None:
        """Commit what is pending while the lines still stand: what a device is not told of, it sends again."""
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(1.0):
                await self.store.writer.submit(lambda _: None, now=True)
            await asyncio.sleep(0.05)  # the acknowledgements leave

    async def _reopen(self) -> None:
        """Without a store: look whether it can be opened, and then end this run for one that has it."""
        notices = await storeless.found(self.config.state_dir, REOPEN)
        for notice, detail in notices:
            self.gate.ledger.report(Fact(notice, detail=detail))
        log.warning("the store can be opened: the gateway begins again with it")
        self.after = Carried()
        self.stop()

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
        before, tell = None, ready
        while True:
            async with Daemon(config, ready=tell, before=before) as daemon:
                await daemon.run()
            if daemon.after is None:
                return
            before, tell = daemon.after, lambda: None

    asyncio.run(main())
