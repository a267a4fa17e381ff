"""The clock scenarios: a simulated world with a true time, a box with a wrong clock, and 10,000 passes."""

import random
import timeit
from pathlib import Path

import pytest
import time_machine
from hypothesis import given, settings
from hypothesis import strategies as st

from lintel.edge import clock as clocks
from lintel.edge.clock import DRIFT, HOLDOVER, HORIZON, STEP, Clock, Mark, always_synced, kernel_synced
from lintel.edge.model import ClockState, Notice

NOW = 1_790_000_000.0
DAY = 86_400.0
YEAR = 365 * DAY
SYNCED, KEPT, UNKNOWN = ClockState.SYNCED, ClockState.HOLDOVER, ClockState.UNKNOWN


def near(wall: float) -> object:
    return pytest.approx(wall, rel=0, abs=0.01)


class World:
    """True time, and a box whose system clock is `error` seconds off."""

    def __init__(self, truth: float = NOW, error: float = 0.0, synced: bool = True) -> None:
        self.truth, self.error, self.synced = truth, error, synced
        self.mono, self.boot = 100.0, "boot-1"

    def wall(self) -> float:
        return self.truth + self.error

    def clock(self, **more) -> Clock:
        return Clock(self.wall, lambda: self.mono, synced=lambda: self.synced, boot_id=lambda: self.boot, **more)

    def run(self, seconds: float, clock: Clock | None = None, every: float = 600.0) -> None:
        """Let time pass; the box looks at its clock now and then."""
        every = every if clock else seconds
        while seconds > 0:
            step = min(every, seconds)
            self.truth += step
            self.mono += step
            seconds -= step
            if clock:
                clock.now()

    def reboot(self, off: float = 0.0) -> None:
        self.truth += off
        self.mono, self.boot = 3.0, self.boot + "x"


def expired_granted(world: World, wall: float, state: ClockState, seed: int = 1) -> int:
    """How many of 10,000 random passes that are over in truth would be let in."""
    rng = random.Random(seed)
    wrong = 0
    for n in range(10_000):
        end = world.truth - rng.choice((0.0, 1.0, rng.uniform(0, 600), rng.uniform(0, 2 * DAY), rng.uniform(0, YEAR)))
        start = 0.0 if n % 2 else end - rng.uniform(60, 45 * DAY)
        wrong += state is not UNKNOWN and start <= wall < end
    return wrong


def bar(world: World, clock: Clock) -> None:
    at = clock.now()
    assert expired_granted(world, at.wall, at.state) == 0


def notices(clock: Clock) -> list[Notice]:
    return [n for n, _ in clock.take_notices()]


@pytest.mark.parametrize("back", [DAY, 10 * YEAR])
@pytest.mark.parametrize("claims_sync", [True, False])
def test_1_2_back_holds_the_floor(back, claims_sync):
    world = World()
    clock = world.clock()
    world.run(3600, clock)
    world.error, world.synced = -back, claims_sync
    at = clock.now()
    assert at.wall == world.truth
    assert at.state is KEPT
    assert notices(clock) == [Notice.CLOCK_STEPPED]
    world.run(2 * DAY, clock)
    assert clock.now().wall == near(world.truth)
    bar(world, clock)
    assert notices(clock) == []


@pytest.mark.parametrize("back", [DAY, 10 * YEAR])
def test_control_the_system_clock_read_directly_lets_expired_passes_in(back):
    world = World(error=-back)
    assert expired_granted(world, world.wall(), SYNCED) > 1000


@pytest.mark.parametrize("claims_sync", [True, False])
def test_3_forward_ten_years_is_not_used_without_a_second_source(claims_sync):
    world = World()
    clock = world.clock()
    world.run(3600, clock)
    clock.take_notices()
    world.error, world.synced = 10 * YEAR, claims_sync
    at = clock.now()
    assert at.state is UNKNOWN
    assert at.wall <= world.truth + HORIZON
    assert notices(clock) == [Notice.CLOCK_STEPPED, Notice.CLOCK_UNKNOWN]
    world.run(30 * DAY, clock)
    assert clock.mark().wall <= world.truth + HORIZON
    bar(world, clock)
    world.error, world.synced = 0.0, True
    world.run(10, clock, every=2.0)
    assert clock.now().state is SYNCED
    assert clock.now().wall == near(world.truth)


