"""What the demo shows: a live table in a terminal, plain lines elsewhere, and a summary at the end."""

import contextlib
import time
from collections import Counter, deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lintel.demo.community import DOORS
from lintel.demo.world import Line
from lintel.edge.text import tr

if TYPE_CHECKING:
    from lintel.demo.run import Result

LINES = 12


class View:
    """The demo's face. `quiet`: nothing but the caller's JSON goes to stdout."""

    def __init__(self, seconds: float, *, quiet: bool) -> None:
        self._console = Console(quiet=quiet, highlight=False)
        self._recent: deque[Line] = deque(maxlen=LINES)
        self._opened: Counter[str] = Counter()
        self._denied: Counter[str] = Counter()
        self._end = time.monotonic() + seconds
        self._seconds = seconds
        self._live: Live | None = None

    def say(self, en: str, zh: str) -> None:
        """One line about what happens."""
        self._console.print(tr(en, zh))

    def show(self, line: Line) -> None:
        """One entry."""
        self._recent.append(line)
        (self._opened if line.opened else self._denied)[line.door.id] += 1
        if self._live is None:
            self._console.print(_text(line))
        else:
            self._live.update(self._screen())

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """Draw over the same place while the block runs, where there is a terminal."""
        self._end = time.monotonic() + self._seconds
        if not self._console.is_terminal:
            yield
            return
        with Live(self._screen(), console=self._console, refresh_per_second=4) as self._live:
            yield
        self._live = None

    def _screen(self) -> Group:
        doors = Table(box=None, pad_edge=False)
        for name in (tr("door", "门"), tr("opened", "开门"), tr("denied", "拒绝")):
            doors.add_column(name, justify="left" if name in ("door", "门") else "right")
        for door in DOORS:
            doors.add_row(door.name, str(self._opened[door.id]), str(self._denied[door.id]))
        left = max(0, round(self._end - time.monotonic()))
        head = Text(tr(f"Lintel demo, {left} s left, Ctrl-C stops", f"Lintel 演示,剩余 {left} 秒,Ctrl-C 停止"), "bold")
        return Group(head, doors, Text(), *(_text(line) for line in self._recent))

    def summary(self, result: "Result", notices: Counter[str]) -> None:
        """The books at the end."""
        table = Table(box=None, show_header=False, pad_edge=False)
        rows = [
            (tr("entries", "进出请求"), result.entries),
            (tr("granted", "放行"), result.granted),
            (tr("doors opened", "开门"), result.opened),
            (tr("lost", "丢失"), result.lost),
            (
                tr("presentation to release, p50 / p99", "从识读到开锁 p50 / p99"),
                f"{result.p50_ms} / {result.p99_ms} ms",
            ),
        ]
        rows += [(f"  {tr('denied', '拒绝')} {reason}", n) for reason, n in sorted(result.denied.items())]
        rows += [(f"  {tr('scene', '场景')} {name}", n) for name, n in sorted(result.scenes.items())]
        rows += [(f"  {tr('notice', '通知')} {word}", n) for word, n in sorted(notices.items())]
        for name, value in rows:
            table.add_row(name, str(value))
        self._console.print()
        self._console.print(table)
        played = len(result.scenes)
        if result.held:
            verdict = tr(f"all {played} scenes played, every expectation held", f"{played} 个场景全部演完,一切符合预期")
        elif result.wrong or result.lost:
            verdict = tr("NOT as expected", "与预期不符")
        else:
            missing = ", ".join(result.unplayed)
            verdict = tr(f"stopped before these scenes: {missing}", f"提前停止,以下场景未演:{missing}")
        self._console.print(Text(verdict, "bold green" if result.held else "bold red"))


def _text(line: Line) -> Text:
    ms = f"{line.ms:6.1f} ms" if line.ms is not None else " " * 9
    mark = ("✔", "green") if line.opened else ("✘", "yellow")
    style = mark[1] if line.right else "bold red"
    return Text(f"{mark[0]} {ms}  {line.door.id:<11} {line.reason:<19} {line.who}", style)
