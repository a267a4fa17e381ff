"""The composition root: builds everything from the configuration, runs it in one TaskGroup, shuts down in order.

Shutdown: the lines close first (no new presentation), the doors finish what is queued, the store commits and closes.
"""

import asyncio
import contextlib
import importlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import msgspec

from lintel import __version__
from lintel.edge import control
from lintel.edge.clock import Clock, Mark, always_synced, clock_chip, kernel_synced
from lintel.edge.config import Config, MqttLine, SerialLine, password
from lintel.edge.drivers.base import Build, Context, Device, Driver, Line, Receipt
from lintel.edge.gate import Gate
from lintel.edge.health import Health, sd_notify
from lintel.edge.ids import new_id
from lintel.edge.model import Digester, DoorState, Event, Fact, Method, Notice, Order, Outcome, Reading
from lintel.edge.policy import decide
from lintel.edge.store import Store, atomic_write, derive, state_key, state_lock
from lintel.edge.supervisor import Keeper
from lintel.edge.witness import Witness

log = logging.getLogger(__name__)

SERIAL_LIMIT = 0.5
BROKER_LIMIT = 5.0
"""Longest wait between two attempts at a line, in seconds."""
TICK = 5.0
"""Seconds between self-checks; the watchdog is fed from here, after a real decision."""
CLOCK_FILE = "clock.json"


@dataclass(frozen=True, slots=True)
class Running:
    """One line at work."""

    line: Line
    driver: Driver
    keeper: Keeper
    devices: Sequence[Device]


@dataclass(frozen=True, slots=True)
class Inlet:
    """What a driver speaks into: the gate behind it, and the keeper of its own line."""

    gate: Gate
    keeper: Keeper

    async def present(self, reading: Reading) -> Receipt:
        """See `drivers.base.Inlet`."""
        return await self.gate.present(reading)

    def report(self, fact: Fact) -> None:
        """See `drivers.base.Inlet`."""
        self.gate.report(fact)

    def door(self, state: DoorState) -> None:
        """See `drivers.base.Inlet`."""
        self.gate.position(state)

    def up(self) -> None:
        """See `drivers.base.Inlet`."""
        self.keeper.up()


