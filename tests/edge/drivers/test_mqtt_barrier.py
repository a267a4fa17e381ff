"""The barrier bounds the age of what follows it: only our own, of this connection, and only forwards."""

from lintel.edge.drivers.mqtt_barrier import LATE_S, Barrier


def test_a_barrier_that_is_back_is_the_floor_and_an_older_one_changes_nothing():
    barrier = Barrier("gw", "n1")
    first, second = barrier.next(100.0), barrier.next(101.0)
    assert (barrier.heard, barrier.prompt(101.0)) == (False, False)
    assert barrier.back(second), "the first that comes back"
    assert (barrier.heard, barrier.floor) == (True, 101.0)
    assert not barrier.back(first), "published before: it says less"
    assert not barrier.back(second), "a copy"
    assert barrier.floor == 101.0


def test_what_is_not_ours_says_nothing():
    mine, other = Barrier("gw", "n1"), Barrier("gw", "n2")
    mine.next(100.0)
    for payload in (other.next(100.0), b"", b"n1 100.0 ", b"n1 1e9", b"n1 -inf"):
        assert not mine.back(payload)
    assert not mine.heard


def test_it_is_prompt_for_two_seconds():
    barrier = Barrier("gw", "n1")
    barrier.back(barrier.next(100.0))
    assert barrier.prompt(100.0 + LATE_S)
    assert not barrier.prompt(100.0 + LATE_S + 0.001)
