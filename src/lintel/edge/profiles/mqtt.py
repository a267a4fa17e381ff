"""What an MQTT terminal's profile says."""

from dataclasses import dataclass

from pydantic import ConfigDict

from lintel.edge.profiles.samples import Meaning


@dataclass(frozen=True, slots=True)
class MqttSpec:
    """The `[mqtt]` table. Placeholder until the MQTT half lands."""

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")

    @property
    def has_commands(self) -> bool:
        """Whether such a device takes orders: then its profile needs an "out" sample."""
        return False

    def contradictions(self) -> list[tuple[str, str]]:
        """Key path and expectation of each thing that only fits together wrongly."""
        return []


def understand(spec: MqttSpec, topic: str, data: bytes) -> list[Meaning]:
    """What the gateway makes of one message."""
    return [{"spec": type(spec).__name__, "topic": topic, "bytes": len(data)}]


def compose(spec: MqttSpec, order: Meaning) -> tuple[str, bytes]:
    """Topic and payload of an order; raises ValueError where the device has no such order."""
    raise ValueError(f"{type(spec).__name__} has no order {order.get('action')!r}")
