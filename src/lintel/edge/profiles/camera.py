"""The `[camera]` table of a reader's profile, and what its frames mean."""

from dataclasses import dataclass

from lintel.edge.profiles.fields import STRICT
from lintel.edge.profiles.samples import Meaning


@dataclass(frozen=True, slots=True)
class CameraSpec:
    """A reader on an RS-485 bus. `outputs`: relays that can be a door's lock."""

    __pydantic_config__ = STRICT

    outputs: int = 0

    @property
    def orders(self) -> tuple[str, ...]:
        """What the gateway ever says, by name: each needs a sample."""
        return ()

    @property
    def channels(self) -> int:
        """How many locks it can open."""
        return self.outputs


def understand(spec: CameraSpec, topic: str, data: bytes, piece: int) -> list[Meaning]:
    """What the gateway makes of a frame from such a reader."""
    raise NotImplementedError


def compose(spec: CameraSpec, order: Meaning) -> tuple[str, bytes]:
    """The frame of an order; ValueError where the reader has no such order."""
    raise NotImplementedError
