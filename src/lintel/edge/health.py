"""Counters, the Prometheus text, the status document, and sd_notify. Names of people and values never enter here."""

import os
import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lintel.edge.model import Fact, Notice, Outcome

_HELP = {
    "decisions": ("lintel_decisions_total", "Presentations decided, by door and reason", ("door", "reason")),
    "orders": ("lintel_orders_total", "Door orders, by door and outcome", ("door", "outcome")),
    "notices": ("lintel_notices_total", "Alarms and device notices, by device and word", ("device", "notice")),
    "duplicates": ("lintel_duplicates_total", "Records a device sent again, by device", ("device",)),
}

_STANDING = {
    Notice.DISK_FULL,
    Notice.STORAGE_READ_ONLY,
    Notice.COMMIT_FAILED,
    Notice.DB_DAMAGED,
    Notice.DB_RESTORED,
    Notice.CLOCK_UNKNOWN,
    Notice.AUDIT_BROKEN,
    Notice.FIRE,
}
"""Conditions of the box that last until something says they are over."""


@dataclass(slots=True)
class Health:
    """What the gateway counts about itself since it started."""

    counters: Counter[tuple[str, ...]] = field(default_factory=Counter)
    standing: dict[str, str] = field(default_factory=dict)
    measures: dict[tuple[str, str], float] = field(default_factory=dict)
    """The newest by (device, measure)."""

    links: dict[tuple[str, str], tuple[str, float]] = field(default_factory=dict)
    """Whether a device can be reached ("up", "lost") and since when, by (device, ""), or ("", line)."""
    seen: dict[str, float] = field(default_factory=dict)
    """When a device last said something (Unix seconds)."""

    def link(self, device: str, line: str = "") -> tuple[str, float | None]:
        """State and since when (Unix seconds; None: since the start)."""
        return self.links.get((device, line), ("up", None))

    def count(self, what: str, *labels: str, n: int = 1) -> None:
        """Count something; `what` is a key of the table above."""
        self.counters[(what, *labels)] += n

    def measure(self, device: str, what: str, value: float) -> None:
        """What a device said of its battery, signal or supply."""
        self.measures[device, what] = value

    def decided(self, door: str, reason: str) -> None:
        """One decision."""
        self.counters[("decisions", door, reason)] += 1

    def ordered(self, door: str, outcome: Outcome) -> None:
        """One order and what became of it."""
        self.counters[("orders", door, outcome)] += 1

    def notice(self, fact: Fact, at: float = 0.0) -> None:
        """One notice, at Unix seconds; conditions of the box stay visible until `cleared`."""
        if fact.notice in (Notice.COMMS_LOST, Notice.COMMS_RESTORED):
            state = "lost" if fact.notice is Notice.COMMS_LOST else "up"
            self.links[fact.device, "" if fact.device else fact.detail] = state, at
        self.counters[("notices", fact.device, fact.notice)] += fact.count
        if fact.notice in _STANDING:
            self.standing[fact.notice] = fact.detail

    def cleared(self, notices: Iterable[Notice]) -> None:
        """Conditions that are over."""
        for notice in notices:
            self.standing.pop(notice, None)

    def total(self, what: str) -> int:
        """Sum of a counter over all its labels."""
        return sum(n for (name, *_), n in self.counters.items() if name == what)

    def prometheus(self, gauges: Mapping[str, float]) -> str:
        """The text exposition format 0.0.4 of all counters and the given gauges."""
        lines: list[str] = []
        for what, (name, text, labels) in _HELP.items():
            lines += [f"# HELP {name} {text}", f"# TYPE {name} counter"]
            for (kind, *values), n in sorted(self.counters.items()):
                if kind == what:
                    pairs = ",".join(f'{k}="{_escape(v)}"' for k, v in zip(labels, values, strict=True))
                    lines.append(f"{name}{{{pairs}}} {n}")
        for what in sorted({what for _, what in self.measures}):
            lines.append(f"# TYPE lintel_device_{what} gauge")
            lines += [
                f'lintel_device_{what}{{device="{_escape(device)}"}} {value:g}'
                for (device, kind), value in sorted(self.measures.items())
                if kind == what
            ]
        for name, value in sorted(gauges.items()):
            lines += [f"# TYPE {name} gauge", f"{name} {value:g}"]
        return "\n".join(lines) + "\n"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def sd_notify(text: str) -> bool:
    """Tell the service manager something (`READY=1`, `WATCHDOG=1`, `STATUS=...`); False when there is none.

    Source: sd_notify(3). The packages for it are dead or heavy.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
            s.sendto(text.encode(), address)
    except OSError:
        return False
    return True
