"""A Yale or August lock over a link: two channels, one status question at a time, a move that is acknowledged twice.

The lock keeps no ids of commands: what became of a move whose answer was lost is told by its status before and after.
"""

import asyncio
import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from lintel.edge.ble import yale
from lintel.edge.ble.words import Became, Command, KeyRefused, Moved, Seen, WrongLock
from lintel.edge.drivers.ble_link import Denied, Gone, Link
from lintel.edge.drivers.ble_talk import Own, Secrets
from lintel.edge.errors import BadFrame

ANSWER_S: Final = 4.0
VOLTAGE_S: Final = 1.5
TAKEN_S: Final = 8.0
MOVE_S: Final = 12.0
ASK_AGAIN_S: Final = 0.5


class YaleDialect:
    """How Yale and August locks are spoken to; see `Dialect`."""

    def paired(self, own: Own) -> bool:
        """The off-line key and its slot are there."""
        return own.get("offline_key") is not None

    def changed(self, makers: Mapping[int, bytes]) -> bool:  # noqa: ARG002  see Dialect
        """Never: what its advertisement tells is not public."""
        return False

    async def open(self, link: Link, own: Own) -> "YaleTalk":
        """Agree on a session key. Raises as in `Dialect`."""
        secret = own.get("offline_key")
        if secret is None:
            raise Gone("no key")
        talk = YaleTalk(link, own, await _agree(link, secret))
        await talk.begin()
        return talk

    def secret(self, text: str) -> bytes | None:
        """The off-line key and the number of its slot: 17 bytes as hex."""
        try:
            secret = bytes.fromhex(text)
        except ValueError:
            return None
        return secret if len(secret) == yale.KEY_BYTES + 1 else None

    def first_keys(self, own: Own) -> Secrets:  # noqa: ARG002  see Dialect
        """None of our own: the lock's maker has made it."""
        return {}

    async def pair(self, link: Link, own: Own, secret: bytes) -> Secrets:  # noqa: ARG002  see Dialect
        """See whether the key is right. Raises as in `Dialect`."""
        await _agree(link, secret)
        return {"offline_key": secret}


async def _agree(link: Link, secret: bytes) -> yale.Normal:
    key, slot = secret[: yale.KEY_BYTES], secret[yale.KEY_BYTES]
    handshake = yale.Handshake(key, slot, secrets.token_bytes(8), secrets.token_bytes(8))
    await link.subscribe(yale.SECURE_READ, lambda data: data)
    try:
        await link.write(yale.SECURE_WRITE, handshake.first)
        answer = handshake.second(await link.take(_raw, ANSWER_S))
        await link.write(yale.SECURE_WRITE, answer)
        return handshake.done(await link.take(_raw, ANSWER_S))
    except Denied as error:  # so these locks answer who has not the key
        raise KeyRefused(f"the lock refused: {error}") from None
    except BadFrame:  # it took our frame, and has not the key all the same
        raise WrongLock("the lock can not prove its key") from None


def _raw(said: object) -> bytes | None:
    return said if isinstance(said, bytes) else None


class YaleTalk:
    """An open session; see `Talk`."""

    idle_s: float | None = None

    def __init__(self, link: Link, own: Own, channel: yale.Normal) -> None:
        self._link, self._own, self._channel = link, own, channel
        self._seen: Seen | None = None

    async def begin(self) -> None:
        """Listen, and see how it stands."""
        await self._link.subscribe(yale.READ, self._hear)
        await self._status()

    def _hear(self, data: bytes) -> yale.Answer:
        return self._channel.open(data)

    async def _ask(self, what: int, within: float = ANSWER_S) -> bytes:
        self._link.forget()
        await self._link.write(yale.WRITE, self._channel.seal(yale.normal_frame(yale.GET_STATUS, what)))
        status = await self._link.take(_of(yale.GET_STATUS, 0xBB, what), within)
        return status.value

    async def _status(self) -> Seen:
        """Lock and door, asked apart: some models answer the common question wrongly."""
        lock, door = (await self._ask(yale.LOCK_STATUS))[0], (await self._ask(yale.DOOR_STATUS))[0]
        self._seen = Seen(yale.LOCK_STATES.get(lock, "unknown"), yale.DOOR_STATES.get(door, "unknown"))
        return self._seen

    async def look(self) -> Seen:
        """With the voltage, which the L2 family does not tell: never asked while somebody waits at the door."""
        seen = await self._status()
        try:
            supply = int.from_bytes((await self._ask(yale.VOLTAGE, VOLTAGE_S))[:2], "little")
        except Gone:
            if self._link.over:
                raise
            return seen
        return replace(seen, supply_mv=supply or None)

    async def prepare(self) -> float:
        """Nothing."""
        return math.inf

    async def move(self, command: Command) -> Moved:
        """Send the move, wait until it is taken and done."""
        command.before = self._seen if self._seen is not None else await self._status()
        frame, opcode = yale.move_frame(command.move), yale.opcode_of(command.move)
        self._link.forget()
        if not command.still():
            return Moved(Became.NEVER, why="too late")
        command.handed = True
        await self._link.write(yale.WRITE, self._channel.seal(frame))
        await self._link.take(_of(opcode, 0xAA), TAKEN_S)
        moved = yale.moved(await self._link.take(_of(opcode, 0xBB), MOVE_S))
        self._seen = None  # asked anew before the next one
        return moved

    async def became(self, command: Command) -> Moved:
        """Wait until the motor stands, then compare with how it stood before."""
        before = command.before if isinstance(command.before, Seen) else None
        until = self._own.now().mono + MOVE_S
        while True:
            now = await self._status()
            if now.lock not in yale.MOVING or self._own.now().mono >= until:
                return yale.judge(command.move, before, now)
            await asyncio.sleep(ASK_AGAIN_S)


def _of(opcode: int, kind: int, what: int | None = None) -> Callable[[object], yale.Answer | None]:
    def wanted(said: object) -> yale.Answer | None:
        fits = isinstance(said, yale.Answer) and (said.opcode, said.kind) == (opcode, kind)
        return said if fits and isinstance(said, yale.Answer) and what in (None, said.what) else None

    return wanted
