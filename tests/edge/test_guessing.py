"""A13: five wrong tries in a row give one alarm and a back-off; signed passes are always checked."""

from itertools import pairwise

from lintel.edge.guessing import Guessing
from lintel.edge.model import Method, Reading, Reason


def tried(method=Method.CARD, device="reader"):
    return Reading("evt_1", "door", device, method, b"", 0.0)


def test_ten_thousand_guesses_give_one_alarm_and_a_growing_back_off():
    guessing, alarms, checked, mono = Guessing(), 0, [], 0.0
    for _ in range(10_000):
        mono += 0.05
        if not guessing.limited(tried(), mono):
            checked.append(mono)
            alarms += guessing.judge(tried(), Reason.UNKNOWN_CREDENTIAL, mono)
    gaps = [round(b - a) for a, b in pairwise(checked[4:])]
    assert alarms == 1
    assert gaps[:7] == [1, 2, 4, 8, 16, 32, 60]
    assert set(gaps[7:]) == {60}


def test_four_wrong_one_right_four_wrong_is_no_guessing():
    guessing = Guessing()
    for reasons in ([Reason.UNKNOWN_CREDENTIAL] * 4, [Reason.GRANTED], [Reason.UNKNOWN_CREDENTIAL] * 4):
        assert not any(guessing.judge(tried(), r, 0.0) for r in reasons)
    assert not guessing.limited(tried(), 0.0)


def test_other_readers_and_signed_passes_are_not_held_back():
    guessing = Guessing()
    for _ in range(9):
        guessing.judge(tried(), Reason.UNKNOWN_CREDENTIAL, 0.0)
    assert guessing.limited(tried(), 0.5)
    assert not guessing.limited(tried(device="other"), 0.5)
    assert not guessing.limited(tried(Method.PASS), 0.5)
    assert not guessing.limited(tried(Method.FACE), 0.5)
    assert not guessing.limited(tried(Method.QR), 0.5)


def test_guessing_codes_raises_the_alarm_and_holds_nobody_back():
    guessing = Guessing()
    assert [guessing.judge(tried(Method.QR), Reason.UNKNOWN_CREDENTIAL, 0.0) for _ in range(7)].count(True) == 1
    assert not guessing.limited(tried(Method.QR), 0.0)


def test_a_refusal_that_is_no_guess_does_not_count():
    guessing = Guessing()
    for _ in range(20):
        guessing.judge(tried(), Reason.OUTSIDE_SCHEDULE, 0.0)
    assert not guessing.limited(tried(), 0.0)
