"""A gateway without its store: when there has to be one, how long it lasts, and what it hands to the one after it."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lintel.edge.config import Config
from lintel.edge.drivers.base import Inlet
from lintel.edge.errors import Refused
from lintel.edge.gate import Gate
from lintel.edge.latch import NOTHING, Latch
from lintel.edge.model import ContactKind, Event, Notice, Order, Outcome
from lintel.edge.store import Store, standin

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Carried:
    """What is handed over: events, what fire has released, the lockdown.

    `over`: the doors that an operator has reset meanwhile. `lockdown`: door group -> whether it was locked or lifted.
    """

    events: Sequence[Event] = ()
    latch: Latch = NOTHING
    over: frozenset[str] = frozenset()
    lockdown: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NoSecret:
    """Stands in for the driver of a line whose password is away with the store. The others are not to wait for it."""

    why: str

    async def run(self, inlet: Inlet) -> None:  # noqa: ARG002  see Driver
        """Say so."""
        raise Refused(self.why)

    async def execute(self, order: Order) -> Outcome:  # noqa: ARG002  see Driver
        """Nothing leaves."""
        return Outcome.NOT_SENT


def must_run(config: Config) -> bool:
    """Whether something is wired that has to work without a store: an exit button or a fire input, on whatever line."""
    wired = (kind for d in config.device for kind, _ in config.profile(d).spec.contacts)
    return any(kind in (ContactKind.EXIT, ContactKind.FIRE) for kind in wired)


async def found(state: Path, every: float) -> list[tuple[Notice, str]]:
    """Wait for the store, looking every so many seconds; what there is to tell of it. Nothing but a cancel ends it."""
    why = ""
    while True:
        await asyncio.sleep(every)
        try:
            notices = await asyncio.to_thread(standin.found, state)
        except Exception as error:  # whatever broke there: exits and fire go on here, and it is tried again
            if why != (why := repr(error)):
                log.exception("the store can not be looked at")
            continue
        if notices is not None:
            return notices


def gathered(store: Store, gate: Gate) -> Carried:
    """What the next run has to know. Without its events, where even a database in memory fails."""
    events: Sequence[Event] = ()
    try:
        events = standin.events(store)
    except Exception:
        log.exception("what happened without a store is in no journal")
    return Carried(events, gate.fire.latch, frozenset(gate.fire.over), dict(store.allowlist.lockdown.said))


def keep(before: Carried, store: Store, gate: Gate) -> None:
    """Write down what happened without a store, and have the lockdown that was said then: at once, and durably."""
    for event in before.events:
        gate.ledger.note(event)
    for on, word in ((True, "on"), (False, "off")):
        if groups := sorted(group for group, wish in before.lockdown.items() if wish is on):
            store.allowlist.set_lockdown(groups, on=on)
            log.warning("lockdown %s, said while there was no store: %s", word, ", ".join(groups))
            gate.ledger.audit("lockdown", word, f"{' '.join(groups)}: said while there was no store")
