"""A panel and another author's readers in virtual time: meeting, orders, outages, pace. Lies are in test_lies.py."""

import itertools
import statistics

import pytest

from lintel.edge.model import Notice, Outcome
from lintel.edge.osdp import bus as bus_module
from lintel.edge.osdp import exchange
from lintel.edge.osdp.events import Down, Heard, Up
from lintel.edge.osdp.messages import Command, Keypad, Local, RawCard
from lintel.edge.osdp.panel import State
from lintel.simulators.osdp_wire import Say
from tests.edge.osdp.wire import KEY, Reader, Wire


def secure(*readers: Reader, **options) -> Wire:
    """A wire on which all readers are in a session."""
    wire = Wire(*readers, **options)
    wire.run(10.0, lambda: all(p.usable for p in wire.panels))
    assert all(p.state is State.SECURE for p in wire.panels)
    return wire


def test_meeting_a_reader_is_four_exchanges_and_a_question():
    reader = Reader(0x65, KEY)
    wire = secure(reader)
    assert [frame[6 if frame[5] & 8 == 0 else 9] for _, frame in wire.said] == [0x61, 0x62, 0x76, 0x77]
    assert [frame[5] & 3 for _, frame in wire.said] == [0, 1, 2, 3]  # as libosdp counts: not from 0 again
    wire.run(0.2)
    assert wire.heard(Local) == [Local(tamper=False, power=False)]
    assert wire.of(Up) == [Up(secure=True)]


def test_what_a_reader_says_is_heard_once_and_trusted():
    reader = Reader(1, KEY)
    wire = secure(reader)
    reader.card(99)
    reader.pd.queue.append((Say.KEYPAD, b"\x00\x02" + b"1\x0d", lambda: None))
    wire.run(1.0)
    assert len(wire.heard(RawCard)) == len(wire.heard(Keypad)) == 1
    assert all(e.trusted for e in wire.of(Heard) if isinstance(e.reply, RawCard | Keypad))
    assert wire.notices() == []


def test_a_panel_that_may_not_be_trusted_takes_no_order():
    """Without a key: its cards are not trusted, its relay is not switched, and an alarm says what to do, once."""
    reader = Reader(1, None, enforce=False)
    wire = Wire(reader, key=None)
    wire.run(1.0)
    assert wire.panels[0].state is State.CLEAR
    assert wire.order(wire.panels[0]) == [Outcome.NOT_SENT]
    reader.card(99)
    wire.run(5.0)
    assert [e.trusted for e in wire.of(Heard) if isinstance(e.reply, RawCard)] == [False]
    assert wire.notices() == [Notice.INSTALL_WINDOW_CLOSED]
    assert reader.outputs() == []


def test_a_model_without_a_channel_is_used_in_the_clear():
    reader = Reader(1, None, enforce=False)
    wire = Wire(reader, key=None, required=False)
    wire.run(1.0)
    assert wire.of(Up) == [Up(secure=False)]
    outcomes = wire.order(wire.panels[0])
    reader.card(99)
    wire.run(1.0)
    assert outcomes == [Outcome.EXECUTED]
    assert [e.trusted for e in wire.of(Heard) if isinstance(e.reply, RawCard)] == [True]


# ---- orders


def test_an_order_goes_before_every_poll():
    readers = [Reader(n, KEY) for n in range(8)]
    wire = secure(*readers)
    wire.run(1.0)
    outcomes, begin = wire.order(wire.panels[5]), wire.now
    took = wire.run(1.0, lambda: outcomes)
    assert outcomes == [Outcome.EXECUTED]
    said = [frame for at, frame in wire.said if at >= begin]
    assert said[0][2] == 5
    assert took < 0.08  # its own frame and answer, at 9600 baud
    assert readers[5].outputs() == [5]


def test_an_order_whose_answer_is_lost_is_repeated_byte_by_byte_and_carried_out_once():
    reader = Reader(1, KEY)
    wire = secure(reader)
    wire.run(0.5)
    lost = itertools.count()
    wire.tap = lambda to_reader, frame: frame if to_reader or next(lost) >= 2 else None
    outcomes, begin = wire.order(wire.panels[0]), wire.now
    wire.run(3.0, lambda: outcomes)
    assert outcomes == [Outcome.EXECUTED]
    assert len({frame for at, frame in wire.said if at >= begin}) == 1
    assert len([1 for at, _ in wire.said if at >= begin]) == 3
    assert reader.outputs() == [5]


def test_an_order_that_is_never_answered_is_unknown_and_never_a_second_order():
    reader = Reader(1, KEY)
    wire = secure(reader)
    wire.run(0.5)
    reader.cut = True  # it hears us; we do not hear it
    outcomes, begin = wire.order(wire.panels[0], within=1.0), wire.now
    wire.run(3.0, lambda: outcomes)
    assert outcomes == [Outcome.UNKNOWN_OUTCOME]
    assert len({frame for at, frame in wire.said if at >= begin and len(frame) > 30}) == 1
    reader.cut = False
    wire.run(5.0)
    assert wire.panels[0].usable
    assert reader.outputs() == [5]
    late = [at for at, frame in wire.said if at >= begin + 1.0 and len(frame) > 30]
    assert late == []  # nothing of an order leaves after its deadline


