"""What the gateway writes down, each thing as one event: decisions, orders, notices, door positions, operators' acts.

Who watches is told at once; the journal keeps it.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from lintel.edge.clock import Clock
from lintel.edge.health import Health
from lintel.edge.ids import new_id
from lintel.edge.model import (
    EVERY_DOOR,
    Contact,
    ContactKind,
    Door,
    DoorState,
    Event,
    Fact,
    Instant,
    Notice,
    Order,
    Outcome,
    Reading,
    Reason,
    Stream,
)
from lintel.edge.policy import Decision
from lintel.edge.store import Journal
from lintel.edge.witness import Found

log = logging.getLogger(__name__)

_MINOR = frozenset(
    {
        Notice.FRAME_ERROR,
        Notice.DUPLICATE,
        Notice.RETAINED_IGNORED,
        Notice.SEQUENCE_GAP,
        Notice.SEQUENCE_RESET,
        Notice.ERASE_DONE,
    }
)
"""Notices that fill the telemetry stream: worth counting, not worth waking anybody."""


@dataclass(slots=True)
class Ledger:
    """`watchers` are the live feeds, `positions` what the door position switches said last."""

    doors: Mapping[str, Door]
    journal: Journal
    clock: Clock
    health: Health
    watchers: set["asyncio.Queue[Event]"] = field(default_factory=set, init=False)
    positions: dict[str, str] = field(default_factory=dict, init=False)
    _inputs: dict[tuple[str, ContactKind, int], bool] = field(default_factory=dict, init=False)
    _moved: dict[str, str] = field(default_factory=dict, init=False)
    """Door -> the position that was written down last."""
    _contacts: set[str] = field(default_factory=set, init=False)
    """Doors with a position switch of their own: it knows better than what a lock says of its door."""
    _repeats: Counter[str] = field(default_factory=Counter, init=False)

    def write(self, event: Event, *, now: bool = False) -> "asyncio.Future[int]":
        """Show an event and store it; see `Journal.append`."""
        self.show(event)
        return self.journal.append(event, now=now)

    def note(self, event: Event, *, now: bool = False) -> None:
        """Write an event that nobody waits for: whatever breaks here, who calls goes on."""
        try:
            self.write(event, now=now).add_done_callback(observe)
        except Exception:  # a door that is held open for its fire must not end with its line of the journal
            log.exception("an event of type %s could not be written down", event.type)

    def show(self, event: Event) -> None:
        """Tell whoever watches; one that does not keep up misses lines, the journal has them all."""
        for watcher in self.watchers:
            with contextlib.suppress(asyncio.QueueFull):
                watcher.put_nowait(event)

    def report(self, fact: Fact) -> None:
        """A fact about a device, a line or the box, in the stream its family belongs to.

        Duress is told to the journal only, and commits with the decision: neither feed, status and metrics nor an early
        acknowledgement of the device may give it away.
        """
        silent = fact.notice is Notice.DURESS
        if not silent:
            self.health.notice(fact, self.clock.now().wall)
        now = self.clock.now()
        stream = Stream.TELEMETRY if fact.notice in _MINOR else Stream.ALARM
        event = Event(
            new_id(), stream, "notice", int(now.wall * 1000), now.mono, now.state,
            device=fact.device, reason=fact.notice, detail=fact.detail[:256], count=fact.count,
        )  # fmt: skip
        if silent:
            self.journal.append(event).add_done_callback(observe)
        else:
            self.note(event, now=stream is Stream.ALARM)

    def repeated(self, device: str) -> None:
        """A device sent a record again that is stored or on its way: counted, told by `tell_repeats`."""
        self.health.count("duplicates", device)
        self._repeats[device] += 1

    def tell_repeats(self) -> None:
        """One notice for each device that sent records again since the last call."""
        for device, count in self._repeats.items():
            self.report(Fact(Notice.DUPLICATE, device, count=count))
        self._repeats.clear()

    def position(self, state: DoorState) -> None:
        """A door position switch says what it is: kept for status, written down when it is a change.

        Silence is none: a line that flaps must not fill the journal, and tells of itself.
        """
        word = {True: "open", False: "closed", None: "unknown"}[state.open]
        if state.door:
            self._contacts.add(state.door)
        for door in self.doors.values():
            if not self._says(state, door):
                continue
            self.positions[door.id] = word
            if state.open is not None and self._moved.get(door.id) != word:
                self._moved[door.id] = word
                now = self.clock.now()
                event = Event(
                    new_id(), Stream.ACCESS, "door.position", int(now.wall * 1000), now.mono, now.state,
                    door=door.id, device=state.device, result=word,
                )  # fmt: skip
                self.note(event)

    def _says(self, state: DoorState, door: Door) -> bool:
        """Whether a state is about this door."""
        if state.door:
            return state.door == door.id
        return (door.lock, door.channel) == (state.device, state.channel) and door.id not in self._contacts

    def contact(self, contact: Contact) -> bool:
        """A fire, tamper or power input says what it is: written down when it is a change; whether it is one.

        At rest from the start is no change, and neither is silence: that its line is away is told by the line, once.
        """
        key = (contact.device, contact.kind, contact.input)
        if contact.active is None or contact.active == self._inputs.get(key, False):
            return False
        self._inputs[key] = contact.active
        now = self.clock.now()
        word = "active" if contact.active else "inactive"
        event = Event(
            new_id(), Stream.ALARM, f"input.{contact.kind}", int(now.wall * 1000), now.mono, now.state,
            door="" if contact.door == EVERY_DOOR else contact.door, device=contact.device, result=word,
        )  # fmt: skip
        self.note(event, now=True)
        return True

    def audit(self, what: str, result: str, detail: str) -> None:
        """What an operator did."""
        now = self.clock.now()
        event = Event(
            new_id(), Stream.AUDIT, what, int(now.wall * 1000), now.mono, now.state, result=result, detail=detail[:256]
        )  # fmt: skip
        self.note(event, now=True)

    def acted(self, order: Order, outcome: Outcome, reason: Reason) -> None:
        """What became of an order that no presentation asked for."""
        now = self.clock.now()
        event = Event(
            order.id, Stream.ACCESS, "door.order", int(now.wall * 1000), now.mono, now.state,
            door=order.door, device=order.device, result=outcome, reason=reason, detail=order.action,
        )  # fmt: skip
        self.note(event)

    def ordered(self, order: Order, outcome: Outcome, reading: Reading) -> None:
        """What became of an order that was not simply executed."""
        now = self.clock.now()
        event = Event(
            order.id, Stream.ACCESS, "door.order", int(now.wall * 1000), now.mono, now.state,
            door=order.door, device=order.device, result=outcome, detail=reading.id,
        )  # fmt: skip
        self.note(event)


def decided(reading: Reading, decision: Decision, now: Instant, found: Found | None) -> Event:
    """The line of the journal for one presentation."""
    credential = found.facts.credential if found is not None else None
    return Event(
        reading.id, Stream.ACCESS, "access.decision", int(now.wall * 1000), now.mono, now.state,
        door=reading.door, device=reading.device, result="open" if decision.opens else "deny",
        reason=decision.reason, person=credential.person if credential else "",
        credential=credential.id if credential else "", method=reading.method, direction=reading.direction,
        record=reading.record, detail=reading.detail[:256], device_ts=int((reading.device_time or 0.0) * 1000),
    )  # fmt: skip


def observe(done: "asyncio.Future[int]") -> None:
    """A line nobody waits for: the store already reports what it could not keep."""
    if not done.cancelled():
        done.exception()
