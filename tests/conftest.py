"""Rules for every test: nothing is skipped in CI, nothing is left running, long campaigns only when asked for."""

import os
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

os.environ.pop("PYTHONASYNCIODEBUG", None)  # debug mode changes timings, and what is tested is what runs

GRACE = 3.0
"""How long a thread or process that was told to end may take (s)."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the longer campaigns too")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: a longer campaign, run by './lintel test --long'")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long campaigns that nobody asked for are deselected: not skipped, so that a skip always means a hole."""
    out = [] if config.getoption("--long") else [item for item in items if item.get_closest_marker("long")]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get("CI") and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where everything must run: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


def _children() -> set[str]:
    """Living child processes, each as "pid program"."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            pids = (task / "children").read_text().split()
        except OSError:  # the thread ended meanwhile, or the kernel does not tell
            continue
        for pid in pids:
            try:
                name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition(" (")[2].rpartition(") ")
                words = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if rest[0] != "Z" and b"multiprocessing.resource_tracker" not in words:
                found.add(f"{pid} {name}")
    return found


@pytest.fixture(autouse=True)
def _leaves_nothing_behind() -> Iterator[None]:
    """Fail a test that leaves a thread or a child process running."""
    threads, children = set(threading.enumerate()), _children()
    yield
    end = time.monotonic() + GRACE
    while True:
        left = [t.name for t in threading.enumerate() if t not in threads] + sorted(_children() - children)
        if not left or time.monotonic() > end:
            break
        time.sleep(0.01)
    assert not left, f"left running: {', '.join(left)}"


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function that finds TCP ports of the loopback that nobody listens on."""

    def find() -> int:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            return int(s.getsockname()[1])

    return find


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """An empty state directory with the rights that systemd gives it."""
    path = tmp_path / "state"
    path.mkdir(mode=0o700)
    return path