def test_an_order_for_a_reader_that_is_away_is_not_sent():
    reader = Reader(1, KEY)
    wire = secure(reader)
    reader.switch(on=False)
    wire.run(5.0)
    assert wire.order(wire.panels[0]) == [Outcome.NOT_SENT]
    reader.switch(on=True)
    wire.run(5.0)
    assert reader.outputs() == []


def test_an_order_that_waits_too_long_is_void():
    readers = [Reader(n, KEY) for n in range(2)]
    wire = secure(*readers)
    wire.run(0.5)
    readers[0].cut = True
    first = wire.order(wire.panels[0], within=2.0)
    second = wire.order(wire.panels[0], within=0.3)  # behind the one that is not answered
    wire.run(3.0)
    assert (first, second) == ([Outcome.UNKNOWN_OUTCOME], [Outcome.ORDER_EXPIRED])
    assert readers[0].outputs() == [5]


def test_too_many_orders_are_refused_and_each_is_finished_once():
    reader = Reader(1, KEY)
    wire = secure(reader)
    wire.run(0.5)
    outcomes = [wire.order(wire.panels[0], within=20.0) for _ in range(20)]
    wire.run(20.0)
    flat = [one for some in outcomes for one in some]
    assert len(flat) == 20
    assert flat.count(Outcome.NOT_SENT) == 4
    assert flat.count(Outcome.EXECUTED) == len(reader.outputs()) == 16


def test_a_line_that_breaks_leaves_an_unknown_and_an_unsent_order():
    reader = Reader(1, KEY)
    wire = secure(reader)
    wire.run(0.5)
    reader.cut = True
    first, second = wire.order(wire.panels[0]), wire.order(wire.panels[0])
    wire.run(0.05)
    wire.bus.close(wire.now)
    assert (first, second) == ([Outcome.UNKNOWN_OUTCOME], [Outcome.NOT_SENT])


def test_an_order_that_the_reader_refuses():
    reader = Reader(1, KEY)
    wire = secure(reader)
    wire.run(0.5)
    reader.pd.unit.capabilities.pop(2, None)
    reader.pd.unit.outputs.clear()
    outcomes = wire.order(wire.panels[0])
    wire.run(1.0)
    assert outcomes == [Outcome.REFUSED_BY_DEVICE]
    assert wire.panels[0].usable


# ---- readers that come and go


@pytest.mark.parametrize("away", [3.0, 10.0, 60.0, 600.0])
@pytest.mark.parametrize(("count", "baud"), [(1, 9600), (8, 9600), (1, 115200)])
def test_a_reader_is_back_within_3_s_of_its_first_answer(away, count, baud):
    readers = [Reader(n, KEY) for n in range(count)]
    wire = secure(*readers, baud=baud)
    readers[-1].switch(on=False)
    wire.run(away)
    assert len(wire.of(Down)) == 1
    readers[-1].switch(on=True)
    assert wire.run(10.0, lambda: all(p.usable for p in wire.panels)) < 3.0  # even from its power on
    assert not wire.notices()


def test_a_whole_bus_that_had_no_power_is_back_within_3_s():
    readers = [Reader(n, KEY) for n in range(8)]
    wire = secure(*readers)
    for reader in readers:
        reader.switch(on=False)
    wire.run(60.0)
    for reader in readers:
        reader.switch(on=True)
    assert wire.run(10.0, lambda: all(p.usable for p in wire.panels)) < 3.0


def test_a_lost_answer_is_no_outage():
    reader = Reader(1, KEY)
    wire = secure(reader)
    count = itertools.count()
    wire.tap = lambda to_reader, frame: frame if to_reader or next(count) % 3 else None  # every third answer is lost
    for number in range(20):
        reader.card(number)
    wire.run(30.0)
    assert len(wire.heard(RawCard)) == 20
    assert not wire.of(Down)
    assert not wire.notices()


def test_a_lost_command_is_no_outage():
    reader = Reader(1, KEY)
    wire = secure(reader)
    count = itertools.count()
    wire.tap = lambda to_reader, frame: frame if not to_reader or next(count) % 3 else None
    for number in range(20):
        reader.card(number)
    wire.run(30.0)
    assert len(wire.heard(RawCard)) == 20
    assert not wire.of(Down)
    assert not wire.notices()