def test_3_forward_ten_years_is_believed_when_two_sources_agree():
    world = World(error=-10 * YEAR)
    clock = world.clock()
    world.run(60, clock)
    world.error = 0.0
    assert clock.now().state is UNKNOWN
    clock.second_opinion(world.truth + 1)
    assert clock.now().state is SYNCED
    assert clock.now().wall == world.truth


@pytest.mark.parametrize("step", [1800.0, -1800.0, 6.0, -6.0])
def test_4_a_synced_step_is_accepted_with_an_alarm(step):
    world = World(error=-step)  # the box was wrong before; time sync puts it right
    clock = world.clock()
    world.run(60, clock)
    before = clock.now().wall
    world.error = 0.0
    at = clock.now()
    assert at.state is SYNCED
    assert at.wall == max(before, world.truth)
    assert notices(clock) == [Notice.CLOCK_STEPPED]
    bar(world, clock)
    world.run(1800, clock)
    assert clock.now().wall == world.truth
    assert notices(clock) == []


def test_4_a_step_back_and_then_no_source_goes_on_from_the_floor():
    world = World(error=1800.0)
    clock = world.clock()
    floor = clock.now().wall
    world.error = 0.0
    assert clock.now().wall == floor
    world.synced = False
    world.run(2, clock)
    world.run(600, clock)
    assert clock.now().wall == near(floor + 600)


def test_4_a_small_correction_is_no_alarm():
    world = World()
    clock = world.clock()
    world.error = 4.9
    assert clock.now().state is SYNCED
    world.run(10, clock)
    assert notices(clock) == []


def test_4_steps_of_a_day_in_sum_need_a_second_source():
    world = World()
    clock = world.clock()
    for _ in range(30):
        world.error += 3500.0
        world.run(2, clock, every=2.0)
    assert clock.now().state is UNKNOWN
    assert clock.mark().wall < world.truth + DAY + HORIZON
    clock.second_opinion(world.wall())
    for _ in range(20):
        world.error += 3500.0
        world.run(2, clock, every=2.0)
    assert clock.now().state is SYNCED


def test_5_boot_at_1970_without_a_chip():
    first = World()
    mark = first.clock().mark()
    world = World(synced=False, error=-NOW)
    world.reboot(off=2 * DAY)
    clock = world.clock(mark=mark)
    assert clock.now().state is UNKNOWN
    assert clock.now().wall >= mark.wall
    assert notices(clock) == [Notice.CLOCK_STEPPED, Notice.CLOCK_UNKNOWN]
    bar(world, clock)
    world.run(3 * DAY, clock)
    bar(world, clock)
    world.error, world.synced = 0.0, True
    assert clock.now().wall == world.truth
    assert clock.now().state is SYNCED


def test_5_the_very_first_start_offline_says_so_and_leaves_no_floor():
    world = World(error=20 * YEAR, synced=False)
    clock = world.clock()
    assert clock.now().state is UNKNOWN
    assert clock.now().wall == world.wall()
    assert clock.mark() == Mark(0.0, 100.0, "boot-1", None, anchored=False)
    world.error, world.synced = 0.0, True
    world.run(2, clock)
    assert clock.now() == type(clock.now())(world.truth, world.mono, SYNCED)


def test_6_boot_with_a_floor_of_yesterday_then_three_days_offline():
    world = World()
    mark = world.clock().mark()
    world.reboot(off=DAY)
    world.synced = False
    clock = world.clock(mark=mark)
    assert clock.now().state is KEPT
    world.error = -10 * YEAR  # the system clock is of no use; floor and monotonic carry on
    world.run(3 * DAY, clock)
    assert clock.now().state is KEPT
    assert clock.now().wall == near(world.truth)
    bar(world, clock)
    world.run(4 * DAY, clock)
    assert clock.now().state is UNKNOWN
    assert notices(clock) == [Notice.CLOCK_STEPPED, Notice.CLOCK_UNKNOWN]


@pytest.mark.parametrize(("off", "chip", "state"), [(DAY, True, KEPT), (DAY, False, UNKNOWN), (8 * DAY, True, UNKNOWN)])
def test_6_how_long_the_power_was_off_and_who_counted(off, chip, state):
    world = World()
    mark = world.clock().mark()
    world.reboot(off=off)
    world.synced = False
    clock = world.clock(mark=mark, chip=chip)
    assert clock.now().state is state
    bar(world, clock)


