"""Trusted time: which instant it is, and how far that can be relied on. Everything takes time from one `Clock`.

Three states. *synced*: the kernel says that a time source disciplines it; wall time is the system clock, never below
the floor. *holdover*: no source, or sources that disagree, at most 7 days after the last good one; wall time is the
last trusted line carried on by the steady clock. *unknown*: anything else; timed passes are refused.

Wall time never runs below the floor: the highest instant handed out while not unknown, which survives a restart by
`mark`. Where the truth is in doubt the later instant wins, because an expired pass must stay expired. A synced step
back is followed by standing still until real time has caught up. A floor that a wrong source has pushed far ahead is
not undone by any source; an operator removes the stored mark.

The steady clock is CLOCK_MONOTONIC_RAW where the system has it: a time server that pulls the clock slowly pulls
CLOCK_MONOTONIC along with it.
"""

import ctypes
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lintel.edge.model import ClockState, Instant, Notice

STEP = 5.0
"""A change of the system clock against the monotonic one beyond this is a step and raises `clock_stepped` (s)."""
HORIZON = 3600.0
"""How far an untrusted system clock may lead the trusted line, and how far a trusted one may step back (s)."""
SYNCED_STEPS = 86_400.0
"""How far a synced kernel alone may step in one boot, summed; more needs a second source that agrees (s)."""
HOLDOVER = 7 * 86_400.0
"""How long after the last good source the line is still believed (s)."""
DRIFT = 500e-6
"""Rate beyond which the system clock counts as pulled: five times what a poor crystal drifts (s/s)."""
AGREE = 120.0
"""Two sources that differ by more than this disagree (s)."""
POLL = 2.0
"""How often the kernel is asked whether it is synced (s)."""
_MAX_NOTICES = 64


class _Timex(ctypes.Structure):
    """The head of struct timex of adjtimex(2); the rest is reserved space."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 512),
    )


_STA_UNSYNC = 0x0040
_TIME_ERROR = 5


def kernel_synced() -> bool:
    """Whether the kernel's clock is disciplined by a time source (adjtimex(2), read only). False where unknown."""
    try:
        timex = _Timex()
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    except (AttributeError, OSError):
        return False
    return 0 <= state < _TIME_ERROR and not timex.status & _STA_UNSYNC


def always_synced() -> bool:
    """For demos, simulators and tests: believe the system clock."""
    return True


