"""A poor line, in virtual time: lost and broken frames, power that goes, a cut at every byte. No order is twice."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lintel.edge.model import Outcome
from lintel.edge.osdp.events import Job
from lintel.edge.osdp.messages import Command, RawCard, output
from tests.edge.osdp.test_panel import secure
from tests.edge.osdp.wire import KEY, Reader

NEVER = {Outcome.NOT_SENT, Outcome.ORDER_EXPIRED, Outcome.REFUSED_BY_DEVICE}


@given(st.integers(0, 2**32), st.floats(0, 0.4), st.floats(0, 0.3), st.booleans())
@settings(max_examples=60, deadline=None)
def test_whatever_the_line_does_an_outcome_is_true_and_nothing_is_twice(seed, loss, damage, power):
    dice = random.Random(seed)
    readers = [Reader(n, KEY) for n in range(2)]
    wire = secure(*readers, baud=38400)

    def tap(to_reader, frame):
        if dice.random() < loss:
            return None
        if dice.random() < damage:
            at = dice.randrange(len(frame))
            return frame[:at] + bytes((frame[at] ^ 1 << dice.randrange(8),)) + frame[at + 1 :]
        return frame

    wire.tap = tap
    shown: list[list[str]] = [[], []]
    for number in range(20):
        reader = dice.randrange(2)
        before = len(readers[reader].outputs())
        if dice.random() < 0.5:
            outcomes = wire.order(wire.panels[reader], within=dice.uniform(0.05, 1.5))
            wire.run(10.0, lambda o=outcomes: o)
            wire.run(0.5)
            assert len(outcomes) == 1
            done = len(readers[reader].outputs()) - before
            assert done <= 1
            assert done == 1 or outcomes != [Outcome.EXECUTED]
            assert done == 0 or outcomes[0] not in NEVER
        else:
            readers[reader].card(number, lambda r=reader: shown[r].append("left"))
            wire.run(dice.uniform(0, 1))
        if power and dice.random() < 0.2:
            readers[reader].switch(on=False)
            wire.run(dice.uniform(0, 3))
            readers[reader].switch(on=True)
    cards = wire.heard(RawCard)
    assert len(cards) <= len(shown[0]) + len(shown[1])
    assert len({(c.reader, c.data) for c in cards}) == len(cards)
    wire.tap = None
    for reader in readers:
        reader.switch(on=True)
    wire.run(90.0, lambda: all(p.usable for p in wire.panels))
    assert all(p.usable for p in wire.panels)


def cut_at(count: int) -> tuple[list[Outcome], Reader, bool]:
    """An order whose line is cut after so many bytes of command and answer; outcome, reader, and whether all came."""
    reader = Reader(1, KEY)
    wire = secure(reader)
    wire.run(0.5, lambda: wire.panels[0].exchange.sent is None)
    outcomes: list[Outcome] = []
    wire.bus.submit(1, Job(Command.OUT, output(0, 5, 30), wire.now + 3.0, outcomes.append), wire.now)
    frame = wire.bus.step(wire.now)
    assert frame is not None
    reply = reader.pd.reply(frame[1:], wire.now) if count >= len(frame) else b""
    heard = (reply or b"")[: max(0, count - len(frame))]
    for at in range(len(heard)):
        wire.bus.feed(heard[at : at + 1], wire.now)
    wire.bus.close(wire.now)
    whole = bool(reply) and heard == reply
    wire.bus.open()
    wire.run(10.0, lambda: wire.panels[0].usable)
    wire.run(5.0)
    assert wire.panels[0].usable
    return outcomes, reader, whole


@pytest.mark.parametrize("count", range(48))
def test_b5_a_line_that_is_cut_at_any_byte_leaves_no_second_order(count):
    outcomes, reader, whole = cut_at(count)
    assert outcomes == [Outcome.EXECUTED if whole else Outcome.UNKNOWN_OUTCOME]
    assert len(reader.outputs()) == (1 if count >= 31 else 0)


def test_b5_control_a_panel_that_orders_again_opens_twice():
    """What the test above could have missed: the same order, given anew after the cut, is carried out again."""
    reader = Reader(1, KEY)
    wire = secure(reader)
    wire.run(0.5)
    for _ in range(2):
        wire.order(wire.panels[0])
        wire.run(1.0)
    assert len(reader.outputs()) == 2
