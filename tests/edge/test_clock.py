"""The clock in scenarios 1 to 6 and 12: jumps, starts, restarts, power cuts, and what holds whatever happens."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lintel.edge.clock import HOLDOVER, HORIZON, Mark
from lintel.edge.model import Notice

from .clock_world import DAY, KEPT, NOW, SYNCED, UNKNOWN, YEAR, World, bar, expired_granted, near, notices


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
