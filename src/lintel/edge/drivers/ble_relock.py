"""What is owed to a lock: to be locked again after an opening, to be held on while somebody holds it. Pure.

    opened, or perhaps         where the gateway locks: lock, after the order's seconds
    held, or perhaps           nothing locks it; one that locks again by itself is told to stay open before that is over
    a release was ordered      the hold is over and it is to be locked, whatever becomes of that one order
    first seen unlocked        where the gateway locks: as opened, for it may have stopped in those seconds
    a try failed               once more, later and later, for as long as it takes
    locked                     nothing is owed

Fire stands above all of it: what it has released is not locked. A debt outlives connections, lines and errors: it is
changed before and after a try, and a try that never ends leaves the next one behind. Times are monotonic seconds.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

from lintel.edge.ble.words import LockWord, Move
from lintel.edge.model import Action, Order, Outcome
from lintel.edge.profiles.ble import BleSpec

HELD_S: Final = 6000.0
"""How long a lock that locks again by itself is told to stay open when it is held; told again before that is over."""
AGAIN_S: Final = 5.0
"""After the first try that failed (s); then doubling."""
LONGEST_S: Final = 30.0
"""Between two tries, however many have failed (s)."""
TELL_S: Final = 30.0
"""A lock that should have been locked so long ago, and is not, is told of (s)."""
LOOK_S: Final = 1.0
"""How often it is seen whether fire still has the door (s)."""

SURE_S: Final = 600.0
"""A lock that is held, and was not seen otherwise since, is told so again only after so long (s)."""
SEEN_S: Final = 120.0
"""But it must have been seen open, or told so, within so long (s): two of the worker's looks, of which one may fail."""
PRESS_S: Final = 5.0
"""A lock that is to be locked gives way to orders of other locks for so long (s), then it takes its turn among them."""

_OPEN: Final[tuple[LockWord, ...]] = ("unlocked", "unlocking", "unlatched", "unlatching")


@dataclass(frozen=True, slots=True)
class Later:
    """A move that has to follow. `at`: the next try; `since`: when it was due first; `why`: of the last failure.

    `waits`: since when it was given no turn, inf where it was not kept waiting.
    """

    at: float
    move: Move
    since: float
    tries: int = 0
    why: str = ""
    waits: float = math.inf

    def again(self, now: float, why: str = "") -> "Later":
        """The same after a try that failed, or may."""
        pause = min(LONGEST_S, AGAIN_S * 2.0 ** min(self.tries, 8))
        return replace(self, at=now + pause, tries=self.tries + 1, why=why or self.why, waits=math.inf)


