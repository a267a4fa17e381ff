"""What a serial QR reader's profile says."""

from dataclasses import dataclass

from pydantic import ConfigDict

from lintel.edge.profiles.samples import Meaning


@dataclass(frozen=True, slots=True)
class SerialSpec:
    """The `[serial]` table."""

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")

    baud: int = 9600

    @property
    def has_commands(self) -> bool:
        """Whether the reader takes commands: then its profile needs an "out" sample."""
        return False

    def contradictions(self) -> list[tuple[str, str]]:
        """Key path and expectation of each pair of keys that does not fit together."""
        return []


def understand(spec: SerialSpec, data: bytes, *, piece: int = 0) -> list[Meaning]:
    """What the gateway makes of a stretch of the stream, in order."""
    return [{"code": data.decode("ascii"), "baud": spec.baud, "piece": piece}]


def compose(spec: SerialSpec, order: Meaning) -> bytes:
    """The bytes of a command; raises ValueError where the reader has no such command."""
    raise ValueError(f"{type(spec).__name__} has no command {order.get('command')!r}")
