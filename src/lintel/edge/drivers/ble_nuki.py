"""A Nuki lock over a link: sealed questions, a fresh challenge for each action, states as they are pushed.

The lock keeps no command ids: what became of an action whose answer was lost is told by its states before and after.
A frame is never sent twice: the second one would be answered "bad nonce" and hide what the first one did.
"""

import asyncio
import math
import secrets
from collections.abc import Mapping
from typing import Final, TypeVar

from lintel.edge.ble import nuki
from lintel.edge.ble import nuki_messages as m
from lintel.edge.ble.words import Became, Command, KeyRefused, Moved, Seen
from lintel.edge.drivers.ble_link import Gone, Link
from lintel.edge.drivers.ble_talk import Own, Secrets
from lintel.edge.errors import BadFrame, Refused

ANSWER_S: Final = 4.0
MOVE_S: Final = 20.0
ASK_AGAIN_S: Final = 0.5
"""While a motor turns its state is asked for so often (s)."""
CHATTER: Final = 200
_APPLE: Final = 0x004C

T = TypeVar("T", bound=m.Message)


class NukiDialect:
    """How Nuki locks are spoken to; see `Dialect`. `ultra`: pairs by PIN, on a characteristic of its own."""

    def __init__(self, *, ultra: bool = False) -> None:
        self._ultra = ultra
        self._pairing = nuki.PAIRING_ULTRA if ultra else nuki.PAIRING

    def paired(self, own: Own) -> bool:
        """Our key, the lock's, and the name it gave us."""
        return all(own.get(name) is not None for name in ("own_private", "app_id", "lock_public", "auth_id"))

    def changed(self, makers: Mapping[int, bytes]) -> bool:
        """Bit 0 of the last byte of its beacon."""
        beacon = makers.get(_APPLE, b"")
        return len(beacon) == 23 and beacon[0] == 0x02 and bool(beacon[-1] & 1)

    async def open(self, link: Link, own: Own) -> "NukiTalk":
        """Ask for its states: only who has the keys gets an answer. Raises as in `Dialect`."""
        private, lock, auth = own.get("own_private"), own.get("lock_public"), own.get("auth_id")
        if private is None or lock is None or auth is None:
            raise Gone("not paired")
        talk = NukiTalk(link, nuki.Sealed(nuki.shared_key(lock, private), auth), own)
        await talk.begin()
        return talk

    def secret(self, text: str) -> bytes | None:
        """The lock's PIN, if it has one; an Ultra needs its six digits."""
        if text.isascii() and text.isdigit() and len(text) <= 6:
            return text.encode()
        return b"" if not text and not self._ultra else None

    def first_keys(self, own: Own) -> Secrets:
        """Our own key and number for this lock, made once."""
        made = {"own_private": secrets.token_bytes(32), "app_id": secrets.token_bytes(4)}
        return {name: value for name, value in made.items() if own.get(name) is None}

    async def pair(self, link: Link, own: Own, secret: bytes) -> Secrets:
        """Pair while its button was held. Raises as in `Dialect`; NotYet while it was not."""
        private, app = own.get("own_private"), own.get("app_id")
        if private is None or app is None:
            raise Gone("no key to pair with")
        pairing = nuki.Pairing(
            private, int.from_bytes(app, "little"), own.name, secrets.token_bytes, self._ultra, int(secret or b"0")
        )
        clear, sealed = nuki.Assembler(sealed=False), nuki.Assembler(sealed=True)

        def hear(piece: bytes) -> bytes | None:
            return (sealed if pairing.sealed else clear).feed(piece)

        await link.subscribe(self._pairing, hear)
        step: bytes | nuki.Paired = pairing.begin()
        while isinstance(step, bytes):
            await link.write(self._pairing, step)
            step = pairing.take(await link.take(lambda said: said if isinstance(said, bytes) else None, ANSWER_S))
        return {"lock_public": step.lock, "auth_id": step.auth, "pin": secret or None}


