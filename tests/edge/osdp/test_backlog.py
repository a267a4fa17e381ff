"""What a reader kept while nobody asked it is old, and known to be: a door never opens late."""

import itertools

import pytest

from lintel.edge.osdp import backlog
from lintel.edge.osdp.backlog import Backlog
from lintel.edge.osdp.events import Heard
from lintel.edge.osdp.messages import RawCard
from tests.edge.osdp.test_panel import secure
from tests.edge.osdp.wire import KEY, Reader, Wire


def ages(wire: Wire) -> list[float]:
    return [e.age for e in wire.of(Heard) if isinstance(e.reply, RawCard)]


def test_before_the_first_empty_poll_nothing_is_known_and_then_it_is_now():
    kept = Backlog()
    assert not kept.empty
    assert kept.answered(5.0, nothing=False) == float("inf")
    assert kept.answered(5.1, nothing=True) == 0.0
    assert kept.empty
    assert kept.answered(5.2, nothing=False) == 0.0


def test_after_a_gap_it_may_be_as_old_as_the_last_poll_until_one_finds_nothing():
    kept = Backlog()
    kept.answered(5.0, nothing=True)
    assert [round(kept.answered(at, nothing=False), 1) for at in (25.0, 25.1, 25.2)] == [20.0, 20.1, 20.2]
    assert kept.answered(25.3, nothing=True) == 0.0
    assert kept.answered(25.4, nothing=False) == 0.0


@pytest.mark.parametrize("away", [3.0, 30.0])
def test_a_card_of_an_outage_is_as_old_as_the_outage(away):
    reader = Reader(1, KEY)
    wire = secure(reader)
    wire.run(1.0)
    reader.cut = True
    wire.run(0.1)
    wire.tap = lambda to_reader, frame: None
    reader.card(1)
    reader.card(2)
    wire.run(away)
    reader.cut, wire.tap = False, None
    wire.run(6.0)
    reader.card(3)
    wire.run(0.5)
    first, second, third = ages(wire)
    assert away <= first <= second <= away + 3.0
    assert third == 0.0


def test_a_card_from_before_the_first_meeting_is_of_no_age():
    reader = Reader(1, KEY)
    reader.card(1)
    wire = secure(reader)
    wire.run(1.0)
    assert ages(wire) == [float("inf")]


def test_a_card_that_waited_while_the_reader_was_held_is_as_old_as_that():
    reader = Reader(1, KEY)
    wire = secure(reader)
    wire.run(1.0)
    wire.panels[0].hold = True
    wire.run(0.2)
    reader.card(1)
    wire.run(12.0)
    wire.panels[0].hold = False
    wire.run(0.5)
    (age,) = ages(wire)
    assert 12.0 <= age < 13.0


def test_a_poor_line_makes_no_card_old():
    reader = Reader(1, KEY)
    wire = secure(reader)
    wire.run(1.0)
    count = itertools.count()
    wire.tap = lambda to_reader, frame: frame if to_reader or next(count) % 3 else None
    for number in range(10):
        reader.card(number)
        wire.run(0.7)
    assert ages(wire) == [0.0] * 10


def test_control_without_the_gap_an_old_card_is_new(monkeypatch):
    monkeypatch.setattr(backlog, "GAP_S", float("inf"))
    with pytest.raises(AssertionError):
        test_a_card_of_an_outage_is_as_old_as_the_outage(30.0)