def test_a_reader_that_lost_its_session_is_met_again_at_once():
    reader = Reader(1, KEY)
    wire = secure(reader)
    wire.run(20.0)
    reader.pd.forget()
    begin = wire.now
    wire.run(5.0, lambda: wire.of(Down))
    wire.run(5.0, lambda: wire.panels[0].usable)
    assert wire.now - begin < 1.0
    assert not wire.notices()


def test_busy_is_waited_for_and_nothing_is_lost():
    reader = Reader(1, KEY)
    wire = secure(reader)
    reader.pd.busy = 5
    outcomes = wire.order(wire.panels[0])
    wire.run(3.0)
    assert outcomes == [Outcome.EXECUTED]
    assert not wire.of(Down)
    reader.pd.busy = 1000
    wire.run(10.0)
    assert [d.why for d in wire.of(Down)] == ["busy for too long"]


def test_busy_many_times_at_once_is_busy_once():
    """BUSY has no MAC: a burst of it must not run the count of repeats out of its table."""
    ours = exchange.Exchange()
    sent = ours.send(Command.POLL, None, lambda _: b"frame")
    assert all(ours.busy(0.0) for _ in range(5))
    sent.tries += 1  # as when it is sent again
    assert sent.tries == 1
    assert ours.wait(1.0)
    assert ours.retry_at > 1.0


def test_a_slow_answer_is_taken_late_and_the_reader_is_given_more_time():
    reader = Reader(1, KEY)
    wire = secure(reader)
    reader.turnaround = 0.15
    wire.run(20.0)
    assert wire.panels[0].exchange.latency > 0.14
    assert not wire.of(Down)
    assert len(wire.said) > 100


def test_while_it_is_held_a_reader_keeps_its_card():
    reader = Reader(1, KEY)
    wire = secure(reader)
    wire.run(0.5)
    wire.panels[0].hold = True
    reader.card(1)
    wire.run(20.0)  # longer than the 8 s after which a reader gives its panel up
    assert not wire.heard(RawCard)
    wire.panels[0].hold = False
    wire.run(0.5)
    assert len(wire.heard(RawCard)) == 1
    assert not wire.of(Down)


# ---- pace


def turns(wire: Wire, seconds: float) -> list[float]:
    """From turn to turn of the first reader."""
    at: list[float] = []
    wire.bus.on_turn = lambda address, now: at.append(now) if address == 0 else None
    wire.run(seconds)
    return [b - a for a, b in itertools.pairwise(at)]


@pytest.mark.parametrize("missing", [1, 3, 6])
def test_readers_that_are_away_cost_the_others_at_most_a_third(missing):
    alone = statistics.mean(turns(secure(*(Reader(n, KEY) for n in range(8 - missing))), 20.0))
    wire = secure(*(readers := [Reader(n, KEY) for n in range(8)]))
    for reader in readers[-missing:]:
        reader.switch(on=False)
    wire.run(5.0)
    assert statistics.mean(turns(wire, 30.0)) < 1.5 * alone


def test_one_that_is_away_costs_the_others_a_tenth():
    alone = statistics.mean(turns(secure(*(Reader(n, KEY) for n in range(7))), 20.0))
    wire = secure(*(readers := [Reader(n, KEY) for n in range(8)]))
    readers[-1].switch(on=False)
    wire.run(5.0)
    assert statistics.mean(turns(wire, 30.0)) < 1.12 * alone


def test_control_with_a_full_wait_for_each_poll_of_who_is_away_they_cost_more(monkeypatch):
    monkeypatch.setattr(exchange, "PROBE_HASTE_S", exchange.ANSWER_S)
    monkeypatch.setattr(bus_module, "_SHARE", 0)
    with pytest.raises(AssertionError):
        test_readers_that_are_away_cost_the_others_at_most_a_third(6)


@pytest.mark.parametrize("baud", [9600, 115200])
def test_card_to_order_on_a_full_bus(baud):
    """Card at a reader to order at its relay, 8 readers, true character times. The bars are the issue's."""
    readers = [Reader(n, KEY) for n in range(8)]
    wire = secure(*readers, baud=baud)
    cycle = statistics.mean(turns(wire, 20.0))
    taken = []
    for number in range(300):
        reader, panel = readers[number % 8], wire.panels[number % 8]
        wire.run(0.3 + 0.37 * cycle * (number % 11))
        reader.card(number)
        begin, seen = wire.now, len(wire.heard(RawCard))
        wire.run(5.0, lambda seen=seen: len(wire.heard(RawCard)) > seen)
        wire.now += 0.001  # the decision
        outcomes = wire.order(panel)
        ordered = len(reader.outputs())
        wire.run(5.0, lambda r=reader, n=ordered: len(r.outputs()) > n)
        taken.append(wire.now - begin)
        assert outcomes == [Outcome.EXECUTED]
        wire.events.clear()
    worst = sorted(taken)[int(len(taken) * 0.99)]
    assert worst <= (1.3 * cycle if baud == 9600 else 0.060), (worst, cycle)
