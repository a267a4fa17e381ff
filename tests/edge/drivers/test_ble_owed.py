"""What is owed to a lock, by the rules alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lintel.edge.ble.words import Move
from lintel.edge.drivers.ble_relock import PRESS_S, SEEN_S, Later, Owed
from lintel.edge.model import Action, Outcome
from lintel.edge.profiles.ble import BleSpec
from tests.edge.drivers.ble_rig import order
from tests.edge.drivers.relock_rig import _short  # noqa: F401  autouse


@st.composite
def steps(draw):
    kind = draw(st.sampled_from(["open", "hold", "release", "try", "fire", "restart", "wait"]))
    return kind, draw(st.sampled_from(["done", "unknown", "refused", "never"])), draw(st.floats(0.0, 50.0))


OUTCOMES = {
    "done": Outcome.EXECUTED, "unknown": Outcome.UNKNOWN_OUTCOME,
    "refused": Outcome.REFUSED_BY_DEVICE, "never": Outcome.NOT_SENT,
}  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(steps(), max_size=30))
def test_whatever_happens_what_may_be_open_is_owed_a_lock(script):
    """A lock that may be open is held, released by fire, or owed a lock; and fire is never locked out."""
    owed, now, released, perhaps_open, held = (
        Owed(BleSpec("yale", locks_again="gateway"), 3.0),
        0.0,
        False,
        False,
        False,
    )
    for kind, end, pause in script:
        now += pause
        maybe = end != "never"
        match kind:
            case "open" | "hold":
                action = Action.OPEN if kind == "open" else Action.HOLD
                said = order(action, seconds=3.0)
                owed.ended(said, owed.releases, now, OUTCOMES[end], maybe=maybe)
                perhaps_open = perhaps_open or maybe
                held = held or (kind == "hold" and end in ("done", "unknown"))
            case "release":
                owed.release(now)
                held, perhaps_open = False, True
                if not released:
                    owed.ended(order(Action.RELEASE), owed.releases, now, OUTCOMES[end], maybe=maybe)
                    perhaps_open = end != "done"
            case "try":
                due = owed.due(now, released=released)
                if isinstance(due, Later):
                    assert not released
                    assert due.move is Move.LOCK
                    trying = owed.trying(now)
                    if end != "never":  # else it never ended
                        owed.tried(trying, now, done=end == "done")
                    perhaps_open = perhaps_open and end != "done"
            case "fire":
                released = not released
            case "restart":
                owed = Owed(BleSpec("yale", locks_again="gateway"), 3.0)
                owed.begin()
                held = False
                owed.saw("unlocked" if perhaps_open else "locked", now)
        planned = owed.later is not None and owed.later.move is Move.LOCK
        assert owed.held == held
        assert planned or held or not perhaps_open
        if planned and not released:
            due = owed.due(now + 61.0, released=False)
            assert isinstance(due, Later)  # and it is tried before long


def test_a_hold_that_ends_after_its_release_was_ordered_is_no_hold():
    for again in ("itself", "gateway", "never"):
        owed = Owed(BleSpec("lintel-lock", locks_again=again), 3.0)
        before = owed.releases
        owed.release(5.0)
        owed.ended(order(Action.HOLD), before, 6.0, Outcome.EXECUTED, maybe=True)
        assert not owed.held
        assert owed.later == Later(6.0, Move.LOCK, 6.0)


def test_a_release_that_is_ordered_again_and_again_does_not_put_off_our_own_try():
    owed, now = Owed(BleSpec("lintel-lock", locks_again="never"), 3.0), 0.0
    owed.ended(order(Action.HOLD), owed.releases, now, Outcome.EXECUTED, maybe=True)
    while not isinstance(owed.due(now, released=False), Later):
        owed.release(now)
        owed.ended(order(Action.RELEASE), owed.releases, now + 0.02, Outcome.NOT_SENT, maybe=False)
        now += 0.03
        assert now < 1.0
    assert owed.trying(now).tries == 2  # no fewer than our own


SURE = BleSpec("lintel-lock", locks_again="itself"), BleSpec("yale", locks_again="gateway")


@pytest.mark.parametrize("spec", SURE)
def test_a_lock_that_is_held_need_not_be_told_so_again_until_something_speaks_against_it(spec):
    def held():
        owed = Owed(spec, 3.0)
        owed.ended(order(Action.HOLD), owed.releases, 0.0, Outcome.EXECUTED, maybe=True)
        owed.saw("unlocked", 1.0)
        assert owed.sure(1.0)
        return owed

    owed = held()
    assert owed.sure(1.0 + SEEN_S - 1.0)
    for minute in range(1, 11):
        owed.saw("unlocked", 60.0 * minute - 1.0)
        assert owed.sure(60.0 * minute - 0.5)
    assert not owed.sure(601.0)  # however often it is seen
    against = {
        "locked": lambda o: o.saw("locked", 2.0),
        "jammed": lambda o: o.saw("jammed", 2.0),
        "released": lambda o: o.release(2.0),
        "another line": lambda o: o.begin(),
        "opened": lambda o: o.ended(order(), o.releases, 2.0, Outcome.EXECUTED, maybe=True),
        "unclear": lambda o: o.ended(order(Action.HOLD), o.releases, 2.0, Outcome.UNKNOWN_OUTCOME, maybe=True),
        "refused": lambda o: o.ended(order(Action.HOLD), o.releases, 2.0, Outcome.REFUSED_BY_DEVICE, maybe=False),
    }
    for why, happens in against.items():
        owed = held()
        happens(owed)
        assert not owed.sure(3.0), why


@pytest.mark.parametrize("spec", SURE)
@pytest.mark.parametrize("seen", ["", "unknown", "unlocked"])
def test_a_held_lock_that_nobody_looked_at_lately_is_told_again(spec, seen):
    owed = Owed(spec, 3.0)
    owed.ended(order(Action.HOLD), owed.releases, 0.0, Outcome.EXECUTED, maybe=True)
    if seen:
        owed.saw(seen, SEEN_S - 1.0)
    assert owed.sure(SEEN_S + 1.0) == (seen == "unlocked")


def _owes(spec=SURE[1]):
    owed = Owed(spec, 3.0)
    owed.ended(order(seconds=3.0), owed.releases, 0.0, Outcome.EXECUTED, maybe=True)
    return owed


def test_a_lock_to_be_locked_that_is_given_no_turn_waits_like_an_order_before_long():
    owed, now = _owes(), 3.0
    while now < owed.presses_at(now):
        owed.tried(owed.trying(now), now + 0.2, done=False, gave_way=True)
        now += 0.25
        assert now < 60.0
    assert 3.0 + PRESS_S <= now < 3.5 + PRESS_S


def test_a_lock_to_be_locked_that_was_dialled_in_vain_gives_way_again():
    owed, now = _owes(), 3.0
    for _ in range(20):
        owed.tried(owed.trying(now), now + 20.0, done=False)
        now = owed.later.at
        assert now < owed.presses_at(now)


def test_a_hold_to_be_renewed_gives_way_for_as_long_as_it_takes():
    owed = Owed(SURE[0], 3.0)
    owed.ended(order(Action.HOLD), owed.releases, 0.0, Outcome.EXECUTED, maybe=True)
    now = owed.later.at
    owed.tried(owed.trying(now), now, done=False, gave_way=True)
    assert owed.presses_at(now + 100.0) > 1e9


@pytest.mark.parametrize("spec", [BleSpec("nuki", locks_again="never"), BleSpec("nuki", locks_again="itself")])
def test_a_lock_that_may_lock_by_itself_is_told_every_time(spec):
    owed = Owed(spec, 3.0)
    owed.ended(order(Action.HOLD), owed.releases, 0.0, Outcome.EXECUTED, maybe=True)
    assert owed.held
    assert not owed.sure(1.0)


def test_a_renewal_under_way_does_not_undo_a_release():
    owed = Owed(BleSpec("lintel-lock", locks_again="itself"), 3.0)
    owed.ended(order(Action.HOLD), owed.releases, 0.0, Outcome.EXECUTED, maybe=True)
    renewing = owed.trying(6000.0)
    owed.release(6001.0)
    owed.tried(renewing, 6002.0, done=True)
    assert owed.later.move is Move.LOCK
