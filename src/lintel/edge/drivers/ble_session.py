"""One lock within reach or not: heard, dialled, spoken to, hung up. Who refuses our key is not asked all the time.

Only a refusal that the lock itself must have sealed ends the asking, until somebody looked. One that anybody can send
who answers in its place does not: it is told, and the lock is asked again after growing pauses, or else an impostor
could shut it for good with two answers in clear.

A lock is dialled only after an advertisement: the scanner listens all the time, so a lock that comes back is met at its
first one. Three tries, at most 20 s in all; a second of rest after each connection, since some locks crash without.
"""

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from lintel.edge.ble.words import KeyRefused, WrongLock
from lintel.edge.drivers.ble_link import Gone, Link
from lintel.edge.drivers.ble_radio import Radio
from lintel.edge.drivers.ble_slots import Slots, Ticket
from lintel.edge.drivers.ble_talk import Dialect, Own, Talk
from lintel.edge.errors import BadFrame, Refused
from lintel.edge.model import Fact, Notice

if TYPE_CHECKING:
    from bleak.backends.device import BLEDevice

TRIES: Final = 3
TRIES_S: Final = 20.0
DIAL_S: Final = 8.0
"""One attempt to connect (s)."""
REST_S: Final = 1.0
"""Between the end of a connection and the next (s)."""
FRESH_S: Final = 10.0
"""An advertisement is as good as now for so long (s)."""
SILENCE_S: Final = 3.0
"""A lock that was not heard for so long was away (s)."""
REFUSALS: Final = 2
"""How often our key may be refused before that is told and the lock is left alone for a time."""
REFUSED_S: Final = 20.0
"""Until the first attempt after that (s), doubling, and at least so long between any two, an order's as well.

A Lintel lock shuts itself for a minute after five bad handshakes in one.
"""
FIRST_WAIT: Final = 1.0
LONGEST_WAIT: Final = 60.0
"""Between attempts in the background (s); doubling, and at once the longest where cryptography failed."""


class NotInTime(Gone):
    """It was not even dialled, or not for as long as it may take: that says nothing of the lock."""


