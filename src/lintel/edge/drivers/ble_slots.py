"""The few connections of one adapter, shared among its locks. No I/O; for one event loop.

Where there is a slot for every lock, each keeps its own. Else need decides (`Ticket.need`), and among equals the lock
goes first that was served longest ago. For an order an idle connection is given up, then one at background work.
Background work leaves one slot free, so that an order need only dial, and dials alone. A lock that waited too long to
be locked again asks like an order.
"""

import asyncio
import itertools
from collections.abc import Callable


class Ticket:
    """One lock's claim. `give_up` asks its holder to let go; it is told once for each slot that it was given.

    It is urgent while an order waits at its lock (`ordered`), and while it is taken or used for one (`pressed`).
    """

    __slots__ = (
        "asked", "before", "dialling", "give_up", "granted", "held", "idle", "ordered", "owes", "pressed", "renews",
        "served", "spared",
    )  # fmt: skip

    def __init__(self, give_up: Callable[[], None]) -> None:
        self.give_up = give_up
        self.ordered = self.pressed = self.idle = self.held = self.dialling = self.asked = False
        self.renews = self.owes = self.spared = False
        self.served = self.before = 0
        self.granted: asyncio.Future[None] | None = None

    @property
    def urgent(self) -> bool:
        """Whether it goes before background work."""
        return self.ordered or self.pressed

    @property
    def need(self) -> int:
        """An order (0), a hold that is only renewed (1), a lock to be locked again (2), the rounds (3)."""
        if self.urgent:
            return 1 if self.renews else 0
        return 2 if self.owes else 3

    def cut(self) -> None:
        """Its turn ended before it had the time to connect: it keeps its place. Not twice, or nobody gets past it."""
        if not self.spared:
            self.served, self.spared = self.before, True


class Slots:
    """`count` connections for `locks` locks. `keep`: there is one for each."""

    def __init__(self, count: int, locks: int) -> None:
        self.keep = locks <= count
        self._count = count
        self._reserved = 1 if count > 1 else 0
        self._held: list[Ticket] = []
        self._waiting: list[Ticket] = []
        self._turns = itertools.count(1)

    async def take(self, ticket: Ticket, *, urgent: bool) -> None:
        """Wait for a slot; the ticket then counts as dialling until `dialled`. Cancelled, it has none."""
        ticket.pressed = urgent
        ticket.granted = asyncio.get_running_loop().create_future()
        self._waiting.append(ticket)
        self._turn()
        try:
            await ticket.granted
        except asyncio.CancelledError:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            self.give(ticket)
            raise
        finally:
            ticket.granted = None

    def urge(self, ticket: Ticket, *, renews: bool = False) -> None:
        """An order waits at this lock, whatever it waits for. `renews`: nothing but a hold in which it stands."""
        ticket.ordered, ticket.renews = True, renews
        self._turn()

    def calm(self, ticket: Ticket) -> None:
        """No order waits at it any more, whatever became of the last one."""
        ticket.ordered = ticket.renews = False
        self._turn()

    def dialled(self, ticket: Ticket) -> None:
        """It is connected."""
        ticket.dialling = ticket.spared = False
        self._turn()

    def rest(self, ticket: Ticket) -> None:
        """The connection is only kept in case it is needed."""
        ticket.idle, ticket.pressed = True, False
        self._turn()

    def work(self, ticket: Ticket, *, urgent: bool) -> None:
        """The connection is in use again. For an order it is not given up: who waits for it is served by another."""
        ticket.idle, ticket.pressed = False, urgent
        if urgent and ticket.asked:
            ticket.asked = False
            self._turn()

    def give(self, ticket: Ticket) -> None:
        """The slot is free again; harmless where it was."""
        if ticket.held:
            self._held.remove(ticket)
        ticket.held = ticket.idle = ticket.dialling = ticket.asked = ticket.pressed = False
        ticket.before = ticket.served
        self._turn()

    def _turn(self) -> None:
        """Serve who waits, in order; nobody overtakes the first one."""
        while self._waiting:
            first = min(self._waiting, key=lambda t: (t.need, t.served))
            free = self._count - len(self._held)
            if first.urgent:
                if free <= 0:
                    self._ask_one([t for t in self._held if not t.urgent])
                    return
            elif any(t.dialling for t in self._held):
                return
            elif not self.keep and free <= self._reserved:
                self._ask_one([t for t in self._held if t.idle])
                return
            self._grant(first)

    def _grant(self, ticket: Ticket) -> None:
        self._waiting.remove(ticket)
        self._held.append(ticket)
        ticket.held = ticket.dialling = True
        ticket.before, ticket.served = ticket.served, next(self._turns)
        if ticket.granted is not None and not ticket.granted.done():
            ticket.granted.set_result(None)

    def _ask_one(self, holders: list[Ticket]) -> None:
        """Ask one of them to let go, idle ones first, unless one has been asked already."""
        if holders and not any(t.asked for t in self._held):
            victim = min(holders, key=lambda t: (not t.idle, t.served))
            victim.asked = True
            victim.give_up()
