"""The demo's hands and eyes: it presents things at the simulated devices and watches what the gateway makes of it."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lintel.demo.community import FACILITY, Community, DoorSpec, address
from lintel.edge.control import SOCKET, call
from lintel.simulators.client import Simulator
from lintel.simulators.osdp_reader import wiegand26

DECIDED = 5.0
"""Seconds that a presentation may take to be decided before the demo says that it is lost."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the live view. `ms` from the last byte of the presentation to the release, None when denied."""

    door: DoorSpec
    who: str
    reason: str
    opened: bool
    ms: float | None
    right: bool


@dataclass(slots=True)
class World:
    """One running demo. `show` is told of each entry; `wrong` collects what was not as the script expects.

    `devices` are all simulated devices but the OSDP readers, which are `cards` (None: there are none).
    """

    site: Community
    devices: Simulator
    cards: Simulator | None
    show: Callable[[Line], None]
    presented: int = 0
    granted: int = 0
    decided: set[str] = field(default_factory=set)
    opened: int = 0
    denied: Counter[str] = field(default_factory=Counter)
    times_ms: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    played: Counter[str] = field(default_factory=Counter)
    _decisions: dict[str, asyncio.Queue[dict[str, Any]]] = field(default_factory=dict)
    notices: Counter[str] = field(default_factory=Counter)
    _noticed: asyncio.Condition = field(default_factory=asyncio.Condition)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    shown: dict[tuple[str, object], float] = field(default_factory=dict)
    """When a code or card was last at a door (monotonic seconds)."""

    async def watch(self) -> None:
        """Follow the gateway's feed until it ends."""
        self._decisions.update({d.id: asyncio.Queue() for d in self.site.doors})
        reader, writer = await asyncio.open_unix_connection(self.site.state / SOCKET)
        try:
            writer.write(b'{"method": "watch"}\n')
            while line := await reader.readline():
                event = json.loads(line)["result"]
                if event.get("type") == "access.decision":
                    self._decisions[event["door"]].put_nowait(event)
                elif event.get("type") == "notice":
                    async with self._noticed:
                        self.notices[event["reason"]] += 1
                        self._noticed.notify_all()
        finally:
            writer.close()

    async def noticed(self, reason: str, count: int, limit: float) -> None:
        """Wait until so many notices of a kind were told; raises TimeoutError after `limit` seconds."""
        async with asyncio.timeout(limit), self._noticed:
            await self._noticed.wait_for(lambda: self.notices[reason] >= count)

    async def scan(
        self, door: DoorSpec, who: str, expect: str, *, text: str | None = None, picture: str | None = None
    ) -> None:
        """Hold a code before the QR reader of a door."""
        shown = {"text": text} if text is not None else {"picture": picture}
        await self._enter(door, who, expect, {"cmd": "scan", "id": f"{door.id}-qr", **shown})

    async def face(self, door: DoorSpec, person: str, who: str, expect: str, similarity: float = 94.0) -> None:
        """Somebody steps before the face terminal of a door."""
        command = {"cmd": "face", "id": address(door.id, "face"), "person": person, "similarity": similarity}
        await self._enter(door, who, expect, command)

    async def card(self, door: DoorSpec, who: str, expect: str, number: int) -> None:
        """Hold a card of 26 bits before the OSDP reader of a door."""
        data = wiegand26(FACILITY, number).hex()
        await self._enter(door, who, expect, {"cmd": "card", "id": f"{door.id}-card", "data": data, "bits": 26})

    async def line_up(self, line: str, limit: float) -> None:
        """Wait until the gateway has a line up again; raises TimeoutError after `limit` seconds."""
        async with asyncio.timeout(limit):
            while True:
                status = await asyncio.to_thread(call, self.site.state, "status")
                if any(found["id"] == line and found["state"] == "up" for found in status["lines"]):
                    return
                await asyncio.sleep(0.05)

    async def _enter(self, door: DoorSpec, who: str, expect: str, command: dict[str, Any]) -> None:
        self.presented += 1
        opens = expect == "granted"
        start = time.monotonic()
        try:
            if command["cmd"] == "card":  # the moment in which the card is there: the next poll takes it
                assert self.cards is not None  # noqa: S101  the door is left out where there is no reader
                await self.cards.command(command)
            else:
                await self.devices.command(command)
                sent = "scanned" if command["cmd"] == "scan" else "pushed"
                start = (await self.devices.event(sent, DECIDED, id=command["id"]))["t"]
            decision = await asyncio.wait_for(self._decisions[door.id].get(), DECIDED)
        except TimeoutError:
            self.wrong.append(f"{door.id}: {who}: no decision, expected {expect}")
            return
        self.decided.add(decision["id"])
        reason, ms = decision["reason"], None
        if opens and reason == "granted":
            try:
                ms = (await self._released(door) - start) * 1000
                self.opened += 1
                self.times_ms.append(ms)
            except TimeoutError:
                self.wrong.append(f"{door.id}: {who}: granted, but the lock never released")
        if reason == "granted":
            self.granted += 1
        else:
            self.denied[reason] += 1
        right = reason in expect.split("|")
        if not right:
            self.wrong.append(f"{door.id}: {who}: {reason}, expected {expect}")
        self.show(Line(door, who, reason, ms is not None, ms, right))

    async def _released(self, door: DoorSpec) -> float:
        """When the lock of a door was released (monotonic s); raises TimeoutError."""
        if door.lock == "lock":
            event = await self.devices.event("bolt", DECIDED, id=f"{door.id}-lock", bolt="unlocked")
        else:
            event = await self.devices.event("unlocked", DECIDED, id=address(door.id, door.lock))
        return float(event["t"])
