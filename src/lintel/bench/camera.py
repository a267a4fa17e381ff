"""`lintel bench camera`: which share of generated pictures is read, by distortion and size of a module, and how fast.

Each picture holds a whole visitor pass (122 characters). "First" is one look at a picture as it is; "held" is what a
code gets that is held before the camera: a second look in each way, in turn.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from lintel.bench import percentile
from lintel.bench.camera_pictures import DISTORTIONS, MODULES, picture
from lintel.edge.recognition.codes import SECOND_LOOKS, read

PASS: Final = "L1:" + "A7ZK0Q4+$P" * 11 + "%:9.8/7KZ"
assert len(PASS) == 122  # noqa: S101  as docs/pass-format.md


@dataclass(slots=True)
class Cell:
    """Pictures of one distortion and size: how many, how many were read at the first look, and when held."""

    pictures: int = 0
    first: int = 0
    held: int = 0


@dataclass(slots=True)
class Result:
    """All cells by distortion and module (pixels), and the times of each look in milliseconds."""

    cells: dict[tuple[str, float], Cell] = field(default_factory=dict)
    first_ms: list[float] = field(default_factory=list)
    second_ms: list[float] = field(default_factory=list)
    wrong: int = 0
    """Pictures that were read as something that they do not hold."""


def look(
    distortions: Sequence[str], modules: Sequence[float], count: int, say: Callable[[str], None] = lambda _: None
) -> Result:
    """Read `count` pictures of each distortion and size."""
    result, wanted = Result(), [PASS.encode()]
    for distortion in distortions:
        for module in modules:
            cell = result.cells[distortion, module] = Cell(count)
            for seed in range(count):
                made = picture(distortion, module, PASS, seed)
                start = time.perf_counter()
                found = read(made)
                result.first_ms.append((time.perf_counter() - start) * 1000)
                cell.first += found == wanted
                for way in () if found else SECOND_LOOKS:
                    start = time.perf_counter()
                    found = read(way(made))
                    result.second_ms.append((time.perf_counter() - start) * 1000)
                    if found:
                        break
                cell.held += found == wanted
                result.wrong += found not in ([], wanted)
        say(f"{distortion}: {sum(c.held for (d, _), c in result.cells.items() if d == distortion)}")
    return result


def measure(count: int = 20, say: Callable[[str], None] = lambda _: None) -> Mapping[str, object]:
    """Shares (0 to 1) by distortion, and by distortion and module when held; times in milliseconds."""
    result = look(list(DISTORTIONS), MODULES, count, say)
    figures: dict[str, object] = {"camera_pictures": sum(c.pictures for c in result.cells.values())}
    for share in ("first", "held"):
        read_ = sum(getattr(c, share) for c in result.cells.values())
        figures[f"camera_{share}_share"] = round(read_ / sum(c.pictures for c in result.cells.values()), 3)
    for name, times in (("first", result.first_ms), ("second", result.second_ms)):
        times.sort()
        figures[f"camera_{name}_p50_ms"] = round(percentile(times, 0.5), 1)
        figures[f"camera_{name}_p99_ms"] = round(percentile(times, 0.99), 1)
    figures["camera_wrong"] = result.wrong
    for (distortion, module), cell in result.cells.items():
        figures[f"{distortion} {module:g} px"] = f"{cell.first / cell.pictures:.2f} {cell.held / cell.pictures:.2f}"
    return figures
