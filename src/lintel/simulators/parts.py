"""What every virtual device has in common: options, a vocabulary of commands, events."""

import inspect
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import NoneType
from typing import Any, ClassVar, Literal, Protocol, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")
JsonMap = dict[str, Any]


class SimulatorError(Exception):
    """An option or command is wrong; the message says what is known instead."""


class Emit(Protocol):
    """Report an event. The host adds nothing but the line end."""

    def __call__(self, event: str, **fields: object) -> None:
        """Write one event."""


def opt(default: Any, text: str) -> Any:  # noqa: ANN401  like dataclasses.field
    """A dataclass field with a default and a line of help."""
    return field(default=default, metadata={"help": text})


def options_from(cls: type[T], values: Mapping[str, object]) -> T:
    """Build an options dataclass from JSON or command-line text. Raises SimulatorError for unknown or unfit values."""
    hints = get_type_hints(cls)
    names = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(names))
    if unknown:
        raise SimulatorError(f"unknown option {', '.join(unknown)}; known: {', '.join(names)}")
    return cls(**{name: _coerce(name, hints[name], value) for name, value in values.items()})


def _coerce(name: str, hint: Any, value: object) -> object:  # noqa: ANN401  a type expression
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise SimulatorError(f"{name} is one of {', '.join(map(str, get_args(hint)))}")
        return value
    kinds = get_args(hint) or (hint,)
    if NoneType in kinds and value in (None, "none", ""):
        return None
    kind = next(k for k in kinds if k is not NoneType)
    if kind is bool:
        if str(value).lower() not in ("true", "false", "1", "0", "yes", "no"):
            raise SimulatorError(f"{name} is true or false")
        return str(value).lower() in ("true", "1", "yes")
    if kind in (int, float, str):
        try:
            return kind(value)
        except (TypeError, ValueError):
            raise SimulatorError(f"{name} is of type {kind.__name__}") from None
    return value


@dataclass(frozen=True, slots=True)
class PartOptions:
    """Options of every device."""

    id: str = opt("device", "name of the device in commands and events")


class Part:
    """One virtual device. Its commands are its methods `do_NAME(**arguments)`; what they return is the answer."""

    kind: ClassVar[str] = ""
    options_class: ClassVar[type[PartOptions]] = PartOptions

    def __init__(self, options: PartOptions, emit: Emit) -> None:
        self.id = options.id
        self._emit = emit

    def emit(self, event: str, **more: object) -> None:
        """Report an event of this device with its monotonic time `t`."""
        self._emit(event, id=self.id, **({"t": time.monotonic()} | more))

    async def run(self) -> None:
        """Live until cancelled."""
        raise NotImplementedError

    async def power_off(self) -> None:
        """The plug is pulled: called once before the process ends."""

    async def typed(self, line: str) -> JsonMap:
        """What a line of plain text at the keyboard means."""
        name, _, rest = line.partition(" ")
        if rest:
            raise SimulatorError(f"{name!r} takes its arguments as JSON")
        return await self.command(name, {})

    async def command(self, name: str, arguments: JsonMap) -> JsonMap:
        """Execute one command. Raises SimulatorError with the known names or the expected arguments."""
        method = getattr(self, f"do_{name}", None)
        if method is None:
            known = sorted(n[3:] for n in dir(self) if n.startswith("do_"))
            raise SimulatorError(f"a {self.kind} does not know {name!r}; it knows {', '.join(known)}")
        try:
            inspect.signature(method).bind(**arguments)
        except TypeError as error:
            raise SimulatorError(f"{name}{inspect.signature(method)}: {error}") from None
        answer: JsonMap | None = await method(**arguments)
        return answer or {}
