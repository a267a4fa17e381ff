"""What the durability tests share: the seed, a place for failing states, and one line per figure."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fault.explore import scratch
from tests.fault.syntax import TraceError
from tests.fault.trace import strace

SEED = int(os.environ.get("LINTEL_SEED", "20251"))


@pytest.fixture(scope="session")
def seed() -> int:
    """The same in every run, unless LINTEL_SEED says another one."""
    return SEED


@pytest.fixture(scope="module")
def room() -> Iterator[Path]:
    """A scratch directory in memory, resolved: strace shows real paths."""
    with scratch() as path:
        yield path


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    """Where failing states are kept; LINTEL_FAULT_DUMP keeps them outside pytest's own directories."""
    return Path(os.environ.get("LINTEL_FAULT_DUMP", tmp_path / "failing"))


@pytest.fixture(scope="session")
def traced() -> None:
    """strace works here. A skip on a developer's machine; in CI a skip is a failure."""
    try:
        strace()
    except TraceError as error:
        pytest.skip(str(error))


@pytest.fixture
def figure(capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Print one line per figure, past pytest's capture."""

    def tell(name: str, *, bar: str, measured: str, control: str) -> None:
        with capsys.disabled():
            print(f"\n{name}: bar {bar}; measured {measured}; control {control}; seed {SEED}")

    return tell
