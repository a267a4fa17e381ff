"""What is kept of a device on an MQTT line: its allowance, and when its clock is to be set."""

import math
import types

import pytest

from lintel.edge.drivers.mqtt_devices import TOKEN_BYTES, Terminal
from lintel.edge.drivers.mqtt_readings import DAY_S, RETRY_S, Reader
from lintel.edge.model import ClockState, Instant
from lintel.edge.profiles import builtin
from tests.edge.drivers.contract import context
from tests.edge.drivers.mqtt_rig import device


def terminal(profile="mqtt-face", burst=10):
    return Terminal(device(profile=profile), builtin()[profile].spec, 1.0, burst)


def due(one, *moments, state=ClockState.SYNCED):
    reader = Reader(context(), types.SimpleNamespace())
    return [reader.clock_due(one, Instant(1.8e9 + mono, mono, state)) for mono in moments]


def test_a_clock_is_set_at_once_then_daily_and_soon_again_while_it_is_off():
    one = terminal()
    assert due(one, 0, 1, DAY_S - 1, DAY_S, DAY_S + 1) == [True, False, False, True, False]
    one.came_on_line(DAY_S + 2)
    assert due(one, DAY_S + 2, DAY_S + 3) == [True, False]
    one.clock_off = True
    assert due(one, DAY_S + 1 + RETRY_S, DAY_S + 2 + RETRY_S, DAY_S + 3 + RETRY_S) == [False, True, False]


def test_no_clock_is_set_by_one_that_is_unknown_or_where_no_command_is_known():
    one = terminal()
    assert due(one, 0, state=ClockState.UNKNOWN) == [False]
    assert due(one, 1) == [True], "as soon as ours is known"
    assert due(terminal("yld"), 0) == [False]


@pytest.mark.parametrize(("size", "passed"), [(0, 10), (300, 10), (TOKEN_BYTES, 5), (4 * 2**20, 1), (math.inf, 1)])
def test_large_messages_count_as_several(size, passed):
    one = terminal()
    size = 10**9 if size == math.inf else size
    assert sum(one.may_send(0.0, size) for _ in range(20)) == passed
    assert one.dropped == 20 - passed
    assert one.may_send(1e9, 0), "and time makes up for it"
