"""What the running gateway answers on its control socket: status, metrics, the feed, imports, lockdown."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lintel import __version__
from lintel.edge import control
from lintel.edge.clock import Clock
from lintel.edge.config import Config
from lintel.edge.devices import Running
from lintel.edge.digests import Digester
from lintel.edge.gate import Gate
from lintel.edge.health import Health
from lintel.edge.model import ClockState, Event, Notice, Stream
from lintel.edge.store import SiteData, Store, StoreError, import_audit

KEPT_S = 3.0
"""Seconds that an operator waits for the disk to have a lockdown; a hung one never answers."""

_WITHOUT_STORE = frozenset({"status", "metrics", "lockdown", "fire.reset"})
"""What is answered also where the store can not be opened."""


async def _no_store(_: dict[str, Any]) -> object:
    raise StoreError("commit_failed", "the store can not be opened, so nothing can be kept; lintel status says why")


@dataclass(frozen=True, slots=True)
class Answers:
    """One method for each request; `serving` opens the socket. `more`: those of other rooms.

    `durable`: whether there is a store; without one nothing is taken that would have to be kept.
    """

    config: Config
    store: Store
    gate: Gate
    clock: Clock
    health: Health
    digest: Digester
    lines: Sequence[Running]
    more: Mapping[str, control.Handler] = field(default_factory=dict)
    durable: bool = True

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """The control socket, while the block runs."""
        handlers: dict[str, control.Handler] = {
            "status": self._status,
            "metrics": self._metrics,
            "allowlist.import": self._import,
            "lockdown": self._lockdown,
            "fire.reset": self._fire_reset,
            **self.more,
        }
        if not self.durable:
            handlers = {name: do if name in _WITHOUT_STORE else _no_store for name, do in handlers.items()}
        async with control.serve(self.config.state_dir, handlers, {"watch": self._watch}):
            yield

    async def _watch(self) -> AsyncIterator[object]:
        """Every line of the journal as it is made, in plain form."""
        queue: asyncio.Queue[Event] = asyncio.Queue(1000)
        self.gate.ledger.watchers.add(queue)
        try:
            yield {"watching": True}
            while True:
                yield asdict(await queue.get())
        finally:
            self.gate.ledger.watchers.discard(queue)

    async def _status(self, _: dict[str, Any]) -> object:
        now = self.clock.now()
        try:
            site = self.store.allowlist.site()
        except StoreError:
            site = SiteData(fault=True)
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
                 "lockdown": not site.lockdown.isdisjoint(d.groups), "position": self.gate.ledger.positions.get(d.id),
                 "fire": self.gate.fire.released(d.id)}
                for d in self.gate.doors.values()
            ],
            "allowlist": {
                "credentials": self._credentials(), "revision": self.store.allowlist.revision,
                "age_s": None if site.synced_at is None else round(now.wall - site.synced_at, 1),
                "fault": site.fault, "restored": site.restored,
            },
            # the alarm stream stays out: its number would tell a bystander of a silent alarm
            "journal": {name: head for name, head in self.store.journal.heads().items() if name != Stream.ALARM},
            "decisions": self.health.total("decisions"),
            "orders": self.health.total("orders"),
        }  # fmt: skip

    def _credentials(self) -> int:
        try:
            return self.store.allowlist.count()
        except StoreError:
            return 0

    async def _metrics(self, _: dict[str, Any]) -> object:
        up = sum(r.keeper.state == "up" for r in self.lines)
        return self.health.prometheus({
            "lintel_lines_up": up,
            "lintel_lines": len(self.lines),
            "lintel_allowlist_credentials": self._credentials(),
            "lintel_alarms_standing": len(self.health.standing),
        })  # fmt: skip

    async def _import(self, params: dict[str, Any]) -> object:
        now, lost = self.clock.now(), self._lost()
        answer = await self.store.import_rows(
            params, self.digest, self.config.zone, at=now.wall, trusted=now.state is ClockState.SYNCED
        )
        self.gate.ledger.audit("allowlist.import", *import_audit(params, answer))
        if lost and self._lost() is False:  # pages that can not be read are no better for an import
            self.health.cleared([Notice.DB_DAMAGED, Notice.DB_RESTORED])
        return answer

    def _lost(self) -> bool | None:
        """Whether the list is known to be lost or an older one; None while it can not be read."""
        try:
            site = self.store.allowlist.site()
        except StoreError:
            return None
        return site.fault or site.restored

    async def _lockdown(self, params: dict[str, Any]) -> object:
        known = {g for d in self.gate.doors.values() for g in d.groups}
        groups = set(params["groups"] or known)
        if unknown := groups - known:
            return {"unknown": sorted(unknown), "known": sorted(known)}
        kept = self.store.allowlist.set_lockdown(groups, on=bool(params["on"]))  # in force from here on
        self.gate.ledger.audit("lockdown", "on" if params["on"] else "off", " ".join(sorted(groups)))
        done, _ = await asyncio.wait({kept}, timeout=KEPT_S)
        durable = self.durable and bool(done) and kept.result()
        return {"lockdown": sorted(self.store.allowlist.site().lockdown), "durable": durable}

    async def _fire_reset(self, params: dict[str, Any]) -> object:
        if not self.gate.fire.latched:
            return {"doors": [], "active": {}, "unknown": {}, "durable": True}
        done = self.gate.fire.reset(unseen=bool(params.get("unseen")))
        durable = not done.doors or await self.gate.fire.saved(KEPT_S)
        return {
            "doors": list(done.doors),
            "active": dict(done.active),
            "unknown": dict(done.unknown),
            "durable": durable,
        }