def test_6_a_restart_in_the_same_boot_does_not_open_the_door_to_a_wrong_time_server():
    world = World()
    clock = world.clock()
    world.run(60, clock)
    mark = clock.mark()
    world.error = 10 * YEAR
    assert world.clock(mark=mark).now().state is UNKNOWN
    world.reboot()
    assert world.clock(mark=mark).now().state is SYNCED, "how long the power was off is not known"


def test_6_a_restart_in_the_same_boot_goes_on_where_it_was():
    world = World()
    clock = world.clock()
    world.run(60, clock)
    world.synced, world.error = False, -YEAR
    clock.now()
    mark = clock.mark()
    world.run(2 * DAY)
    again = world.clock(mark=mark)
    assert again.now().wall == near(world.truth)
    assert again.now().state is KEPT
    world.run(6 * DAY)
    assert again.now().state is UNKNOWN
    third = world.clock(mark=again.mark())
    assert third.now().state is UNKNOWN, "a restart must not start the seven days anew"


@pytest.mark.parametrize("pull", [1.0, -1.0])
def test_7_a_slow_pull_is_bounded(pull):
    world = World()
    clock = world.clock()
    seen = []
    for _ in range(7 * 24 * 60):
        world.error += pull
        world.run(60, clock, every=60.0)
        seen += notices(clock)
        assert abs(clock.now().wall - world.truth) <= STEP + DRIFT * 600
    assert seen == [Notice.CLOCK_DRIFT]
    assert clock.now().state is KEPT
    bar(world, clock)
    world.error = 0.0
    world.run(60, clock, every=60.0)
    assert clock.now().state is SYNCED


def test_7_a_poor_crystal_is_no_pull():
    world = World()
    clock = world.clock()
    for _ in range(7 * 24):
        world.error += 100e-6 * 3600
        world.run(3600, clock, every=3600.0)
        assert clock.now().state is SYNCED
    assert notices(clock) == []


def test_7_control_without_the_bound_the_pull_moves_expiry_by_hours():
    world = World()
    world.error = -7 * 24 * 60
    assert expired_granted(world, world.wall(), SYNCED) > 100


def test_7_a_confirmed_pull_is_the_new_truth():
    world = World()
    clock = world.clock()
    for _ in range(60):
        world.error += 1
        world.run(60, clock, every=60.0)
    assert clock.now().state is KEPT
    clock.second_opinion(world.wall())
    assert clock.now().state is SYNCED
    world.error, world.synced = YEAR, False
    assert clock.now().state is UNKNOWN, "confirmed: from here on a jump is a jump again"


@pytest.mark.parametrize("gap", [600.0, -600.0])
def test_8_two_sources_ten_minutes_apart(gap):
    world = World()
    clock = world.clock()
    world.run(60, clock)
    for who_is_right in (0.0, gap):
        clock.second_opinion(world.wall() + gap)
        at = clock.now()
        assert at.state is KEPT
        assert at.wall == world.truth + max(gap, 0.0)
        right = World(truth=world.truth + who_is_right)
        assert expired_granted(right, at.wall, at.state) == 0
    assert notices(clock) == [Notice.CLOCK_DRIFT]
    world.run(8 * DAY, clock)
    assert clock.now().state is UNKNOWN
    clock.second_opinion(world.wall())
    assert clock.now().state is SYNCED


def test_8_a_second_source_far_ahead_is_doubt():
    world = World()
    clock = world.clock()
    clock.second_opinion(world.wall() + YEAR)
    assert clock.now().state is UNKNOWN
    assert clock.mark().wall <= world.truth + HORIZON
    clock.second_opinion(world.wall() - 1)
    assert clock.now().state is SYNCED


def test_8_the_second_source_alone_carries_a_box_without_time_server():
    world = World(synced=False, error=-NOW)
    clock = world.clock()
    assert clock.now().state is UNKNOWN
    clock.second_opinion(world.truth)
    assert clock.now().wall == world.truth
    assert clock.now().state is KEPT
    world.error = 3 * YEAR - NOW  # the system clock has no say now
    world.run(60, clock)
    world.error = -NOW
    world.run(60, clock)
    clock.second_opinion(world.truth + 1)
    for _ in range(20):
        world.run(DAY, clock)
        clock.second_opinion(world.truth)
    assert clock.now().state is KEPT
    assert clock.now().wall == near(world.truth + 1)
    clock.take_notices()
    clock.second_opinion(world.truth + YEAR)
    clock.second_opinion(world.truth + YEAR)
    assert clock.now().state is UNKNOWN
    clock.second_opinion(world.truth - YEAR)
    assert clock.now().state is KEPT
    assert notices(clock) == [Notice.CLOCK_DRIFT, Notice.CLOCK_UNKNOWN]
    clock.second_opinion(world.truth)
    assert clock.now().state is KEPT
    assert notices(clock) == []


