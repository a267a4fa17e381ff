"""Schedules: forms, boundaries, daylight saving, and a slow oracle that walks over the ranges minute by minute."""

import math
import zoneinfo
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lintel.edge.schedules import Schedule, allows, dump_schedule, parse_schedule, zone

BERLIN, SHANGHAI = zone("Europe/Berlin"), zone("Asia/Shanghai")
OFFICE = parse_schedule(
    "office", {"mon-fri": ["08:00-12:00", "13:00-18:00"], "sat": ["22:00-02:00"], "sun": ["20:00-24:00"], "holiday": []}
)


def at(text: str, tz: ZoneInfo = SHANGHAI, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=tz, fold=fold).timestamp()


@pytest.mark.parametrize(
    ("moment", "open_"),
    [
        ("2026-11-23 07:59:59", False),  # a Monday
        ("2026-11-23 08:00:00", True),
        ("2026-11-23 11:59:59.999999", True),
        ("2026-11-23 12:00:00", False),
        ("2026-11-23 12:59:59.999999", False),
        ("2026-11-23 13:00:00", True),
        ("2026-11-23 18:00:00", False),
        ("2026-11-28 02:00:00", False),  # Saturday: Friday has no night
        ("2026-11-28 21:59:59", False),
        ("2026-11-28 22:00:00", True),
        ("2026-11-29 00:00:00", True),  # Sunday, still Saturday's range
        ("2026-11-29 01:59:59", True),
        ("2026-11-29 02:00:00", False),
        ("2026-11-29 19:59:59", False),
        ("2026-11-29 23:59:59", True),
        ("2026-11-30 00:00:00", False),  # 24:00 is the end
        ("2028-02-29 08:00:00", True),  # a Tuesday
        ("2026-12-31 17:59:59", True),
        ("2027-01-01 13:00:00", True),
        ("2038-01-19 11:14:08", True),
    ],
)
def test_boundaries(moment, open_):
    assert allows(OFFICE, at(moment), SHANGHAI, ()) is open_


def test_the_last_instant_before_an_end_is_not_rounded_up():
    end = at("2026-11-23 12:00:00")
    assert allows(OFFICE, math.nextafter(end, 0), SHANGHAI, ())
    start = at("2026-11-23 13:00:00")
    assert not allows(OFFICE, math.nextafter(start, 0), SHANGHAI, ())


def test_a_holiday_closes_its_own_day_and_not_the_night_before():
    schedule = parse_schedule("n", {"mon-sun": ["08:00-18:00", "22:00-02:00"], "holiday": ["10:00-11:00"]})
    holiday = [date(2026, 10, 1)]
    for moment, open_ in [
        ("2026-10-01 01:30", True),  # belongs to 30 September
        ("2026-10-01 09:00", False),
        ("2026-10-01 10:00", True),
        ("2026-10-01 11:00", False),
        ("2026-10-01 23:00", False),
        ("2026-10-02 01:30", False),  # would belong to the holiday
        ("2026-10-02 09:00", True),
    ]:
        assert allows(schedule, at(moment), SHANGHAI, holiday) is open_, moment
    assert allows(Schedule("n", schedule.weekly), at("2026-10-01 09:00"), SHANGHAI, holiday)


def test_daylight_saving_begins():
    schedule = parse_schedule("n", {"sun": ["02:15-02:45", "03:00-03:30"], "sat": ["23:00-04:00"]})
    inside = at("2026-03-29 01:59:59", BERLIN) + 1  # the clock on the wall jumps from 02:00 to 03:00
    assert datetime.fromtimestamp(inside, BERLIN).hour == 3
    only_sunday = parse_schedule("n", {"sun": ["02:15-02:45"]})
    day = at("2026-03-29 00:00", BERLIN)
    assert not any(allows(only_sunday, day + 60 * n, BERLIN, ()) for n in range(24 * 60))
    assert sum(allows(schedule, day + 60 * n, BERLIN, ()) for n in range(24 * 60)) == 3 * 60  # 00, 01 and 03 o'clock


