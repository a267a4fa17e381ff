"""What is said of an order, in virtual time: carried out only with the reader's word for it, not sent only unsent."""

import pytest

from lintel.edge.model import Outcome
from lintel.edge.osdp.exchange import Sent
from lintel.edge.osdp.panel import State
from lintel.simulators.osdp_wire import build
from tests.edge.osdp.wire import KEY, Reader, Wire

OUT = 0x68
NAK, ACK, STATUS, OUTPUTS = (0x41, b"\x09"), (0x40, b""), (0x48, b"\x00\x00"), (0x4A, b"\x01")
BUSY = (0x79, b"")
EXECUTED, REFUSED, UNKNOWN = Outcome.EXECUTED, Outcome.REFUSED_BY_DEVICE, Outcome.UNKNOWN_OUTCOME


def clear() -> tuple[Reader, Wire]:
    reader = Reader(1, None, enforce=False)
    wire = Wire(reader, key=None, required=False)
    wire.run(1.0)
    assert wire.panels[0].state is State.CLEAR
    return reader, wire


def secure() -> tuple[Reader, Wire]:
    reader = Reader(1, KEY)
    wire = Wire(reader)
    wire.run(1.0)
    assert wire.panels[0].state is State.SECURE
    return reader, wire


def answering(wire: Wire, *answers: tuple[int, bytes] | None) -> None:
    """In the clear: the reader obeys, and so it answers each copy of an order; None: nothing is heard."""
    left, told = list(answers), []

    def tap(to_reader, frame):
        if to_reader:
            told.append(frame)
        elif told[-1][5] == OUT and left:
            answer = left.pop(0)
            return None if answer is None else build(0x81, 0 if answer == BUSY else frame[4] & 3, *answer)
        return frame

    wire.tap = tap


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ([ACK], EXECUTED),
        ([OUTPUTS], EXECUTED),
        ([NAK], REFUSED),
        ([(0x41, b"\x04")], REFUSED),
        ([STATUS], UNKNOWN),
        ([(0x41, b"")], UNKNOWN),
        ([(0x50, b"\x00\x01\x08\x00\x55")], UNKNOWN),
        ([None, ACK], EXECUTED),
        ([None, NAK], UNKNOWN),
        ([None, (0x41, b"\x04")], UNKNOWN),
        ([BUSY, ACK], EXECUTED),
        ([BUSY, BUSY, NAK], REFUSED),
        ([None, BUSY, BUSY, NAK], UNKNOWN),  # busy hides no copy that was not answered
        ([(0x41, b"\x01"), ACK], EXECUTED),
        ([None] * 8, UNKNOWN),
    ],
    ids=lambda x: "-".join("none" if a is None else f"{a[0]:x}{a[1].hex()}" for a in x) if isinstance(x, list) else "",
)
def test_an_order_in_the_clear(answers, outcome):
    reader, wire = clear()
    answering(wire, *answers)
    outcomes = wire.order(wire.panels[0])
    wire.run(4.0)
    assert outcomes == [outcome]
    assert reader.outputs() == [5]  # whatever it said, it obeyed, and once


def test_control_without_that_look_an_obeyed_order_is_called_refused(monkeypatch):
    monkeypatch.setattr(Sent, "unheard", property(lambda self: False, lambda self, value: None))
    reader, wire = clear()
    answering(wire, None, NAK)
    outcomes = wire.order(wire.panels[0])
    wire.run(4.0)
    assert outcomes == [REFUSED]
    assert reader.outputs() == [5]


@pytest.mark.parametrize(
    ("said", "outcome"),
    [(ACK, EXECUTED), (OUTPUTS, EXECUTED), (NAK, REFUSED), (STATUS, UNKNOWN), ((0x41, b""), UNKNOWN)],
)
@pytest.mark.parametrize("lost", [0, 2])
def test_an_order_in_a_session(said, outcome, lost):
    """There an answer is sealed for one command: a refusal after a lost answer is the same refusal again."""
    reader, wire = secure()
    plain, left = reader.pd._do, [lost]
    reader.pd._do = lambda code, data, *, sealed: said if code == OUT else plain(code, data, sealed=sealed)
    told = []

    def tap(to_reader, frame):
        if to_reader:
            told.append(frame)
        elif len(told[-1]) >= 30 and left[0]:
            left[0] -= 1
            return None
        return frame

    wire.tap = tap
    outcomes = wire.order(wire.panels[0])
    wire.run(4.0)
    assert outcomes == [outcome]


@pytest.mark.parametrize("error", [4, 5, 6])
def test_a_reader_that_says_it_has_no_session_leaves_an_order_unknown(error):
    """Nobody sealed that: it may be the reader after a restart, or somebody else after it obeyed."""
    reader, wire = secure()
    told = []

    def tap(to_reader, frame):
        if to_reader:
            told.append(frame)
        elif len(told[-1]) >= 30 and len(told) < 8:
            return build(0x81, frame[4] & 3, 0x41, bytes((error,)))
        return frame

    wire.tap = tap
    outcomes = wire.order(wire.panels[0])
    wire.run(4.0)
    assert outcomes == [UNKNOWN]
    assert wire.panels[0].usable
    assert reader.outputs() == [5]