def test_8_a_smaller_difference_lifts_doubt_to_holdover():
    world = World()
    clock = world.clock()
    for gap, state in ((YEAR, UNKNOWN), (600.0, KEPT), (YEAR, UNKNOWN), (-YEAR, KEPT)):
        clock.second_opinion(world.wall() + gap)
        assert clock.now().state is state


def test_8_the_second_source_alone_does_not_sleep_through_suspend():
    world = World(synced=False)
    clock = world.clock()
    clock.second_opinion(world.truth)
    assert clock.now().state is KEPT
    world.truth += 8 * 3600
    bar(world, clock)
    assert clock.now().state is UNKNOWN


def test_8_once_a_time_server_was_there_the_system_clock_counts_again():
    world = World(synced=False)
    clock = world.clock()
    clock.second_opinion(world.truth)
    world.synced = True
    world.run(4, clock)
    world.synced = False
    for _ in range(1000):
        world.error += 4.0
        world.run(2, clock)
    assert clock.now().state is UNKNOWN


def test_8_doubt_ends_when_the_system_clock_comes_back():
    world = World()
    clock = world.clock()
    world.synced = False
    for error, state in ((YEAR, UNKNOWN), (0.0, KEPT), (YEAR, UNKNOWN)):
        world.error = error
        assert clock.now().state is state
    world.error, world.synced = 0.0, True
    world.run(4, clock)
    assert clock.now().state is SYNCED
    for _ in range(20):
        world.error -= 1.0
        world.run(4, clock)
    assert clock.now().state is KEPT, "pulled, but no longer in doubt"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_8_an_opinion_is_a_number(bad):
    with pytest.raises(ValueError, match="finite"):
        World().clock().second_opinion(bad)


@pytest.mark.parametrize("at", [951_782_400.0, 1_483_228_799.0, 1_772_323_199.0, 2_147_483_646.0, 4_102_444_799.0])
def test_9_leap_days_leap_seconds_ends_of_months_and_2038(at):
    world = World(truth=at)
    clock = world.clock()
    last = clock.now().wall
    world.error = -1.0  # the kernel repeats a second
    for _ in range(4):
        world.run(0.5)
        assert clock.now().wall >= last
        last = clock.now().wall
    assert last == at + 1
    assert notices(clock) == []


def test_10_daylight_saving_does_not_exist_here():
    with time_machine.travel("2026-10-25T00:59:59+00:00", tick=False) as traveller:
        clock = Clock(mono=lambda: 5.0, synced=always_synced)
        before = clock.now().wall
        traveller.shift(2)
        assert clock.now().wall == before + 2


@pytest.mark.parametrize("synced", [True, False])
def test_11_suspend_is_a_step(synced):
    world = World()
    clock = world.clock()
    world.run(60, clock)
    world.synced = synced
    world.truth += 8 * 3600  # the monotonic clock stood still
    bar(world, clock)
    assert clock.now().state is (SYNCED if synced else UNKNOWN)
    assert notices(clock)[0] is Notice.CLOCK_STEPPED
    world.synced = True
    world.run(4, clock)
    assert clock.now() == type(clock.now())(world.truth, world.mono, SYNCED)


def test_11_control_floor_plus_monotonic_alone_sleeps_through_it():
    world = World()
    wall = world.truth
    world.truth += 8 * 3600
    assert expired_granted(world, wall, KEPT) > 100


@pytest.mark.parametrize("seed", range(20))
def test_12_a_power_cut_never_takes_the_floor_below_a_decision(seed):
    rng = random.Random(seed)
    world = World()
    clock = world.clock()
    mark, newest = clock.mark(), 0.0
    for _ in range(200):
        world.run(rng.uniform(0, 3600))
        if rng.random() < 0.1:
            world.error += rng.uniform(-1800, 1800)
        world.synced = rng.random() < 0.8
        at = clock.now()
        if at.state is not UNKNOWN:
            assert at.wall >= newest
            newest = at.wall  # a decision, committed
        if rng.random() < 0.2:
            mark = clock.mark()
        if rng.random() < 0.1:
            world.reboot(off=rng.uniform(0, 600))
            world.error = rng.choice((0.0, -NOW, -3600.0))
            clock = world.clock(mark=mark, floor=newest)