def test_daylight_saving_ends():
    schedule = parse_schedule("n", {"sun": ["02:15-02:45"]})
    for fold in (0, 1):
        assert allows(schedule, at("2026-10-25 02:15", BERLIN, fold), BERLIN, ())
        assert not allows(schedule, at("2026-10-25 02:45", BERLIN, fold), BERLIN, ())
    day = at("2026-10-25 00:00", BERLIN)
    assert sum(allows(schedule, day + 60 * n, BERLIN, ()) for n in range(25 * 60)) == 60


def test_the_control_utc_hours_are_wrong_at_the_site():
    assert not allows(OFFICE, at("2026-11-23 08:00:00"), zone("UTC"), ())


MINUTES = st.integers(0, 1440)
RANGES = st.lists(
    st.tuples(MINUTES, MINUTES)
    .filter(lambda r: r[0] != r[1] and r[0] != 1440)
    .map(lambda r: f"{r[0] // 60:02}:{r[0] % 60:02}-{r[1] // 60:02}:{r[1] % 60:02}"),
    max_size=4,
)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun", "holiday")
DOCUMENTS = st.dictionaries(st.sampled_from(DAYS), RANGES)
ZONES = [
    zone(n)
    for n in (
        "Asia/Shanghai",
        "Europe/Berlin",
        "America/St_Johns",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "Asia/Kathmandu",
        "Africa/Monrovia",
    )
]


def oracle(document: dict[str, list[str]], wall: float, tz: ZoneInfo, holidays: set[date]) -> bool:
    """Walks back from the local minute to the start of each range, one minute of the wall clock at a time."""
    offset = datetime.fromtimestamp(int(wall), UTC).astimezone(tz).utcoffset()
    local = (datetime.fromtimestamp(int(wall), UTC) + offset).replace(tzinfo=None, second=0)
    minute = local
    for _ in range(1440):
        rows = document.get(DAYS[minute.weekday()], [])
        if "holiday" in document and minute.date() in holidays:
            rows = document["holiday"]
        for row in rows:
            first, last = row.split("-")
            if first == minute.strftime("%H:%M"):
                hours, minutes = map(int, last.split(":"))
                end = minute.replace(hour=0, minute=0) + timedelta(hours=hours, minutes=minutes)
                if last <= first:
                    end += timedelta(days=1)
                if local < end:
                    return True
        minute -= timedelta(minutes=1)
    return False


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS, st.floats(0, 4_102_444_799), st.sampled_from(ZONES), st.booleans())
def test_a_slow_oracle_agrees(document, wall, tz, holiday):
    today = datetime.fromtimestamp(int(wall), tz).date()
    holidays = {today - timedelta(days=1)} if holiday else {today}
    assert allows(parse_schedule("s", document), wall, tz, holidays) is oracle(document, wall, tz, holidays)


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS, st.sampled_from(ZONES), st.integers(1970, 2099))
def test_the_oracle_agrees_around_each_change_of_the_offset(document, tz, year):
    schedule = parse_schedule("s", document)
    start = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    last = None
    for hour in range(0, 366 * 24, 6):
        offset = datetime.fromtimestamp(start + hour * 3600, tz).utcoffset()
        if last is not None and offset != last:
            for minute in (-360, -65, -1, 0, 1, 65, 185):
                wall = start + hour * 3600 + minute * 60
                if wall >= 0:
                    assert allows(schedule, wall, tz, ()) is oracle(document, wall, tz, set())
        last = offset


@settings(max_examples=300, deadline=None)
@given(st.floats(), st.sampled_from(ZONES))
def test_no_moment_raises(wall, tz):
    assert allows(OFFICE, wall, tz, ()) in (True, False)


def test_outside_the_years_it_is_closed():
    always = parse_schedule("a", {"mon-sun": ["00:00-24:00"]})
    assert allows(always, 0.0, SHANGHAI, ()) and allows(always, 4_102_444_799.9, zone("Pacific/Kiritimati"), ())
    assert not allows(always, -0.1, SHANGHAI, ()) and not allows(always, 4_102_444_800.0, SHANGHAI, ())


