"""What drivers speak into: the gate behind it, and the keeper of their own line."""

from dataclasses import dataclass

from lintel.edge.drivers.base import Receipt
from lintel.edge.errors import StoreError
from lintel.edge.gate import Gate
from lintel.edge.model import Contact, DoorState, Fact, Measure, Reading
from lintel.edge.supervisor import Keeper


@dataclass(frozen=True, slots=True)
class Inlet:
    """What a driver speaks into: the gate behind it, and the keeper of its own line."""

    gate: Gate
    keeper: Keeper
    durable: bool = True
    """Whether there is a store: without it no device may be told that its record is kept."""

    async def present(self, reading: Reading) -> Receipt:
        """See `drivers.base.Inlet`."""
        self.gate.health.seen[reading.device] = reading.at
        receipt = await self.gate.present(reading)
        return receipt if self.durable else _never(receipt)

    def offer(self, reading: Reading) -> Receipt | None:
        """See `drivers.base.Inlet`."""
        self.gate.health.seen[reading.device] = reading.at
        receipt = self.gate.offer(reading)
        return receipt if self.durable or receipt is None else _never(receipt)

    def report(self, fact: Fact) -> None:
        """See `drivers.base.Inlet`."""
        self.gate.ledger.report(fact)

    def door(self, state: DoorState) -> None:
        """See `drivers.base.Inlet`."""
        self._heard(state.device)
        self.gate.ledger.position(state)

    def contact(self, contact: Contact) -> None:
        """See `drivers.base.Inlet`."""
        self._heard(contact.device)
        self.gate.contact(contact)

    def measure(self, device: str, what: Measure, value: float) -> None:
        """See `drivers.base.Inlet`."""
        self._heard(device)
        self.gate.health.measure(device, what, value)

    def _heard(self, device: str) -> None:
        self.gate.health.seen[device] = self.gate.clock.now().wall

    def up(self) -> None:
        """See `drivers.base.Inlet`."""
        self.keeper.up()
        self.gate.fire.line_up()


def _never(receipt: Receipt) -> Receipt:
    """A receipt that fails: what is noted without a store is not durable, so the device has to send it again."""
    never: Receipt = receipt.get_loop().create_future()

    def done(_: Receipt) -> None:
        if not never.done():
            never.set_exception(StoreError("commit_failed", "there is no store to keep it in"))

    receipt.add_done_callback(_seen)
    receipt.add_done_callback(done)
    return never


def _seen(receipt: Receipt) -> None:
    """Nobody else looks at how it ended."""
    if not receipt.cancelled():
        receipt.exception()
