"""Exit buttons: one press is one order, at once and for everybody. It is no question, so nobody is asked.

An order leaves past the queue of the door and without a look at store, clock, list or lockdown, and is written down
once as a decision with the reason `egress`. While a button stays pressed its door is kept open: who presses a button
that somebody else holds, or that is stuck, must get out as well.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from lintel.edge.clock import Clock
from lintel.edge.ids import new_id
from lintel.edge.ledger import Ledger
from lintel.edge.model import Action, Contact, Direction, Door, Event, Order, Outcome, Reason, Stream

log = logging.getLogger(__name__)

Button = tuple[str, int]
"""The device and its input."""


@dataclass(slots=True)
class Exits:
    """All exit buttons. `released(door)`: fire holds this door open already; an opening could end that."""

    doors: Mapping[str, Door]
    execute: Callable[[Order], Awaitable[Outcome]]
    ledger: Ledger
    clock: Clock
    released: Callable[[str], bool]
    order_s: float = 3.0
    _pressed: dict[Button, object] = field(default_factory=dict, init=False)
    """Button -> its press."""
    _known: set[Button] = field(default_factory=set, init=False)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set, init=False)

    def input(self, contact: Contact) -> None:
        """A button says what it is. One that was pressed while its line was away is the same press afterwards."""
        button, door = (contact.device, contact.input), self.doors.get(contact.door)
        if not contact.active or door is None:
            self._pressed.pop(button, None)
            if contact.active is False:
                self._known.discard(button)
            return
        if button in self._pressed:
            return
        press = self._pressed[button] = object()
        task = asyncio.create_task(self._let_out(door, button, press), name=f"exit {contact.device}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if button not in self._known:
            self._known.add(button)
            self._record(door, contact.device)

    async def close(self) -> None:
        """End all work; locks keep their pulse."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _let_out(self, door: Door, button: Button, press: object) -> None:
        """Open, and again before the pulse ends for as long as this press lasts."""
        told = Outcome.EXECUTED
        while True:
            if not self.released(door.id):
                told = await self._open(door, told)
            await asyncio.sleep(door.open_s / 2)
            if self._pressed.get(button) is not press:
                return

    async def _open(self, door: Door, told: Outcome) -> Outcome:
        deadline = self.clock.now().mono + self.order_s
        order = Order(new_id("ord_"), door.id, door.lock, Action.OPEN, deadline, door.channel, door.open_s)
        try:
            outcome = await self.execute(order)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            outcome = Outcome.NOT_SENT  # a future inside the driver was cancelled, not this
        except Exception:  # whatever broke: as long as the button is pressed it is tried again
            log.exception("door %s: order %s failed unexpectedly", door.id, order.id)
            outcome = Outcome.NOT_SENT
        self.ledger.health.ordered(door.id, outcome)
        if outcome not in (Outcome.EXECUTED, told):
            log.warning("door %s: exit: order %s to %s: %s", door.id, order.id, order.device, outcome)
            self.ledger.acted(order, outcome, Reason.EGRESS)
        return outcome

    def _record(self, door: Door, device: str) -> None:
        now = self.clock.now()
        self.ledger.health.decided(door.id, Reason.EGRESS)
        self.ledger.note(Event(
            new_id(), Stream.ACCESS, "access.decision", int(now.wall * 1000), now.mono, now.state,
            door=door.id, device=device, result="open", reason=Reason.EGRESS, direction=Direction.OUT,
        ))  # fmt: skip
