"""What an input tells: all that held long enough, at its own time, and of one that chatters so much and no more."""

from hypothesis import given
from hypothesis import strategies as st

from lintel.edge.contacts import Debounce
from lintel.edge.drivers.gpio_input import BURST, EXIT_S, PER_S, Input


def play(line, edges, delay=0.0, end=60.0):
    """(ms, level) edges, each read up to `delay` s late, in batches; returns [(when it was told, level)]."""
    told = []
    line.start(False)
    at = [(ms / 1000, level) for ms, level in edges]
    now = 0.0
    while at or line.deadline is not None:
        due = min([at[0][0] + delay] if at else [], default=end)
        if (deadline := line.deadline) is not None:
            due = min(due, max(now, deadline))
        now = max(now, due)
        if now >= end:
            break
        batch = [e for e in at if e[0] <= now]
        at = at[len(batch) :]
        for when, level in batch:
            told += [(now, t) for t in line.edge(level, when, now)]
        if (deadline := line.deadline) is not None and deadline <= now:
            told += [(now, t) for t in line.look(now)]
    return told


def edges(most_ms=3000, count=30):
    one = st.tuples(st.integers(0, most_ms), st.booleans())
    return st.lists(one, max_size=count).map(lambda all_: sorted(all_, key=lambda e: e[0]))


@given(edges(most_ms=60_000, count=15), st.floats(0, 1.5))
def test_how_late_edges_are_read_changes_nothing_of_what_is_told(events, delay):
    prompt = [level for _, level in play(Input(Debounce(0.03)), events)]
    late = [level for _, level in play(Input(Debounce(0.03)), events, delay)]
    assert late == prompt


@given(edges(count=200), st.floats(0, 1.0), st.booleans(), st.sampled_from([0.0, 0.001, 0.03]))
def test_a_chatter_is_bounded_alternates_and_ends_with_the_level_of_now(events, delay, urgent, period):
    line = Input(Debounce(period), urgent=urgent)
    told = play(line, events, delay)
    levels = [level for _, level in told]
    assert levels == [n % 2 == 0 for n in range(len(levels))]
    assert (levels[-1:] or [False]) == [line.line.level]
    span = told[-1][0] - told[0][0] if told else 0.0
    assert len(told) <= (2 if urgent else 1) * (BURST + span * PER_S + 1)
    every = play(Input(Debounce(period), urgent=True), events)
    assert any(level for _, level in told) == any(level for _, level in every)


def test_fire_never_waits_and_a_button_that_chatters_does():
    chatter = [(n, n % 2 == 0) for n in range(2000)]
    fire, button = Input(Debounce(0.0), urgent=True), Input(Debounce(0.0))
    first = next(when for when, level in play(fire, chatter) if level)
    assert first == 0.0
    told = play(button, chatter)
    assert len([1 for when, _ in told if when <= 2.0]) <= BURST + 2 * PER_S + 1
    assert button.held_back > 1000
    assert told[-1][1] is False


def test_a_press_in_a_chatter_is_told_late_rather_than_never():
    chatter = [(n, n % 2 == 0) for n in range(BURST)]  # all that may be told as it comes, and it ends at rest
    told = play(Input(Debounce(0.0)), [*chatter, (30, True), (40, False)])
    assert [level for _, level in told] == [n % 2 == 0 for n in range(BURST + 2)]
    assert told[-2][0] > 0.04


def test_what_can_be_stale_is_told_only_while_it_is_of_now():
    def late(*events):
        return [level for _, level in play(Input(Debounce(0.03), stale_s=EXIT_S), events, delay=5.0)]

    assert late((0, True), (1000, False)) == []
    assert late((0, True)) == [True]
    assert late((3500, True), (4900, False), (4950, True), (5000, False)) == []
