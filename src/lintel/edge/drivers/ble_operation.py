"""One state-changing command, carried out at most once: tried again only while nothing has left, else read back.

After its bytes were handed to the radio any failure leaves the outcome unknown. Then a new session asks the lock what
became of it. Only where the lock proves that it did not happen, and the deadline allows, does it leave a second time
(abuse case B6: three times at most).
"""

import asyncio
import logging
from typing import Final

from lintel.edge.ble.words import Became, Command, Moved
from lintel.edge.drivers.ble_link import Gone
from lintel.edge.drivers.ble_session import Session
from lintel.edge.errors import BadFrame, Refused
from lintel.edge.model import Outcome

log = logging.getLogger(__name__)

TIMES: Final = 3
"""How often one command may leave."""
READ_BACK_S: Final = 20.0
"""How long a lock is asked what became of a command (s), also after the deadline: the answer is worth having."""
PAUSE_S: Final = 0.25
"""Between two commands (s)."""


async def carry_out(
    session: Session, command: Command, deadline: float, *, urgent: bool = True
) -> tuple[Outcome, Moved]:
    """The outcome of a command at one lock, and what the lock said of it. `deadline` in monotonic seconds.

    `urgent`: it is an order's, which goes before background work and is not broken off for an order of another lock.
    """
    moved, ever = Moved(Became.NEVER), False
    for _ in range(TIMES):
        if not command.still():
            break
        command.handed = False
        try:
            talk = await session.open(deadline, urgent=urgent)
        except (Gone, BadFrame, Refused) as error:
            moved = Moved(Became.NEVER, moved.seen, str(error))
            break
        try:
            moved = await talk.move(command)
        except (Gone, BadFrame, Refused) as error:
            if not command.handed:
                moved = Moved(Became.NEVER, moved.seen, str(error))
                await session.close()
                continue
            log.info("%s: a command is read back: %s", session.device, error)
            moved = await _read_back(session, command, session.own.now().mono + READ_BACK_S, urgent=urgent)
        ever = ever or command.handed
        if moved.became is not Became.NEVER:
            return _OUTCOMES[moved.became], moved
        if command.still():
            await asyncio.sleep(PAUSE_S)
    return (Outcome.ORDER_EXPIRED if ever and not command.still() else Outcome.NOT_SENT), moved


async def _read_back(session: Session, command: Command, until: float, *, urgent: bool) -> Moved:
    """Ask in a new session: what the old one still held, a nonce or half a message, has died with it."""
    await session.close()
    while session.own.now().mono < until:
        try:
            return await (await session.open(until, urgent=urgent)).became(command)
        except Refused as error:
            return Moved(Became.UNKNOWN, why=str(error))
        except (Gone, BadFrame):
            await session.close()
            if session.key_lost:
                break  # it is dialled no more: there is nothing to wait for
    return Moved(Became.UNKNOWN, why="the lock did not come back to be asked")


_OUTCOMES: Final = {
    Became.DONE: Outcome.EXECUTED,
    Became.REFUSED: Outcome.REFUSED_BY_DEVICE,
    Became.UNKNOWN: Outcome.UNKNOWN_OUTCOME,
}
