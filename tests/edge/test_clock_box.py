"""The clock in scenarios 9 to 11 and on a real box: leap seconds, suspend, what the kernel says, speed."""

import timeit
from pathlib import Path

import pytest
import time_machine

from lintel.edge import clock as clocks
from lintel.edge.clock import Clock, always_synced, kernel_synced
from lintel.edge.model import ClockState, Notice

from .clock_world import KEPT, NOW, SYNCED, UNKNOWN, World, bar, expired_granted, notices


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
