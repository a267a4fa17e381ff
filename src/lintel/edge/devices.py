"""What an operator asks about devices: how they are, their person lists, photos of persons, install windows."""

import base64
import binascii
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from lintel.edge import control
from lintel.edge.clock import Clock
from lintel.edge.config import Config, DeviceTable
from lintel.edge.digests import Digester
from lintel.edge.drivers.base import Device, Driver, Line
from lintel.edge.errors import LintelError, Mistake, StoreError
from lintel.edge.health import Health
from lintel.edge.ids import new_id
from lintel.edge.ledger import Ledger
from lintel.edge.model import Action, Order, Outcome
from lintel.edge.persons import KeepsPersons
from lintel.edge.roster.keeper import ListKeeper
from lintel.edge.roster.lists import Lists
from lintel.edge.store import Store
from lintel.edge.supervisor import Keeper

INSTALL_S: Final = 600.0
"""Longest install window."""
ANSWER_S: Final = 10.0
"""How long a device may take to arm it."""
SHOWN: Final = 200
"""Failed persons that are named by default."""


@dataclass(frozen=True, slots=True)
class Running:
    """One line at work."""

    line: Line
    driver: Driver
    keeper: Keeper
    devices: Sequence[Device]


def lists_of(  # noqa: PLR0917  each is of another kind
    config: Config, lines: Sequence[Running], store: Store, clock: Clock, digest: Digester, ledger: Ledger
) -> Lists:
    """The person lists of all devices that keep one: each holds who may pass at its own door."""
    groups = {door.id: door.groups for door in config.door}
    keeping = [
        (device.id, groups[device.door], running.driver)
        for running in lines
        if isinstance(running.driver, KeepsPersons)
        for device in running.devices
    ]
    return Lists(keeping, store=store, clock=clock, digest=digest, report=ledger.report)