@settings(max_examples=80, deadline=None)
@given(DOCUMENTS)
def test_dump_and_parse_again(document):
    schedule = parse_schedule("s", document)
    assert parse_schedule("s", dump_schedule(schedule)) == schedule


def test_the_forms_of_keys():
    assert dump_schedule(OFFICE) == {
        "mon-fri": ["08:00-12:00", "13:00-18:00"],
        "sat": ["22:00-02:00"],
        "sun": ["20:00-24:00"],
        "holiday": [],
    }
    one = ((60, 120),)
    wrapped = parse_schedule("w", {"fri-mon": ["01:00-02:00"]})
    assert [bool(day) for day in wrapped.weekly] == [True, False, False, False, True, True, True]
    assert parse_schedule("w", {"sat, sun": ["01:00-02:00"]}).weekly == ((),) * 5 + (one, one)
    assert parse_schedule("w", {}).weekly == ((),) * 7
    assert parse_schedule("w", {"mon": ["22:00-02:00"]}).weekly[0] == ((1320, 1560),)
    assert parse_schedule("w", {"mon": ["22:00-00:00"]}).weekly[0] == ((1320, 1440),)


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({"mon": ["08:00-25:00"]}, r"night: mon\[0\]: '25:00'"),
        ({"mon": ["08:00-24:01"]}, r"mon\[0\]: '24:01'"),
        ({"mon": ["08:60-10:00"]}, r"mon\[0\]: '08:60'"),
        ({"mon": ["8:00-10:00"]}, r"mon\[0\]: '8:00'"),
        ({"mon": ["08:00-10:00", "08:00"]}, r"mon\[1\]: ''"),
        ({"mon": ["08.00-10:00"]}, r"'08.00'"),
        ({"mon": ["٠٨:00-10:00"]}, "no time of day"),
        ({"mon": ["0²:00-10:00"]}, "no time of day"),
        ({"mon": ["+8:00-10:00"]}, "no time of day"),
        ({"mon": ["08:00-08:00"]}, r"mon\[0\]: '08:00-08:00' is empty"),
        ({"mon": ["24:00-08:00"]}, "is empty"),
        ({"mon": "08:00-10:00"}, "mon: expected a list"),
        ({"mon": None}, "mon: expected a list"),
        ({"mon": ["08:00-10:00"] * 25}, "at most 24"),
        ({"mon": [8]}, r"mon\[0\]: expected a range"),
        ({"day": []}, "day: 'day' is no day"),
        ({"mon-": []}, "'' is no day"),
        ({"mon-fri": [], "wed": []}, "wed: wed is given twice"),
        ({"mon-tue,tue": []}, "tue is given twice"),
    ],
)
def test_mistakes_name_their_place(document, place):
    with pytest.raises(ValueError, match=place):
        parse_schedule("night", document)


def test_zones_come_from_the_embedded_database(tmp_path):
    (tmp_path / "Asia").mkdir()
    (tmp_path / "Asia" / "Shanghai").write_bytes(files("tzdata").joinpath("zoneinfo", "UTC").read_bytes())
    zone.cache_clear()
    zoneinfo.reset_tzpath([tmp_path])
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    try:
        assert moment.astimezone(zone("Asia/Shanghai")).hour == 8
        assert moment.astimezone(ZoneInfo.no_cache("Asia/Shanghai")).hour == 0, "control: the system's file is wrong"
    finally:
        zoneinfo.reset_tzpath()
    assert zone("Asia/Shanghai") is zone("Asia/Shanghai")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Asia/Shanhai", "Asia/Shanghai"),
        ("", "Europe/Berlin"),
        ("../../etc/passwd", "unknown"),
        ("北京", "write it like"),
    ],
)
def test_unknown_zones_get_a_hint(name, hint):
    with pytest.raises(ValueError, match=hint):
        zone(name)
