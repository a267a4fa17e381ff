"""Weekly schedules: is this moment inside the hours of this week day, or of a public holiday? Pure.

The rules are those of the clock on the wall at the site, in the embedded tz database. A range is [from, to). It belongs
to the day on which it starts: "fri: 22:00-02:00" lets in on Saturday at 01:00, also where Saturday is a holiday. When
daylight saving begins, the hour that the wall clock skips never comes, so a range inside it is empty that day; when it
ends, the hour that comes twice is inside the range both times. A day without ranges is closed.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from math import floor
from zoneinfo import ZoneInfo

Range = tuple[int, int]
"""Minutes of the day, [start, end): start below 1440, end above start; above 1440 it runs into the next day."""

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = 1440
_END_OF_TIME = 4_102_444_800
_MOST_RANGES = 24


@dataclass(frozen=True, slots=True)
class Schedule:
    """Hours per week day, Monday first. `holiday` replaces them on holidays; None: a holiday is like any other day."""

    name: str
    weekly: tuple[tuple[Range, ...], ...]
    holiday: tuple[Range, ...] | None = None


def parse_schedule(name: str, document: Mapping[str, object]) -> Schedule:
    """Schedule from a document such as {"mon-fri": ["08:00-12:00", "13:00-18:00"], "sat,sun": [], "holiday": []}.

    Keys are days, spans of days ("fri-mon" wraps around), lists of them with commas, or "holiday"; each day at most
    once. A range that ends before it starts crosses midnight; 24:00 is allowed as an end. Raises ValueError that names
    the wrong place.
    """
    weekly: list[tuple[Range, ...] | None] = [None] * 7
    holiday: tuple[Range, ...] | None = None
    for key, value in document.items():
        where = f"schedule {name}: {key}"
        ranges = _ranges(where, value)
        if key == "holiday":
            holiday = ranges
            continue
        for day in _days(where, key):
            if weekly[day] is not None:
                raise ValueError(f"{where}: {_DAYS[day]} is given twice")
            weekly[day] = ranges
    return Schedule(name, tuple(day or () for day in weekly), holiday)


def dump_schedule(schedule: Schedule) -> dict[str, list[str]]:
    """The document of a schedule, which `parse_schedule` reads back. Equal neighbouring days share a key."""
    document: dict[str, list[str]] = {}
    day = 0
    while day < 7:
        last = day
        while last < 6 and schedule.weekly[last + 1] == schedule.weekly[day]:
            last += 1
        if schedule.weekly[day]:
            key = _DAYS[day] if day == last else f"{_DAYS[day]}-{_DAYS[last]}"
            document[key] = [_text(r) for r in schedule.weekly[day]]
        day = last + 1
    if schedule.holiday is not None:
        document["holiday"] = [_text(r) for r in schedule.holiday]
    return document


def allows(schedule: Schedule, wall: float, zone: ZoneInfo, holidays: Collection[date]) -> bool:
    """Whether the schedule is open at `wall` (Unix seconds). False outside the years 1970 to 2099; never raises."""
    if not 0 <= wall < _END_OF_TIME:
        return False
    local = datetime.fromtimestamp(floor(wall), zone)
    today, minute = local.date(), local.hour * 60 + local.minute
    return any(start <= minute < end for start, end in _of(schedule, today, holidays)) or any(
        minute + _DAY < end for _, end in _of(schedule, today - timedelta(days=1), holidays)
    )


@cache
def zone(name: str) -> ZoneInfo:
    """Time zone of the embedded tz database, never the system's. Raises ValueError with the nearest names."""
    package = files("tzdata")
    known = package.joinpath("zones").read_text("ascii").split()
    if name not in known:
        near = get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"; did you mean {', '.join(near)}?" if near else "; write it like Asia/Shanghai or Europe/Berlin"
        raise ValueError(f"unknown time zone {name!r}{hint}")
    with package.joinpath("zoneinfo", *name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


def _of(schedule: Schedule, day: date, holidays: Collection[date]) -> Sequence[Range]:
    if schedule.holiday is not None and day in holidays:
        return schedule.holiday
    return schedule.weekly[day.weekday()]


def _days(where: str, key: str) -> list[int]:
    days: list[int] = []
    for part in key.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        for word in (first, last) if dash else (first,):
            if word not in _DAYS:
                raise ValueError(f"{where}: {word!r} is no day; days are {', '.join(_DAYS)} and holiday")
        start = _DAYS.index(first)
        count = (_DAYS.index(last) - start) % 7 if dash else 0
        days += [(start + n) % 7 for n in range(count + 1)]
    return days


def _ranges(where: str, value: object) -> tuple[Range, ...]:
    if not isinstance(value, list | tuple) or len(value) > _MOST_RANGES:
        raise ValueError(f'{where}: expected a list of at most {_MOST_RANGES} ranges such as ["08:00-18:00"]')
    ranges = []
    for n, item in enumerate(value):
        place = f"{where}[{n}]"
        if not isinstance(item, str):
            raise ValueError(f'{place}: expected a range such as "08:00-18:00"')  # noqa: TRY004  a mistake in a file
        first, _, last = item.partition("-")
        start, end = _minute(place, first), _minute(place, last)
        if start in (end, _DAY):
            raise ValueError(f"{place}: {item!r} is empty; the whole day is 00:00-24:00")
        ranges.append((start, end if end > start else end + _DAY))
    return tuple(ranges)


def _minute(place: str, text: str) -> int:
    """Minutes of "HH:MM"; ASCII digits only, since other scripts have digits too."""
    hour, minute = text[:2], text[3:]
    if len(text) == 5 and text[2] == ":" and text.isascii() and hour.isdigit() and minute.isdigit():
        total = int(hour) * 60 + int(minute)
        if int(minute) < 60 and total <= _DAY:
            return total
    raise ValueError(f"{place}: {text!r} is no time of day; expected 00:00 to 24:00")


def _text(span: Range) -> str:
    start, end = span
    end = end if end <= _DAY else end - _DAY
    return f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"