def boot_id() -> str:
    """The kernel's id of this boot; "" where there is none, which never equals a stored one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def clock_chip() -> bool:
    """Whether the box has a battery clock that carries time through a power cut."""
    return Path("/sys/class/rtc/rtc0").exists()


def steady_clock() -> float:
    """Seconds of this boot that no time source slews."""
    return time.clock_gettime(time.CLOCK_MONOTONIC_RAW)


@dataclass(frozen=True, slots=True)
class Mark:
    """What to persist, about once a minute and at shutdown, and to hand to the next `Clock`.

    `wall` is the floor, `mono` the monotonic seconds that belong to it in boot `boot_id`; `last_sync` is the wall time
    of the last good source (None: never); `anchored` says that a source was seen in that boot.
    """

    wall: float
    mono: float
    boot_id: str
    last_sync: float | None
    anchored: bool


class Clock:
    """Wall time, monotonic time and how far to trust them. Use from one thread; `now` costs about a microsecond.

    `floor` is a second lower bound besides `mark`: the time of the newest event in the journal whose clock state was
    not unknown. So a decision taken after the last `mark` was written counts: no floor is lower than a decision made.
    `chip` says whether the system clock can have gone on while the power was off (`clock_chip()`).
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        mono: Callable[[], float] = time.monotonic,
        *,
        floor: float = 0.0,
        mark: Mark | None = None,
        synced: Callable[[], bool] = kernel_synced,
        boot_id: Callable[[], str] = boot_id,
        steady: Callable[[], float] | None = None,
        chip: bool = True,
    ) -> None:
        self._wall, self._mono, self._ask = wall, mono, synced
        self._steady = steady or (steady_clock if mono is time.monotonic else mono)
        self.boot_id = boot_id()
        self._notices: deque[tuple[Notice, str]] = deque(maxlen=_MAX_NOTICES)
        now, system = mono(), wall()
        self._floor = max(floor, mark.wall if mark else 0.0)
        self._last_sync = mark.last_sync if mark else None
        self._holdable = self._anchored = False  # may the line be believed; has a source fixed it in this boot
        start = self._floor or system  # the very first start has nothing better, and says so: unknown
        if mark and mark.boot_id == self.boot_id != "":
            start = max(self._floor, mark.wall + max(0.0, now - mark.mono))
            self._holdable, self._anchored = self._last_sync is not None, mark.anchored
        elif system < self._floor - STEP:
            self._say(Notice.CLOCK_STEPPED, f"starts {self._floor - system:.0f} s behind the stored floor")
        elif chip and self._last_sync is not None and system - self._last_sync <= HOLDOVER:
            start = max(self._floor, system)
            self._holdable = True
        steady_now = self._steady()
        self._line = self._base = start - steady_now  # wall minus steady: now, and when last fixed by a source
        self._reference = (steady_now, self._line)  # steady, and wall minus steady, when last confirmed
        self._stepped = 0.0
        self._offset = system - now
        self._disputed = self._far = self._drifting = self._vouched = self._follow = False
        self._state: ClockState | None = None
        self._next = 0.0
        self._judge(now, system)

    def now(self) -> Instant:
        """This moment. `wall` is never lower than in any earlier answer that was not unknown."""
        mono, system = self._mono(), self._wall()
        if mono >= self._next or not -STEP < system - mono - self._offset < STEP:
            self._judge(mono, system)
        wall = system if self._follow else self._steady() + self._line
        if wall < self._floor:
            wall = self._floor
        elif self._state is not ClockState.UNKNOWN:
            self._floor = wall
        return Instant(wall, mono, self._state or ClockState.UNKNOWN)

    def mark(self) -> Mark:
        """The state to persist; see `Mark`."""
        now = self.now()
        known = now.state is not ClockState.UNKNOWN
        return Mark(self._floor, now.mono, self.boot_id, self._last_sync if known else None, self._anchored)

    def take_notices(self) -> list[tuple[Notice, str]]:
        """What happened since the last call: clock_stepped, clock_drift, clock_unknown; each once per change."""
        taken = list(self._notices)
        self._notices.clear()
        return taken

    def second_opinion(self, wall: float) -> None:
        """The time of another trusted source at this moment, such as the cloud's signed time (Unix seconds).

        Agreeing, it confirms the system clock. Differing by more than two minutes from a synced kernel, it makes
        holdover of synced. Alone, it carries holdover on. Raises ValueError for a time that is no number.
        """
        if not math.isfinite(wall):
            raise ValueError("a second opinion is a finite number of Unix seconds")
        mono, system = self._mono(), self._wall()
        self._judge(mono, system)
        steady = self._steady()
        lead = wall - max(steady + self._line, self._floor)
        self._far = False
        if self._kernel and abs(wall - system) <= AGREE:
            self._disputed = self._drifting = self._anchored = False  # confirmed: any step forward is believed
            self._stepped = 0.0
        elif self._kernel:
            if not self._disputed:
                self._say(Notice.CLOCK_DRIFT, f"second source differs by {wall - system:+.0f} s")
            self._disputed = True
            self._lead(wall, steady)
        elif lead >= -HORIZON and (not self._anchored or lead <= SYNCED_STEPS):
            if abs(lead) > STEP:
                self._say(Notice.CLOCK_STEPPED, f"second source moves the time by {lead:+.0f} s")
            self._disputed = False
            self._vouched = self._holdable = self._anchored = True
            self._last_sync = wall
            self._line = self._base = wall - steady
        else:
            if not self._disputed:
                self._say(Notice.CLOCK_DRIFT, f"second source differs by {lead:+.0f} s")
            self._disputed = True
            self._far = lead > HORIZON
        self._judge(mono, system)

    def _judge(self, mono: float, system: float) -> None:
        """Decide anew which clock to follow, and the state. Cheap, but not for every call."""
        steady = self._steady()
        jump = system - mono - self._offset
        self._offset = system - mono
        self._next = mono + POLL
        self._kernel = self._ask()
        stepped = not -STEP < jump < STEP
        if stepped:
            self._say(Notice.CLOCK_STEPPED, f"system clock stepped by {jump:+.0f} s")
            self._vouched = False
        self._follow = self._kernel and not self._disputed and self._believable(steady, system)
        if self._follow:
            self._line = self._base = system - steady
            self._last_sync = system
            self._holdable = self._anchored = True
            self._far = self._vouched = False
            self._enter(ClockState.SYNCED)
            return
        self._line = max(self._line, self._floor - steady)
        if not (self._disputed or self._drifting or self._vouched):
            self._far = False
            self._lead(system, steady)
        held = self._last_sync is not None and steady + self._line - self._last_sync <= HOLDOVER
        self._enter(ClockState.HOLDOVER if self._holdable and held and not self._far else ClockState.UNKNOWN)

    def _believable(self, steady: float, system: float) -> bool:
        """Whether the system clock of a synced kernel fits what is known: the floor, steps so far, the drift bound."""
        if system < self._floor - HORIZON:
            return False
        if not self._anchored:
            self._reference = (steady, system - steady)
            return True
        since, offset = self._reference
        lead = system - steady - self._line
        if abs(lead) > STEP and not self._drifting:
            if self._stepped + abs(lead) > SYNCED_STEPS:
                return False
            self._stepped += abs(lead)
            offset += lead
            self._reference = (since, offset)
        pulled = system - steady - offset
        drifting = abs(pulled) > STEP + DRIFT * (steady - since)
        if drifting:
            self._line = max(self._line, offset)  # pulled back: what was not pulled is later
        if drifting and not self._drifting:
            self._say(Notice.CLOCK_DRIFT, f"system clock was pulled by {pulled:+.0f} s")
        self._drifting = drifting
        return not drifting

    def _lead(self, wall: float, steady: float) -> None:
        """A source that is not trusted says `wall`: later within the horizon is taken over, beyond it raises doubt."""
        if wall - steady > self._base + HORIZON:
            self._far = True
        else:
            self._line = max(self._line, wall - steady)

    def _enter(self, state: ClockState) -> None:
        if state is not self._state and state is ClockState.UNKNOWN:
            self._say(Notice.CLOCK_UNKNOWN, "no trusted time source: timed passes are refused")
        self._state = state

    def _say(self, notice: Notice, detail: str) -> None:
        self._notices.append((notice, detail))