class Session:
    """The connection with one lock, if there is one. `wake` is called when something happened that may concern it."""

    def __init__(
        self,
        device: str,
        dialect: Dialect,
        own: Own,
        slots: Slots,
        radio: Radio,
        *,
        report: Callable[[Fact], None],
        wake: Callable[[], None],
        give_up: Callable[[], None],
    ) -> None:
        self.device, self.dialect, self.own = device, dialect, own
        self.ticket = Ticket(give_up)
        self.heard_at = self.last_heard = -math.inf
        self.not_before = -math.inf
        """Until then nothing is tried in the background (monotonic s)."""
        self._slots, self._radio, self._report, self._wake = slots, radio, report, wake
        self._place: BLEDevice | None = None
        self._heard = asyncio.Event()
        self._link: Link | None = None
        self._talk: Talk | None = None
        self._refusals = self._misses = 0
        self._unreachable = False
        self._rest_until = self._refused_until = -math.inf
        self._told_wrong = self._told_refused = False

    def hear(self, place: "BLEDevice") -> None:
        """It advertises. After a silence it is another start: failures to connect from before say nothing of now."""
        now = self._now()
        if now - self.last_heard > SILENCE_S and self._unreachable:
            self._misses, self.not_before = 0, -math.inf
        self._place, self.heard_at, self.last_heard = place, now, now
        self._heard.set()

    @property
    def talk(self) -> Talk | None:
        """The open session."""
        return self._talk if self._link is not None and not self._link.over else None

    @property
    def fell(self) -> bool:
        """Whether a connection ended that was not hung up."""
        return self._link is not None and self._link.over

    @property
    def near(self) -> bool:
        """Whether it was heard lately."""
        return self._now() - self.heard_at <= FRESH_S

    @property
    def key_lost(self) -> bool:
        """Whether our key was refused so that the lock is left alone now: for a time, or until `rearm`."""
        return self._now() < self._refused_until

    def rearm(self) -> None:
        """The lock has shown that it knows us, or somebody looked at it: what went wrong before is forgotten."""
        self._refusals = self._misses = 0
        self.not_before = self._refused_until = -math.inf
        self._told_wrong = self._told_refused = False

    async def open(self, until: float, *, urgent: bool) -> Talk:
        """The session, opened where there is none. Raises Gone, BadFrame or Refused after the last try.

        `until` in monotonic seconds.
        """
        if (talk := self.talk) is not None:
            self._slots.work(self.ticket, urgent=urgent)
            return talk
        if self.key_lost:
            raise KeyRefused("its key was refused: it is left alone")
        until, tries = min(until, self._now() + TRIES_S), 0
        while True:
            tries += 1
            try:
                link = await self.dial(until, urgent=urgent)
                talk = await self.dialect.open(link, self.own)
            except (Gone, BadFrame, Refused) as error:
                await self.close()
                self._failed(error)
                if tries == TRIES or self._now() >= until or self.key_lost or self._final(error):
                    raise
            except BaseException:
                await self.close()
                raise
            else:
                self._talk = talk
                self.rearm()
                return talk

    async def dial(self, until: float, *, urgent: bool) -> Link:
        """A connection without a session, once the lock is heard and a slot is free. Raises Gone."""
        await self.close()
        try:
            async with asyncio.timeout(until - self._now()):
                await self._in_reach()
                await self._slots.take(self.ticket, urgent=urgent)
        except TimeoutError:
            raise NotInTime("not heard, or no connection free, in time") from None
        within = max(0.0, min(DIAL_S, until - self._now()))
        try:
            assert self._place is not None  # noqa: S101  it was heard
            self._link = await Link.open(self._radio, self._place, self.device, within, self._wake)
        except BaseException as error:
            short = within < DIAL_S and self._now() >= until
            if urgent and (short or isinstance(error, asyncio.CancelledError)):
                self.ticket.cut()
            self._slots.give(self.ticket)
            if short and isinstance(error, Gone):
                raise NotInTime("no time left to dial it") from None
            raise
        self._slots.dialled(self.ticket)
        return self._link

    async def _in_reach(self) -> None:
        while True:
            if (rest := self._rest_until - self._now()) > 0:
                await asyncio.sleep(rest)
            if self.near:
                return
            self._heard.clear()
            await self._heard.wait()

    def idle(self) -> None:
        """Nothing is under way."""
        if self.talk is not None:
            self._slots.rest(self.ticket)

    async def close(self) -> None:
        """Hang up and give the slot back."""
        link, self._link, self._talk = self._link, None, None
        try:
            if link is not None:
                self.heard_at = -math.inf  # what it said before is no sign of life any more
                await link.close()
        finally:
            if link is not None:
                self._rest_until = self._now() + REST_S
            self._slots.give(self.ticket)

    @staticmethod
    def _final(error: Exception) -> bool:
        """Whether it is of no use to try again at once."""
        return isinstance(error, WrongLock) or (isinstance(error, Refused) and not isinstance(error, KeyRefused))

    def _failed(self, error: Exception) -> None:
        """Count, say once what a person must look at, and say how long the background waits."""
        if isinstance(error, NotInTime):
            return
        self._misses += 1
        self._unreachable = isinstance(error, Gone)
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(self._misses - 1, 6))
        if isinstance(error, KeyRefused):
            wait = self._refused(error)
        elif isinstance(error, WrongLock):
            wait = LONGEST_WAIT
            if not self._told_wrong:
                self._told_wrong = True
                self._report(Fact(Notice.IDENTITY_MISMATCH, self.device, str(error)))
        elif type(error) is BadFrame:
            self._report(Fact(Notice.FRAME_ERROR, self.device, str(error)))
        elif isinstance(error, Refused):
            wait = LONGEST_WAIT
        self.not_before = self._now() + wait

    def _refused(self, error: KeyRefused) -> float:
        """Leave it alone after the second time; how long the background waits (s)."""
        self._refusals += 1
        if (further := self._refusals - REFUSALS) < 0:
            return FIRST_WAIT
        self._refused_until = math.inf if error.proven else self._now() + REFUSED_S
        if not self._told_refused:
            self._told_refused = True
            doubt = "" if error.proven else "; anybody can say that in its place, so it is asked again"
            self._report(Fact(Notice.READER_KEY_LOST, self.device, f"{error}{doubt}"))
        return min(LONGEST_WAIT, REFUSED_S * (1 << min(further, 6)))

    def _now(self) -> float:
        return self.own.now().mono