class Owed:
    """One lock's; see the module. `open_s`: how long its door stays open after an opening that nobody remembers."""

    def __init__(self, spec: BleSpec, open_s: float) -> None:
        self.later: Later | None = None
        self.held = False
        """Somebody holds it open, and has not ordered its release."""
        self.releases = 0
        """How many releases were ordered: what was ordered before one is over with it."""
        self._itself = spec.locks_again == "itself"
        self._ours = spec.locks_again == "gateway"
        self._open_s = open_s
        self._new = self._told = False
        self._stays = self._ours or (self._itself and spec.dialect == "lintel-lock")
        """Whether it stays open when it is held: what has an auto lock of its own may not."""
        self._sure_until = self._seen_at = -math.inf

    # ---- what happens

    def begin(self) -> None:
        """The line is up: how the lock is found is news."""
        self._new = True
        self._sure_until = -math.inf

    def saw(self, lock: LockWord, now: float) -> None:
        """How it stands. Only the first that is clear counts: later on, who unlocks it by hand wants it so."""
        if lock in ("locked", "locking", "jammed"):
            self._sure_until = -math.inf
        elif lock in _OPEN:
            self._seen_at = now
        if not self._new or lock not in ("locked", *_OPEN):
            return
        self._new = False
        if self._ours and lock in _OPEN and self.later is None and not self.held:
            self._lock(now + self._open_s)

    def release(self, now: float) -> None:
        """A release was ordered."""
        self.releases += 1
        self.held = False
        self._sure_until = -math.inf
        planned = self.later
        if planned is None or planned.move is not Move.LOCK:
            self._lock(now)
        else:  # the order is a try of its own: the next one of ours stays where it is
            at = planned.at if planned.tries else min(planned.at, now)
            self.later = replace(planned, at=at, since=min(planned.since, now))

    def ended(self, order: Order, before: int, now: float, outcome: Outcome, *, maybe: bool, why: str = "") -> str:
        """An order has ended. `before`: releases when it was given; `maybe`: the lock may have moved for it.

        What is to be told of it, "" for nothing.
        """
        if maybe or outcome is not Outcome.EXECUTED:
            self._sure_until = -math.inf
        if order.action is Action.RELEASE:
            if outcome is Outcome.EXECUTED:
                return self._locked()
            planned = self.later
            if planned is not None and planned.move is Move.LOCK:
                # the first counts as our first try; who orders it again and again puts the next one of ours off no more
                self.later = replace(planned, why=why or planned.why) if planned.tries else planned.again(now, why)
        elif maybe:
            self._new = False
            self._opened(order, before, now, outcome)
        return ""

    def _opened(self, order: Order, before: int, now: float, outcome: Outcome) -> None:
        if order.action is Action.HOLD and outcome is not Outcome.REFUSED_BY_DEVICE:
            if before != self.releases:
                self._lock(now)
                return
            self.held, self._told = True, False
            self.later = self._renewal(now)
            if self._stays and outcome is Outcome.EXECUTED:
                self._sure_until, self._seen_at = now + SURE_S, now
        elif self._ours and not self.held:
            self._lock(now + order.seconds)

    def _renewal(self, now: float) -> Later | None:
        at = now + HELD_S * 0.9
        return Later(at, Move.UNLOCK, at) if self._itself else None

    def _lock(self, at: float) -> None:
        self.later = Later(at, Move.LOCK, at)

    def _locked(self) -> str:
        self.later = None
        told, self._told = self._told, False
        return "locked again" if told else ""

    # ---- what is to be done

    def sure(self, now: float) -> bool:
        """Whether it is held, and that need not be told it again."""
        return self.held and now < min(self._sure_until, self._seen_at + SEEN_S)

    def due(self, now: float, *, released: bool) -> Later | float:
        """What is to be tried now, or when to ask again."""
        planned = self.later
        if planned is None:
            return math.inf
        if planned.move is Move.LOCK and released:
            return now + LOOK_S
        if now >= planned.at:
            return planned
        return planned.at if self._told or planned.move is not Move.LOCK else min(planned.at, planned.since + TELL_S)

    def trying(self, now: float) -> Later:
        """What is due is tried now; from here on the next try stands, whatever becomes of this one."""
        assert self.later is not None  # noqa: S101  it is due
        self.later = replace(self.later.again(now), waits=min(self.later.waits, now))
        return self.later

    def presses_at(self, now: float) -> float:
        """When what is due now gives way to orders of other locks no more: kept waiting, it would else wait for ever.

        Never where it is not to be locked. One that was dialled in vain had its turn, and gives way again.
        """
        planned = self.later
        return math.inf if planned is None or planned.move is not Move.LOCK else min(planned.waits, now) + PRESS_S

    def tried(self, tried: Later, now: float, *, done: bool, gave_way: bool = False, why: str = "") -> str:
        """What became of it; an order may have changed meanwhile what is owed. What is to be told, "" for nothing.

        `gave_way`: it was not even tried, since an order or a fire came.
        """
        if self.later is not tried:
            return ""
        if done:
            if tried.move is Move.LOCK:
                return self._locked()
            self.later = self._renewal(now)
        elif gave_way:
            self.later = replace(tried, at=now, tries=tried.tries - 1)
        else:
            self.later = replace(tried, tries=tried.tries - 1).again(now, why)
        return ""

    def overdue(self, now: float, *, released: bool) -> str:
        """What is to be told, once, of a lock that stays open against our will; "" for nothing."""
        planned = self.later
        if planned is None or planned.move is not Move.LOCK or self._told or released or now < planned.since + TELL_S:
            return ""
        self._told = True
        return f"not locked again: {planned.why or 'the lock is not reached'}"