def test_12_control_the_mark_alone_is_older_than_the_last_decision():
    world = World()
    clock = world.clock()
    mark = clock.mark()
    world.run(3600, clock)
    decided = clock.now().wall
    world.reboot()
    world.error, world.synced = -NOW, False
    assert world.clock(mark=mark).now().wall < decided
    assert world.clock(mark=mark, floor=decided).now().wall >= decided


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["run", "error", "sync", "opinion", "restart", "reboot"]),
        st.one_of(st.floats(-5000, 5000), st.floats(-11 * YEAR, 11 * YEAR)),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.booleans())
def test_wall_time_never_runs_back_whatever_happens(steps, synced):
    world = World(synced=synced)
    clock = world.clock()
    floor = 0.0
    for what, amount in steps:
        if what == "run":
            world.run(abs(amount))
        elif what == "error":
            world.error = amount
        elif what == "sync":
            world.synced = amount > 0
        elif what == "opinion":
            clock.second_opinion(world.truth + amount)
        else:
            mark = clock.mark()
            if what == "reboot":
                world.reboot(abs(amount))
            clock = world.clock(mark=mark)
        at = clock.now()
        assert at.wall >= floor
        if at.state is not UNKNOWN:
            floor = at.wall
        assert clock.mark().wall >= floor


def test_notices_are_bounded():
    world = World()
    clock = world.clock()
    for n in range(1000):
        world.error = 10.0 * (n % 2)
        clock.now()
    assert len(clock.take_notices()) <= 64
    assert clock.take_notices() == []


def test_the_kernel_is_asked_rarely():
    asked = []
    world = World()
    clock = Clock(world.wall, lambda: world.mono, synced=lambda: asked.append(1) is None, boot_id=lambda: "b")
    for _ in range(1000):
        world.run(0.001)
        clock.now()
    assert len(asked) == 1
    world.run(2)
    clock.now()
    assert len(asked) == 2


def test_now_is_fast():
    clock = Clock(synced=always_synced)
    assert min(timeit.repeat(clock.now, number=20_000, repeat=5)) / 20_000 < 10e-6  # 1 µs on a quiet PC


def test_the_real_box():
    clock = Clock()
    at = clock.now()
    assert at.state in ClockState
    assert clock.now().mono >= at.mono
    assert isinstance(kernel_synced(), bool)
    assert clock.boot_id == clocks.boot_id() != ""
    assert isinstance(clocks.clock_chip(), bool)


def test_a_box_without_adjtimex_or_boot_id(monkeypatch):
    monkeypatch.setattr(clocks.ctypes, "CDLL", lambda *a, **k: object())
    assert kernel_synced() is False
    monkeypatch.setattr(Path, "read_text", lambda *a: (_ for _ in ()).throw(FileNotFoundError()))
    assert clocks.boot_id() == ""
    world = World()
    world.boot = ""
    mark = world.clock().mark()
    world.synced, world.error = False, -NOW
    assert world.clock(mark=mark).now().state is UNKNOWN, "no boot id equals another"


@pytest.mark.parametrize(("answer", "status", "synced"), [(0, 0x2001, True), (5, 0x40, False), (0, 0x40, False)])
def test_what_the_kernel_says(monkeypatch, answer, status, synced):
    class Libc:
        @staticmethod
        def adjtimex(pointer):
            pointer._obj.status = status
            return answer

    monkeypatch.setattr(clocks.ctypes, "CDLL", lambda *a, **k: Libc)
    assert kernel_synced() is synced


def test_holdover_lasts_seven_days_and_not_longer():
    world = World()
    clock = world.clock()
    world.synced = False
    world.run(HOLDOVER - 10, clock)
    assert clock.now().state is KEPT
    world.run(20, clock)
    assert clock.now().state is UNKNOWN
    assert notices(clock) == [Notice.CLOCK_UNKNOWN]


def test_an_unsynced_clock_within_the_horizon_is_followed_forward_only():
    world = World()
    clock = world.clock()
    world.synced, world.error = False, 1800.0
    world.run(4, clock)
    assert clock.now().wall == near(world.truth + 1800)
    assert clock.now().state is KEPT
    world.error = 0.0
    world.run(4, clock)
    assert clock.now().wall == near(world.truth + 1800)
