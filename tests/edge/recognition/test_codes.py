"""Reading codes: what a picture must show to be read, in which order, and that looking twice costs a bounded time."""

import numpy as np
import pytest

from lintel.bench.camera import PASS, look
from lintel.bench.camera_pictures import DISTORTIONS, picture
from lintel.edge.camera_wire import MAX_CODE, MAX_CODES
from lintel.edge.recognition import codes
from lintel.simulators.rtsp_camera import draw


@pytest.fixture(scope="module")
def looked():
    return look(list(DISTORTIONS), (2.0, 4.0), 3)


def share(result, what, names=tuple(DISTORTIONS)):
    cells = [cell for (name, _), cell in result.cells.items() if name in names]
    return sum(getattr(c, what) for c in cells) / sum(c.pictures for c in cells)


def test_generated_pictures_are_read(looked):
    """The whole table stands in decision 012; the floors leave room for rounding."""
    assert share(looked, "held") > 0.8
    assert share(looked, "held", ("none", "turned", "tilt_30", "dark_mode", "motion", "blur_0.4", "all")) > 0.97
    assert share(looked, "held", ("tilt_50", "blur_0.5", "glare")) > 0.8
    assert looked.wrong == 0


def test_control_one_look_alone_misses_the_floor(looked):
    assert share(looked, "first") < 0.8
    assert share(looked, "first", ("blur_0.5",)) < 0.2


def test_control_a_picture_that_nobody_can_read_counts_as_missed():
    assert look(["blur_0.6"], (1.5,), 2).cells["blur_0.6", 1.5].held == 0


def test_the_same_seed_is_the_same_picture_and_another_is_not():
    first, again, other = (picture("glare", 3.0, PASS, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def grey(*texts, width=900, height=300, module=4):
    return np.asarray(draw(list(texts), width, height, module).convert("L"))


def test_codes_of_one_picture_come_in_reading_order_and_once():
    assert codes.read(grey("RIGHT", "LEFT")) == [b"RIGHT", b"LEFT"]
    assert codes.read(np.rot90(grey("A", "B"), 2).copy()) == [b"B", b"A"]
    assert codes.read(np.rot90(grey("A", "B")).copy()) == [b"B", b"A"]  # the second is on top
    assert codes.read(grey("SAME", "SAME")) == [b"SAME"]


def test_long_and_many_codes_are_cut():
    assert codes.read(grey("X" * 1500, width=800, height=800, module=4)) == [b"X" * MAX_CODE]
    many = np.vstack([grey(*(f"{row}{n}" for n in range(6)), width=900, height=150) for row in "abc"])
    assert len(codes.read(many)) == MAX_CODES < 18


def test_a_picture_without_a_code_is_looked_at_in_each_way_in_turn_and_rarely():
    now, looks = [0.0], []
    reader = codes.Reader(lambda: now[0])

    def way(name):
        def made(p):
            looks.append((name, now[0]))
            now[0] += 0.1  # a second look takes long
            return p

        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codes, "SECOND_LOOKS", (way("first"), way("second")))
        blank = np.full((60, 80), 128, np.uint8)
        while now[0] < 4:
            reader.read(blank)
            now[0] += 0.01
        assert [name for name, _ in looks[:4]] == ["first", "second", "first", "second"]
        assert len(looks) * 0.1 <= codes.EFFORT * 4 + 0.1
        looks.clear()
        reader.read(grey("HERE"))
        assert looks == []
        now[0] += 10
        reader.read(np.zeros((1500, 1500), np.uint8))  # larger than full HD
        assert looks == []
