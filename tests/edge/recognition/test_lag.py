"""How old a frame is: streams that stand still, catch up, drift, or begin anew."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lintel.edge.recognition.lag import Lag


def run(frames):
    lag = Lag()
    return [lag.of(stamp, at) for stamp, at in frames]


def test_a_stream_in_time_is_new():
    assert run([(n / 25, 100 + n / 25) for n in range(100)]) == pytest.approx([0] * 100)


def test_frames_that_were_stuck_are_as_old_as_they_are():
    """The reader stands still from 1 s to 6 s of the stream, then gets everything at once."""
    live = [(n / 10, 50 + n / 10) for n in range(11)]
    late = [(1 + n / 10, 56.0 + n / 1000) for n in range(1, 51)]
    lags = run(live + late)[11:]
    assert lags == pytest.approx([56.0 + n / 1000 - (51 + n / 10) for n in range(1, 51)])
    assert lags[0] > 4.8
    assert lags[-1] < 0.1


def test_control_without_it_they_would_be_new():
    """What counts otherwise is when a frame arrived: then 50 old pictures are from the last 50 ms."""
    late = [(1 + n / 10, 56.0 + n / 1000) for n in range(1, 51)]
    assert run(late)[1:] == pytest.approx([0] * 49)


def test_a_stream_that_paused_is_new():
    assert run([(0, 10), (0.1, 10.1), (20, 30), (20.1, 30.1)]) == pytest.approx([0, 0, 0, 0])


@pytest.mark.parametrize("jump", [-1e9, -5, 3, 1e9])
def test_a_camera_whose_clock_is_set_is_not_old_for_ever(jump):
    frames = [(n / 10, n / 10) for n in range(10)] + [(n / 10 + jump, n / 10) for n in range(10, 20)]
    assert run(frames)[10:] == pytest.approx([0] * 10, abs=1e-6)


def test_a_camera_without_time_is_new():
    assert run([(0.0, n / 10) for n in range(50)]) == [0] * 50


@pytest.mark.parametrize("ppm", [-200, 200])
def test_a_clock_that_drifts_is_followed(ppm):
    assert max(run([(n / 5 * (1 + ppm / 1e6), n / 5) for n in range(5 * 3600)])) < 0.03


@given(st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(0, 1e9)), max_size=50))
def test_it_takes_anything_and_is_never_negative(frames):
    assert all(lag >= 0 for lag in run(sorted(frames, key=lambda f: f[1])))
