"""What bounces is nothing, and a pulse is as long as the longest grant in it: with the vectors of the field."""

from hypothesis import given
from hypothesis import strategies as st

from lintel.edge.contacts import LONGEST, SHORTEST, Debounce, Pulse

PERIOD = 0.02


def played(edges, period=PERIOD):
    """Run (level, at) edges in order of time; the changes that counted, as (level, when)."""
    line, told = Debounce(period), []
    line.start(False)
    for level, at in [*edges, (None, float("inf"))]:
        deadline = line.deadline
        if line.due(at):
            told.append((line.level, deadline))
        if level is not None:
            line.edge(level, at)
    return told


def test_a_glitch_of_5_ms_is_nothing():
    assert played([(True, 0.0), (False, 0.005)]) == []


def test_a_level_counts_when_it_held():
    assert played([(True, 0.0)]) == [(True, 0.02)]
    assert played([(True, 1.2), (False, 4.0)]) == [(True, 1.22), (False, 4.02)]


def test_a_bouncing_contact_is_one_change():
    bounces = [(n % 2 == 0, 1.0 + n * 0.003) for n in range(9)]
    assert played(bounces) == [(True, 1.0 + 8 * 0.003 + PERIOD)]


def test_without_a_period_every_edge_counts():
    assert played([(True, 1.0), (False, 1.001)], 0.0) == [(True, 1.0), (False, 1.001)]


EDGES = st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=40).map(lambda e: sorted(e, key=lambda x: x[1]))


@given(EDGES)
def test_what_counted_is_what_held_that_long(edges):
    """Against a second answer: the longest stretches of the raw signal, kept where they are long enough."""
    stretches = []
    for level, at in [(False, float("-inf")), *edges]:
        if not stretches or stretches[-1][0] != level:
            stretches.append([level, at])
    ends = [s[1] for s in stretches[1:]] + [float("inf")]
    level, expected = False, []
    for (new, begin), end in zip(stretches, ends, strict=True):
        if new != level and end >= begin + PERIOD:
            level = new
            expected.append(new)
    assert [new for new, _ in played(edges)] == expected


def test_a_grant_in_a_pulse_lengthens_it():
    pulse = Pulse()
    pulse.open(5.0, 0.0)
    pulse.open(5.0, 4.0)
    assert pulse.unlocked(8.999)
    assert not pulse.unlocked(9.0)
    assert pulse.deadline(8.0) == 9.0


def test_a_short_grant_never_shortens():
    pulse = Pulse()
    pulse.open(5.0, 0.0)
    pulse.open(0.5, 1.0)
    assert pulse.unlocked(4.999)


def test_bounds():
    pulse = Pulse()
    pulse.open(0.01, 0.0)
    assert pulse.deadline(0.0) == SHORTEST
    pulse.open(10_000, 0.0)
    assert pulse.deadline(0.0) == LONGEST


def test_it_relocks_half_a_second_after_the_door_opened():
    pulse = Pulse()
    pulse.open(5.0, 0.0)
    pulse.opened(0.5, 1.0)
    assert pulse.unlocked(1.499)
    assert not pulse.unlocked(1.5)
    pulse.opened(0.5, 2.0)
    assert not pulse.unlocked(2.0), "a door that opens later unlocks nothing"


def test_a_hold_ends_by_release_alone_and_a_pulse_in_it_runs_on():
    pulse = Pulse()
    pulse.hold()
    assert pulse.deadline(0.0) is None
    pulse.open(3.0, 100.0)
    pulse.opened(0.5, 100.0)
    assert pulse.unlocked(10_000.0)
    pulse.open(3.0, 10_000.0)
    pulse.release()
    assert pulse.unlocked(10_002.9)
    assert not pulse.unlocked(10_003.0)


@given(st.lists(st.tuples(st.floats(0.2, 255), st.floats(0, 20)), max_size=20))
def test_grants_never_shorten_each_other(grants):
    pulse, now, end = Pulse(), 0.0, float("-inf")
    for seconds, after in grants:
        now += after
        pulse.open(seconds, now)
        end = max(end, now + seconds)
        assert pulse.until == end
