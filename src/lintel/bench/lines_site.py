"""The sites that `lintel bench lines` measures: doors, their lines, keys and cards."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lintel.edge.config import load
from lintel.edge.control import SOCKET, call
from lintel.edge.daemon import Daemon
from lintel.edge.digests import Digester
from lintel.edge.errors import LintelError
from lintel.edge.model import Method, PersonKind
from lintel.edge.persons import Consent
from lintel.edge.store import CredentialPut, Store, derive, state_key

CARDS = 400
FACILITY = 12
STARTED = 60.0
"""Seconds that lines may take to come up on a slow machine."""


@dataclass(slots=True)
class Plan:
    """A gateway's file and store, made below `folder` by `write`. `keys`: of OSDP readers, by device."""

    folder: Path
    lines: list[str] = field(default_factory=list)
    keys: dict[str, bytes] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.folder / "state"

    def line(self, name: str, driver: str, **options: object) -> None:
        """A line."""
        self._table("line", id=name, driver=driver, **options)

    def door(self, name: str, lock: str, **options: object) -> None:
        """A door of the group `all`."""
        self._table("door", id=name, lock=lock, groups=["all"], open_s=0.3, min_score=0.0, **options)

    def device(self, name: str, line: str, profile: str, door: str, address: str = "") -> None:
        """A device."""
        self._table(
            "device", id=name, line=line, profile=profile, door=door, **({"address": address} if address else {})
        )

    def _table(self, kind: str, **fields: object) -> None:
        self.lines += [f"[[{kind}]]", *(f"{key} = {json.dumps(value)}" for key, value in fields.items())]

    async def write(self) -> Path:
        """The file; cards, codes and faces 0 to CARDS on the list, keys in the store."""
        head = [f'state_dir = "{self.state}"', "[site]", "id = 1", 'timezone = "UTC"', "[clock]", 'trust = "system"']
        path = self.folder / "gateway.toml"
        path.write_text("\n".join([*head, *self.lines, ""]), "utf-8")
        self.state.mkdir(parents=True, exist_ok=True)
        key = state_key(self.state)
        digest = Digester(derive(key, "digest"))
        shown = [(Method.CARD, card), (Method.QR, code), (Method.FACE, face)]
        puts = [
            CredentialPut(digest(method, text(n)), face(n), PersonKind.OWNER, method, ("all",), consent=Consent.GRANTED)
            for n in range(CARDS)
            for method, text in shown
        ]
        store = Store.open(self.state, key)
        try:
            await store.allowlist.apply_checkpoint(puts, epoch=1, seq=1, synced_at=0.0)
            for device, secret in self.keys.items():
                await store.keys.put(device, {"osdp.key": secret})
        finally:
            await store.close()
        return path


def card(n: int) -> str:
    """The n-th card as the gateway knows it."""
    return f"26:{FACILITY}:{n}"


def code(n: int) -> str:
    """The n-th opaque code."""
    return f"CODE{n:06}"


def face(n: int) -> str:
    """The n-th person."""
    return f"per_{n:06}"


@contextlib.asynccontextmanager
async def gateway(path: Path) -> AsyncIterator[Daemon]:
    """The daemon in this process, so that its lines can be looked into."""
    ready = asyncio.Event()
    async with Daemon(load(path), ready=ready.set) as daemon:
        running = asyncio.create_task(daemon.run())
        try:
            await asyncio.wait({running, asyncio.create_task(ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
            yield daemon
        finally:
            daemon.stop()
            await running


async def lines_up(state: Path, wanted: Sequence[str]) -> None:
    """Wait until these lines are up. Raises LintelError."""
    try:
        async with asyncio.timeout(STARTED):
            while True:
                if (state / SOCKET).exists():
                    with contextlib.suppress(LintelError):
                        status: Mapping[str, Any] = await asyncio.to_thread(call, state, "status")
                        states = {line["id"]: line["state"] for line in status["lines"]}
                        if all(states.get(line) == "up" for line in wanted):
                            return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise LintelError(f"not all of the lines {', '.join(wanted)} are up after {STARTED:.0f} s") from None
