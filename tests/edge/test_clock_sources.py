"""The clock in scenarios 7 and 8: a time server that pulls, and a second source that disagrees."""

import pytest

from lintel.edge.clock import DRIFT, HORIZON, STEP
from lintel.edge.model import Notice

from .clock_world import DAY, KEPT, NOW, SYNCED, UNKNOWN, YEAR, World, bar, expired_granted, near, notices


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
