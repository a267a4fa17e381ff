"""How long a device held a presentation back, with clocks that are right, wrong, set and jumping."""

import math

import pytest

from lintel.edge.drivers.mqtt_lag import AGREES_S, ALIKE_S, APART_S, FLUSH_S, RIGHT_S, SET_S, Lag
from lintel.edge.model import ClockState, Instant

WALL = 1_767_225_600.0
HOUR = 3600.0


def at(mono, state=ClockState.SYNCED, step=0.0):
    return Instant(WALL + mono + step, mono, state)


def told(lag, mono, late=0.0, off=0.0, **clock):
    """The age of a live message that the device made `late` s before and stamped with a clock that is `off`."""
    now, time = at(mono, **clock), WALL + mono - late + off
    if not lag.flushing(mono):
        lag.learn(time, now)
    return lag.age(time, now)


@pytest.mark.parametrize("off", [0.0, -1.5, HOUR, -HOUR, -WALL, 2_300_000_000.0])
def test_what_was_held_back_is_as_old_as_it_is_late_whatever_the_clock_says(off):
    lag = Lag()
    assert told(lag, 100, off=off) <= 1.5
    for late in (0.0, 1.0, 9.0, 12.5, 600.0, SET_S - 2):
        assert told(lag, 200, late=late, off=off) == pytest.approx(late, abs=1.6)
    assert told(lag, 201, off=off) <= 1.5, "the next one is on time"


def test_a_clock_of_which_nothing_is_known_is_right_when_it_reads_so():
    assert told(Lag(), 1, late=12.5) == 12.5
    assert told(Lag(), 1, late=RIGHT_S - 0.1) == pytest.approx(RIGHT_S - 0.1)
    assert told(Lag(), 1, late=RIGHT_S) == 0.0, "off by so much it proves nothing"
    assert told(Lag(), 1, late=-0.1) == 0.0
    assert told(Lag(), 1, late=12.5, state=ClockState.UNKNOWN) == 0.0, "nor does it while our own clock is unknown"


def test_what_comes_just_after_the_device_came_on_line_is_old_unless_its_time_proves_it_young():
    lag = Lag()
    lag.online(100)
    for late in (0.0, 3.0, 12.5, HOUR):
        assert told(lag, 101, late=late) == late
    assert told(lag, 101, late=-RIGHT_S) == 0.0
    assert told(lag, 101, late=-RIGHT_S - 0.1) == math.inf, "an hour ahead: who knows"
    assert lag.age(None, at(100 + FLUSH_S - 0.01)) == math.inf
    assert lag.age(None, at(100 + FLUSH_S)) == 0.0
    assert told(lag, 101, state=ClockState.UNKNOWN) == math.inf
    assert told(lag, 100 + FLUSH_S, late=-HOUR) == 0.0


def test_a_wrong_clock_that_is_known_proves_what_it_says_after_coming_on_line_too():
    lag = Lag()
    told(lag, 100, off=-HOUR)
    lag.online(200)
    assert told(lag, 201, off=-HOUR) == 0.0
    assert told(lag, 201, late=12.5, off=-HOUR) == 12.5
    assert told(lag, 300, late=12.5, off=-HOUR) == 12.5, "and later: what came while it flushed taught nothing"


def test_a_clock_that_was_put_back_is_believed_at_the_second_message_that_is_as_late():
    lag = Lag()
    told(lag, 100)
    assert told(lag, 200, off=-60) == 60
    assert told(lag, 200 + APART_S - 0.1, off=-60) == pytest.approx(60), "a burst is held back together"
    assert told(lag, 200 + APART_S, off=-60 - ALIKE_S) == 0.0
    assert told(lag, 300, off=-60) == 0.0


@pytest.mark.parametrize("between", ["one on time", "the device came on line", "another lateness"])
def test_two_messages_late_alike_are_no_slower_clock_when_something_was_between(between):
    lag = Lag()
    told(lag, 100, off=HOUR)
    assert told(lag, 200, late=12.5, off=HOUR) == 12.5
    if between == "one on time":
        assert told(lag, 210, off=HOUR) == 0.0
    elif between == "another lateness":
        assert told(lag, 210, late=30, off=HOUR) == 30
    else:
        lag.online(210)
    assert told(lag, 220, late=12.5, off=HOUR) == 12.5


@pytest.mark.parametrize("came", [False, True], ids=["on line all the time", "just come on line"])
def test_a_clock_that_was_set_right_is_believed_at_once(came):
    lag = Lag()
    told(lag, 100, off=HOUR)
    if came:
        lag.online(199)
    assert told(lag, 200) == 0.0
    assert told(lag, 201, late=AGREES_S - 0.1) == pytest.approx(AGREES_S - 0.1)
    if not came:
        assert told(lag, 201, late=12.5) == 12.5
    assert told(lag, 206) == 0.0
    assert told(lag, 207, late=12.5) == 12.5


def test_a_jump_of_days_is_no_age():
    lag = Lag()
    told(lag, 100)
    assert told(lag, 200, off=-WALL) == 0.0
    assert told(lag, 201, off=-WALL, late=12.5) == 12.5
    assert told(lag, 300) == 0.0


def test_a_step_of_our_own_clock_is_none_of_the_device():
    lag = Lag()
    told(lag, 100)
    now, time = at(200, step=-HOUR), WALL + 200 - 12.5
    lag.learn(time, now)
    assert lag.age(time, now) == 12.5


def test_a_slow_drift_is_followed_and_whole_seconds_make_nobody_old():
    lag = Lag()
    for n in range(1000):
        now = at(100 + 60.0 * n + n % 7 / 7)
        time = float(int(WALL + (now.mono - 100) * 0.9999 + 100))  # 9 s a day, told in whole seconds
        lag.learn(time, now)
        assert lag.age(time, now) <= 3.0