class NukiTalk:
    """An open session; see `Talk`."""

    idle_s: float | None = None

    def __init__(self, link: Link, sealed: nuki.Sealed, own: Own) -> None:
        self._link, self._sealed, self._own = link, sealed, own
        self._assembler = nuki.Assembler(sealed=True)
        self._states: m.States | None = None
        self._busy = False
        self._chatter = 0

    async def begin(self) -> None:
        """Listen, and see how it stands."""
        await self._link.subscribe(nuki.USER, self._hear)
        await self._look()

    def _hear(self, piece: bytes) -> m.Message | None:
        message = self._assembler.feed(piece)
        if message is None:
            return None
        said = m.read(*self._sealed.open(message))
        if not isinstance(said, m.States) or self._busy:
            return said
        self._chatter += 1
        if self._chatter > CHATTER:
            raise BadFrame("the lock talks too much")
        self._states = said
        self._own.heard(said.seen())
        return None

    async def _say(self, command: int, payload: bytes) -> None:
        await self._link.write(nuki.USER, self._sealed.seal(command, payload, secrets.token_bytes(24)))

    async def _ask(self, what: int, kind: type[T]) -> T:
        """Request Data, and the answer of this kind. Raises KeyRefused, or Gone with the lock's own reason."""
        self._link.forget()
        self._chatter, self._busy = 0, True
        try:
            await self._say(*m.ask(what))
            return await self._link.take(lambda said: _wanted(said, kind), ANSWER_S)
        finally:
            self._busy = False

    async def _look(self) -> m.States:
        self._states = await self._ask(nuki.STATES, m.States)
        return self._states

    async def look(self) -> Seen:
        """How the lock stands."""
        return (await self._look()).seen()

    async def prepare(self) -> float:
        """Nothing: how long a challenge lives is not documented."""
        return math.inf

    async def move(self, command: Command) -> Moved:
        """Fetch a challenge, send the action, follow it until it is complete."""
        app = int.from_bytes(self._own.get("app_id") or b"", "little")
        before = command.before = self._states
        nonce = (await self._ask(nuki.CHALLENGE, m.Nonce)).nonce
        if not command.still():
            return Moved(Became.NEVER, why="too late")
        self._link.forget()
        self._busy = True
        try:
            command.handed = True
            await self._say(*m.action(command.move, app, nonce))
            return await self._link.take(lambda said: self._progress(said, command, before), MOVE_S)
        finally:
            self._busy = False

    def _progress(self, said: object, command: Command, before: m.States | None) -> Moved | None:
        """What a message says of the action that is under way; None: it goes on."""
        if isinstance(said, m.States):
            self._states = said
            if said.lock in m.MOVING or said.completion in (None, 0xFF) or said.last_action != m.ACTIONS[command.move]:
                return None
            moved = m.judge(command.move, before, said)
            return moved if moved.became in (Became.DONE, Became.REFUSED) else None
        if isinstance(said, m.Status) and said.code == 0:
            return Moved(Became.DONE, self._states.seen() if self._states is not None else None)
        if isinstance(said, m.ErrorReport):
            if said.code in m.DOUBTFUL:
                raise Gone(f"the lock could not use a frame: {said.why}")
            fault = said.why if said.code in m.MECHANICAL and said.code not in m.NOT_NOW else ""
            seen = Seen("jammed" if said.code == 0x42 else "unknown", low=said.code in m.BATTERY_LOW, fault=fault)
            return Moved(Became.NEVER if said.code in m.NOT_NOW else Became.REFUSED, seen if fault else None, said.why)
        return None

    async def became(self, command: Command) -> Moved:
        """Wait until the motor stands, then compare with how it stood before."""
        before = command.before if isinstance(command.before, m.States) else None
        until = self._own.now().mono + MOVE_S
        while True:
            now = await self._look()
            if now.lock not in m.MOVING or self._own.now().mono >= until:
                return m.judge(command.move, before, now)
            await asyncio.sleep(ASK_AGAIN_S)


def _wanted(said: object, kind: type[T]) -> T | None:
    if isinstance(said, kind):
        return said
    if isinstance(said, m.ErrorReport):
        if said.code in m.KEY_ERRORS:
            raise KeyRefused(f"the lock refused: {said.why}", proven=True)  # sealed with the key of this pairing
        raise Refused(f"the lock refused: {said.why}") if said.code != 0x45 else Gone("the lock is busy")
    return None
