"""From what a terminal said to a `Reading`: the digest, how old it is, and what its clock is worth. No I/O."""

import math
from typing import Final
from zoneinfo import ZoneInfo

from lintel.edge.drivers.base import Code, Context, qr_code
from lintel.edge.drivers.mqtt_devices import Folder, Terminal
from lintel.edge.drivers.mqtt_lag import RIGHT_S
from lintel.edge.model import ClockState, Instant, Method, Notice, Reading, Reason
from lintel.edge.profiles.mqtt_read import Seen
from lintel.edge.profiles.mqtt_spec import PRESENTATIONS

DRIFT_S: Final = 5.0
"""A device clock that is further off raises `device_clock_off` (abuse case B15)."""

DAY_S: Final = 86_400.0
RETRY_S: Final = 600.0
"""How often a device's clock is set; and while it stays off all the same (s)."""

HELD_S: Final = 10.0
"""How late a terminal may still call a record live (`Sendintime`, mqtt/face v1.25): no drift of its clock."""

NOBODY: Final = bytes(16)
"""The digest of a face that only the terminal knows, or a stranger's: on no allowlist, so `unknown_credential`."""

_WRAP = 2**32
_DIGITS = 10


class Reader:
    """Makes readings for the devices of one line."""

    def __init__(self, context: Context, facts: Folder) -> None:
        self._context, self._facts = context, facts
        self.zone = ZoneInfo(context.timezone)

    def reading(self, terminal: Terminal, seen: Seen, floor: float, late: float, *, proof: bool = True) -> Reading:
        """The reading of a presentation.

        `floor`: when (monotonic s) the newest barrier that is back was published. Within `late` of it: just arrived.
        `proof`: whether the device's own time may show that backlog is young.
        """
        now = self._context.clock.now()
        message = seen.message
        code = self._identified(seen)
        device = terminal.device
        return Reading(
            id=self._context.new_id(),
            door=device.door,
            device=device.id,
            method=code.method,
            digest=code.digest,
            at=now.wall,
            age=_age(terminal, seen, now, now.mono - floor, late, proof=proof),
            mono=now.mono,
            direction=device.direction,
            record=seen.record and f"{seen.record}-{message.name}",  # strangers are numbered apart from records
            token=code.token,
            score=seen.score,
            liveness=seen.liveness,
            device_time=seen.time,
            fault=code.fault,
            detail=seen.detail or code.detail,
        )

    def watch_clock(self, terminal: Terminal, seen: Seen, now: Instant) -> None:
        """Learn how a device's clock runs, and report one that is more than 5 s off, once per change.

        Only for what has just arrived.
        """
        presented = seen.message.kind in PRESENTATIONS
        if seen.time is None or not seen.live:
            return
        if not _history(seen, now) and not (presented and terminal.lag.flushing(now.mono)):
            terminal.lag.learn(seen.time, now)
        if now.state is ClockState.UNKNOWN:
            return
        ahead = seen.time - now.wall
        held = HELD_S if presented else 0.0
        off = not -DRIFT_S - held <= ahead <= DRIFT_S
        if off and not terminal.clock_off:
            self._facts.tell(Notice.DEVICE_CLOCK_OFF, terminal.device.id, f"{ahead:+.0f} s", now.mono)
        terminal.clock_off = off

    def clock_due(self, terminal: Terminal, now: Instant) -> bool:
        """Whether to set a device's clock now: when it came on line, daily, and when it is off. Asked, it is noted.

        Never while our own clock is unknown: the device would turn live records into history.
        """
        wait = RETRY_S if terminal.clock_off else DAY_S
        due = terminal.spec.set_clock is not None and now.state is not ClockState.UNKNOWN
        due = due and now.mono - terminal.clock_set >= wait
        if due:
            terminal.clock_set = now.mono
        return due

    def watch_numbers(self, terminal: Terminal, seen: Seen, now: Instant) -> None:
        """Report gaps and resets of a device's record numbers (abuse case B14). Replays of older ones say nothing."""
        text = str(seen.raw_record)
        if not seen.message.numbered or not text.isdecimal() or len(text) > _DIGITS:
            return
        number, time = int(text), seen.time or 0.0
        last, last_time = terminal.numbers.get(seen.message.name, (number - 1, 0.0))
        step = (number - last) % _WRAP
        if step >= _WRAP // 2:
            if time <= last_time:
                return
            terminal.wiped += 1
            self._facts.tell(Notice.SEQUENCE_RESET, terminal.device.id, f"{last} to {number}", now.mono)
        elif step > 1:
            self._facts.tell(Notice.SEQUENCE_GAP, terminal.device.id, f"{last} to {number}", now.mono)
        if step:
            terminal.numbers[seen.message.name] = (number, time)

    def _identified(self, seen: Seen) -> Code:
        value, method = seen.credential, Method(seen.message.kind)
        if seen.malformed:
            return Code(method, b"", fault=Reason.BAD_FORMAT)
        if method is Method.QR:
            return qr_code(self._context.digest, value)
        if not value:
            return Code(method, NOBODY)
        try:
            return Code(method, self._context.digest(method, value))
        except ValueError:
            return Code(method, b"", fault=Reason.BAD_FORMAT)


def _behind(seen: Seen, now: Instant) -> float | None:
    """How far the device's time is behind ours (s); None where that says nothing."""
    return None if seen.time is None or now.state is ClockState.UNKNOWN else now.wall - seen.time


def _history(seen: Seen, now: Instant) -> bool:
    """Whether the message is none of a live event by what its profile says of one."""
    behind, tolerance = _behind(seen, now), seen.message.clock_tolerance_s
    return not seen.live or (behind is not None and tolerance is not None and abs(behind) >= tolerance)


def _age(terminal: Terminal, seen: Seen, now: Instant, since: float, late: float, *, proof: bool) -> float:
    """Seconds since the presentation; infinite for history and for backlog of unknown age."""
    if _history(seen, now):
        return math.inf
    if since <= late:  # the broker did not hold it back, the device may have
        return terminal.lag.age(seen.time, now)
    behind = _behind(seen, now)
    if proof and behind is not None and abs(behind) < RIGHT_S:
        return max(0.0, behind)
    return since
