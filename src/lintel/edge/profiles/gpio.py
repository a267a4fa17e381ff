"""The `[gpio]` table of a profile: what is wired to one line of a GPIO chip, and what its levels mean.

Names and meanings of `bias`, `drive` and `active_low` are those of the Linux GPIO user-space API v2 (libgpiod 2,
`line_settings`).
"""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field

from lintel.edge.contacts import LONGEST, SHORTEST, Debounce
from lintel.edge.model import ContactKind, Wiring
from lintel.edge.profiles.fields import STRICT
from lintel.edge.profiles.samples import Meaning

Role = Literal["relay", "door_contact", "exit", "fire", "tamper"]
Bias = Literal["as_is", "disabled", "pull_up", "pull_down"]
Drive = Literal["push_pull", "open_drain", "open_source"]

HIGH: Final = {"high": True, "low": False}
_WORDS: Final = {"door_contact": ("closed", "open")}
"""What inactive and active mean where it is not just that."""


@dataclass(frozen=True, slots=True)
class GpioSpec:
    """One line of a chip.

    `active_low`: the line is active while its voltage is low. Active means: relay driven; door open; button pressed;
    fire; cover open. `fail_safe`: the lock is locked while driven (a magnet), so that without power, and without this
    program, it is unlocked. `debounce`: where an input settles; the kernel does it for every chip.
    `relock_on_open_s`: a pulse ends so long after the contact of its door has opened; 0: it runs to its end.
    `unsupervised`: said where a cut wire looks like rest; see `cut_wire`.
    """

    __pydantic_config__ = STRICT

    role: Role
    active_low: bool = False
    bias: Bias = "as_is"
    drive: Drive = "push_pull"
    debounce_ms: Annotated[int, Field(ge=0, le=1000)] = 30
    debounce: Literal["kernel", "software"] = "kernel"
    fail_safe: bool = False
    relock_on_open_s: Annotated[float, Field(ge=0, le=10)] = 0.0
    unsupervised: bool = False

    @property
    def hears(self) -> bool:
        """Whether the line is an input."""
        return self.role != "relay"

    @property
    def orders(self) -> tuple[str, ...]:
        """What the gateway ever says, by name: each needs a sample."""
        return () if self.hears else ("open", "hold", "release")

    @property
    def channels(self) -> int:
        """How many locks it can open."""
        return 0 if self.hears else 1

    @property
    def contacts(self) -> frozenset[Wiring]:
        """Which contacts it can state. What a door's switch says is none."""
        return frozenset() if self.role in ("relay", "door_contact") else frozenset({(ContactKind(self.role), 0)})

    def driven(self, *, unlocked: bool) -> bool:
        """Whether the relay is driven: a fail-secure lock is driven to unlock it, a fail-safe one to lock it."""
        return unlocked != self.fail_safe

    @property
    def cut_wire(self) -> bool | None:
        """What an input reads with its wire cut: active or not; None where a resistor outside decides."""
        return cut_wire(self.bias, active_low=self.active_low)


def cut_wire(bias: str, *, active_low: bool) -> bool | None:
    """As `GpioSpec.cut_wire`."""
    high = {"pull_up": True, "pull_down": False}.get(bias)
    return None if high is None else high != active_low


def understand(spec: GpioSpec, topic: str, data: bytes, piece: int) -> list[Meaning]:  # noqa: ARG001  see Profile
    """What an input's levels mean: "low; 0 high; 1200 low" is the start level, then each change after so many ms."""
    start, *changes = data.decode("ascii", "replace").split(";")
    word = start.strip()
    if not spec.hears or word not in HIGH:
        return [{"bad": "no level"}]
    line = Debounce(spec.debounce_ms / 1000)
    line.start(HIGH[word] != spec.active_low)
    told: list[Meaning] = [_meaning(spec, bool(line.level))]
    for change in changes:
        ms, _, word = change.strip().partition(" ")
        if not ms.isdecimal() or word not in HIGH:
            return [{"bad": "no level"}]
        at = int(ms) / 1000
        told += _settled(spec, line, at)
        line.edge(HIGH[word] != spec.active_low, at)
    return told + _settled(spec, line, float("inf"))


def _settled(spec: GpioSpec, line: Debounce, now: float) -> list[dict[str, str | int]]:
    at = line.deadline
    return [_meaning(spec, bool(line.level)) | {"ms": round(at * 1000)}] if at is not None and line.due(now) else []


def _meaning(spec: GpioSpec, active: bool) -> dict[str, str | int]:  # noqa: FBT001  a level is a truth value
    return {spec.role: _WORDS.get(spec.role, ("inactive", "active"))[active]}


def compose(spec: GpioSpec, order: Meaning) -> tuple[str, bytes]:
    """The levels of an order, as a sample writes them; ValueError where the line has no such order."""
    command = order.get("command")
    if command not in spec.orders:
        raise ValueError(f"expected 'command' to be one of {', '.join(spec.orders)}")
    rest, open_ = (_level(spec, unlocked=unlocked) for unlocked in (False, True))
    if command != "open":
        return "", {"hold": open_, "release": rest}[str(command)].encode()
    seconds = order.get("seconds")
    if not isinstance(seconds, int | float) or not SHORTEST <= seconds <= LONGEST:
        raise ValueError(f"expected 'seconds' from {SHORTEST:g} to {LONGEST:g} in the order")
    return "", f"{open_}; {round(seconds * 1000)} {rest}".encode()


def _level(spec: GpioSpec, *, unlocked: bool) -> str:
    return "high" if spec.driven(unlocked=unlocked) != spec.active_low else "low"