@dataclass(frozen=True, slots=True)
class Desk:
    """One method for each request about devices."""

    config: Config
    store: Store
    clock: Clock
    health: Health
    ledger: Ledger
    digest: Digester
    lines: Sequence[Running]
    lists: Lists
    execute: Callable[[Order], Awaitable[Outcome]]

    def handlers(self) -> Mapping[str, control.Handler]:
        """By the names of the requests."""
        return {
            "device.list": self._list,
            "device.show": self._show,
            "device.sync": self._sync,
            "device.install": self._install,
            "device.forget": self._forget,
            "allowlist.photos": self._photos,
        }

    async def _list(self, _: dict[str, Any]) -> object:
        left = {}
        with contextlib.suppress(StoreError):
            left = await self.lists.left()
        devices = [self._about(table) for table in self.config.device]
        return {"devices": devices, "left": [{"id": device, "persons": count} for device, count in left.items()]}

    async def _show(self, params: dict[str, Any]) -> object:
        table = self._table(params)
        answer = self._about(table)
        keeper = self.lists.keepers.get(table.id)
        if keeper is not None:
            await keeper.count()
            name = str(params.get("person") or "")
            limit = int(params.get("limit") or SHOWN)
            persons = await keeper.people(name=name, only_failed=not (params.get("all") or name), limit=limit)
            answer |= {"persons": self._persons(keeper), "people": persons, "foreign": keeper.standing.foreign[:SHOWN]}
        return answer

    async def _sync(self, params: dict[str, Any]) -> object:
        table = self._table(params)
        keeper = self.lists.keepers.get(table.id)
        if keeper is None:
            raise LintelError(f"{table.id} keeps no person list that the gateway could mend")
        full, purge = bool(params.get("full")), bool(params.get("delete_foreign"))
        keeper.ask(full=full, purge=purge)
        said = " ".join(word for word, on in (("full", full), ("delete-foreign", purge)) if on)
        self.ledger.audit("device.sync", "asked", f"{table.id} {said}".rstrip())
        return {"device": table.id, "asked": True, "there": self._driver(table.id).presence(table.id).there}

    async def _forget(self, params: dict[str, Any]) -> object:
        """Only of a device whose list nobody keeps: what another one holds is known by asking it."""
        device = str(params.get("device"))
        if device in self.lists.keepers:
            raise LintelError(f"{device[:64]} is in the configuration with a person list: take it out first")
        count = await self.lists.forget(device)
        if not count:
            raise LintelError(f"nobody is known to be on {device[:64]}")
        self.ledger.audit("device.forget", "done", f"{device} {count} persons")
        return {"device": device, "persons": count}

    async def _install(self, params: dict[str, Any]) -> object:
        table = self._table(params)
        seconds, secret = float(params.get("seconds") or INSTALL_S), str(params.get("secret") or "")
        if not 0 < seconds <= INSTALL_S:
            raise LintelError(f"an install window lasts up to {INSTALL_S / 60:.0f} minutes")
        deadline = self.clock.now().mono + ANSWER_S
        order = Order(new_id("ord_"), table.door, table.id, Action.INSTALL, deadline, 0, seconds, secret)
        outcome = await self.execute(order)
        self.ledger.audit("device.install", outcome, f"{table.id} {seconds:.0f} s")  # and never the secret
        return {"device": table.id, "outcome": outcome, "seconds": seconds}

    async def _photos(self, params: dict[str, Any]) -> object:
        """Photos of faces on the list: [[value, JPEG in base64], ...]."""
        photos: list[tuple[str, bytes]] = []
        mistakes: list[Mistake] = []
        for name, text in params["photos"]:
            try:
                photos.append((str(name), base64.b64decode(text, validate=True)))
            except (binascii.Error, TypeError):
                mistakes.append(Mistake(str(name)[:64], "expected a photo in base64"))
        mistakes += await self.store.faces.put(photos, self.digest)
        self.ledger.audit("allowlist.photos", "applied", f"photos {len(params['photos'])}, mistakes {len(mistakes)}")
        return {"photos": len(params["photos"]), "mistakes": [[m.where, m.expected] for m in mistakes]}

    # ---- one device

    def _table(self, params: Mapping[str, Any]) -> DeviceTable:
        wanted = str(params.get("device"))
        for table in self.config.device:
            if table.id == wanted:
                return table
        raise LintelError(f"there is no device {wanted[:64]}; known are {', '.join(d.id for d in self.config.device)}")

    def _driver(self, device: str) -> KeepsPersons:
        return next(
            r.driver
            for r in self.lines
            if isinstance(r.driver, KeepsPersons) and any(d.id == device for d in r.devices)
        )

    def _about(self, table: DeviceTable) -> dict[str, Any]:
        running = next(r for r in self.lines if r.line.id == table.line)
        state, since = self._state(running, table.id)
        seen = self.health.seen.get(table.id)
        keeper = self.lists.keepers.get(table.id)
        if keeper is not None and (mono := self._driver(table.id).presence(table.id).seen) is not None:
            now = self.clock.now()
            seen = max(seen or 0.0, now.wall - (now.mono - mono))
        return {
            "id": table.id, "line": table.line, "driver": running.line.driver, "profile": table.profile,
            "door": table.door, "state": state, "since": since, "seen": seen,
            "measures": {what: value for (device, what), value in self.health.measures.items() if device == table.id},
            "persons": None if keeper is None else self._persons(keeper),
        }  # fmt: skip

    def _state(self, running: Running, device: str) -> tuple[str, float | None]:
        """The line's state while it is not up, else the device's: up, lost, or silent (not heard since the start)."""
        if running.keeper.state != "up":
            return str(running.keeper.state), self.health.link("", running.line.id)[1]
        state, since = self.health.link(device)
        if state == "up" and device in self.lists.keepers and not self._driver(device).presence(device).there:
            return "silent", since
        return state, since

    @staticmethod
    def _persons(keeper: ListKeeper) -> dict[str, Any]:
        standing = keeper.standing
        counts = {name: value for name, value in asdict(standing.counts).items() if name != "unmarked"}
        return {
            **counts, "pending": standing.counts.pending, "foreign": standing.strangers,
            "nameless": standing.nameless, "read_at": standing.read_at, "why": standing.why,
        }  # fmt: skip