class Daemon:
    """One gateway. `async with Daemon(config) as d: await d.run()`; `ready` is called when doors decide."""

    def __init__(self, config: Config, *, ready: Callable[[], None] = lambda: None) -> None:
        self.config = config
        self.health = Health()
        self._ready = ready
        self._stop = asyncio.Event()
        self._cleanup = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
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
        self.gate = Gate(doors, self.store, witness, self.clock, self._execute, self.health)
        self.lines = [self._line(table) for table in self.config.line]
        self._by_device = {d.id: r.driver for r in self.lines for d in r.devices}
        for notice, detail in self.store.notices:
            self.gate.report(Fact(notice, detail=detail))
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._cleanup.aclose()

    def _line(self, table: SerialLine | MqttLine) -> Running:
        options = table.model_dump(exclude_defaults=True, exclude={"id", "driver", "password"}, mode="json")
        devices = [
            Device(d.id, d.address, d.door, d.direction, self.config.profile(d))
            for d in self.config.device
            if d.line == table.id
        ]
        secret = getattr(table, "password", "")
        passwords = {table.id: password(secret, self.config.state_dir)} if secret else {}
        context = Context(
            self.clock, self.digest, new_id, self.config.site.timezone, f"lintel-{self.config.site.id:08x}", passwords
        )
        build: Build = importlib.import_module(f"lintel.edge.drivers.{table.driver}").build
        line = Line(table.id, table.driver, options)
        limit = SERIAL_LIMIT if isinstance(table, SerialLine) else BROKER_LIMIT
        return Running(line, build(line, devices, context), Keeper(table.id, self._report, limit), devices)

    def _report(self, fact: Fact) -> None:
        self.gate.report(fact)

    def _notice(self, notice: Notice, detail: str) -> None:
        """A condition of the store. It can not be journaled by the store itself; the gate does that."""
        if notice is Notice.COMMIT_FAILED and detail == "over":
            self.health.cleared([Notice.DISK_FULL, Notice.STORAGE_READ_ONLY, Notice.COMMIT_FAILED])
        else:
            self.gate.report(Fact(notice, detail=detail))

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
        async with (
            control.serve(self.config.state_dir, self._handlers(), {"watch": self._watch}),
            asyncio.TaskGroup() as rooms,
        ):
            doors = [rooms.create_task(self.gate.serve(door), name=f"door {door}") for door in self.gate.doors]
            tick = rooms.create_task(self._tick(), name="tick")
            lines = [
                rooms.create_task(r.keeper.keep(partial(r.driver.run, Inlet(self.gate, r.keeper))), name=r.line.id)
                for r in self.lines
            ]
            sd_notify("READY=1")
            self._ready()
            await self._stop.wait()
            sd_notify("STOPPING=1")
            await _cancel(lines)
            await self.gate.drain(2.0)
            await _cancel([*doors, tick])
        _save_mark(self.config.state_dir, self.clock.mark())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    async def _tick(self) -> None:
        """Self-check: decide a credential that can not exist, and only then tell the service manager we are alive."""
        door = next(iter(self.gate.doors.values()))
        last_mark = 0.0
        while True:
            now = self.clock.now()
            probe = Reading("self", door.id, "", Method.QR, bytes(16), now.wall)
            decide(probe, self.gate.witness.find(probe, door, now).facts, door, now)
            sd_notify("WATCHDOG=1")
            for notice, detail in self.clock.take_notices():
                self.gate.report(Fact(notice, detail=detail))
            if now.mono - last_mark >= 60.0:
                last_mark = now.mono
                _save_mark(self.config.state_dir, self.clock.mark())
            await asyncio.sleep(TICK)

    def _handlers(self) -> dict[str, control.Handler]:
        return {
            "status": self._status,
            "metrics": self._metrics,
            "allowlist.import": self._import,
            "lockdown": self._lockdown,
        }

    async def _watch(self) -> AsyncIterator[object]:
        """Every line of the journal as it is made, in plain form."""
        queue: asyncio.Queue[Event] = asyncio.Queue(1000)
        self.gate.watchers.add(queue)
        try:
            yield {"watching": True}
            while True:
                yield asdict(await queue.get())
        finally:
            self.gate.watchers.discard(queue)

    async def _status(self, _: dict[str, Any]) -> object:
        site = self.store.allowlist.site()
        now = self.clock.now()
        return {
            "version": __version__,
            "pid": os.getpid(),
            "clock": now.state,
            "alarms": dict(self.health.standing),
            "lines": [
                {"id": r.line.id, "driver": r.line.driver, "state": r.keeper.state, "why": r.keeper.why,
                 "attempts": r.keeper.attempts, "devices": [d.id for d in r.devices]}
                for r in self.lines
            ],
            "doors": [
                {"id": d.id, "name": d.name, "lock": d.lock, "waiting": self.gate.waiting(d.id),
                 "lockdown": not site.lockdown.isdisjoint(d.groups), "position": self.gate.positions.get(d.id)}
                for d in self.gate.doors.values()
            ],
            "allowlist": {
                "credentials": self.store.allowlist.count(), "revision": self.store.allowlist.revision,
                "age_s": None if site.synced_at is None else round(now.wall - site.synced_at, 1), "fault": site.fault,
            },
            "journal": self.store.journal.heads(),
            "decisions": self.health.total("decisions"),
            "orders": self.health.total("orders"),
        }  # fmt: skip

    async def _metrics(self, _: dict[str, Any]) -> object:
        up = sum(r.keeper.state == "up" for r in self.lines)
        return self.health.prometheus({
            "lintel_lines_up": up,
            "lintel_lines": len(self.lines),
            "lintel_allowlist_credentials": self.store.allowlist.count(),
            "lintel_alarms_standing": len(self.health.standing),
        })  # fmt: skip

    async def _import(self, params: dict[str, Any]) -> object:
        return await self.store.import_rows(params, self.digest)

    async def _lockdown(self, params: dict[str, Any]) -> object:
        known = {g for d in self.gate.doors.values() for g in d.groups}
        groups = set(params["groups"] or known)
        if unknown := groups - known:
            return {"unknown": sorted(unknown), "known": sorted(known)}
        await self.store.allowlist.set_lockdown(groups, on=bool(params["on"]))
        return {"lockdown": sorted(self.store.allowlist.site().lockdown)}


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
