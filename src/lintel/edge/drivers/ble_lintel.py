"""The Lintel lock over a link: handshake, sealed questions and answers, one command under a challenge fetched before.

A challenge is kept ready while the connection is kept, so an unlock is one write and its answers. It is used once and
dies with the connection, on both sides (abuse case A17).
"""

import math
import secrets
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from lintel.edge.ble import lintel_lock as core
from lintel.edge.ble import lintel_messages as m
from lintel.edge.ble.fragments import Assembler, cut
from lintel.edge.ble.words import Became, Command, Moved, NotYet, Seen
from lintel.edge.drivers.ble_link import Gone, Link
from lintel.edge.drivers.ble_talk import Own, Secrets
from lintel.edge.errors import BadFrame
from lintel.edge.model import ClockState

ANSWER_S: Final = 3.0
MOVE_S: Final = 20.0
"""How long a motor may take (s)."""
CHATTER: Final = 200
"""States that nobody asked for, between two questions."""
STALE_S: Final = 0.5
"""A challenge is not used in the last moments of its life: the lock counts by its own clock (s)."""
SHORTEST_S: Final = 1.0
LONGEST_S: Final = 10.0
"""What is believed of a life that a lock announces (s): else it would be asked without pause, or a stale one used."""

T = TypeVar("T", bound=m.Message)


class LintelDialect:
    """How Lintel locks are spoken to; see `Dialect`."""

    def paired(self, own: Own) -> bool:
        """Both keys are there."""
        return own.get("own_seed") is not None and own.get("lock_key") is not None

    def changed(self, makers: Mapping[int, bytes]) -> bool:  # noqa: ARG002  see Dialect
        """Never: its advertisement tells nothing."""
        return False

    async def open(self, link: Link, own: Own) -> "LintelTalk":
        """Handshake. Raises as in `Dialect`."""
        seed, lock = own.get("own_seed"), own.get("lock_key")
        if seed is None or lock is None:
            raise Gone("not paired")
        opening = core.Handshake(seed, lock, secrets.token_bytes(32))
        wire = await _Wire.start(link)
        await wire.say(opening.hello)
        await wire.say(opening.answer(await wire.clear()))
        talk = LintelTalk(wire, opening.channel(), own)
        await talk.begin()
        return talk

    def secret(self, text: str) -> bytes | None:
        """The 16 bytes that are printed on the lock, as hex."""
        try:
            secret = bytes.fromhex(text)
        except ValueError:
            return None
        return secret if len(secret) == core.SECRET_BYTES else None

    def first_keys(self, own: Own) -> Secrets:
        """Our own key for this lock, made once."""
        return {} if own.get("own_seed") else {"own_seed": secrets.token_bytes(32)}

    async def pair(self, link: Link, own: Own, secret: bytes) -> Secrets:
        """The lock's key. Raises as in `Dialect`."""
        seed = own.get("own_seed")
        if seed is None:
            raise Gone("no key to pair with")
        if not m.read_info(await link.read(core.INFO)).pairing_open:
            raise NotYet("its pairing window is not open")
        pairing = core.Pairing(core.public_of(seed), own.name.encode()[:16], secret, secrets.token_bytes(32))
        wire = await _Wire.start(link)
        await wire.say(pairing.hello)
        await wire.say(pairing.answer(await wire.clear()))
        return {"lock_key": pairing.paired(await wire.clear())}


class _Wire:
    """Messages in fragments, on the two characteristics. Until a channel is there they are kept as they are."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.channel: core.Channel | None = None
        self.unasked: Callable[[m.Message], m.Message | None] = lambda said: said
        self._size = link.room(core.TX)
        self._assembler = Assembler()

    @classmethod
    async def start(cls, link: Link) -> "_Wire":
        wire = cls(link)
        await link.subscribe(core.RX, wire._hear)
        return wire

    def _hear(self, fragment: bytes) -> bytes | m.Message | None:
        message = self._assembler.feed(fragment)
        if message is None or self.channel is None:
            return message
        return self.unasked(m.read(self.channel.open(message)))

    async def say(self, message: bytes) -> None:
        for fragment in cut(message, self._size):
            await self.link.write(core.TX, fragment)

    async def order(self, message: bytes, command: Command) -> bool:
        """Say it while there is time; False: not all of it, and with a part of it the lock can do nothing."""
        *first, last = cut(message, self._size)
        for fragment in first:
            if not command.still():
                return False
            await self.link.write(core.TX, fragment)
        if not command.still():
            return False
        command.handed = True
        await self.link.write(core.TX, last)
        return True

    async def clear(self) -> bytes:
        return await self.link.take(lambda said: said if isinstance(said, bytes) else None, ANSWER_S)


class LintelTalk:
    """An open session; see `Talk`."""

    def __init__(self, wire: _Wire, channel: core.Channel, own: Own) -> None:
        self._wire, self._link, self._own = wire, wire.link, own
        self._channel = wire.channel = channel
        wire.unasked = self._unasked
        self._looking, self._chatter = False, 0
        self._nonce: bytes | None = None
        self._nonce_until = -math.inf
        self._clock_set = False
        self.idle_s: float | None = None

    async def begin(self) -> None:
        """The lock's READY. What was heard before the channel was there is opened now."""
        first = await self._link.take(self._opened, ANSWER_S)
        if not isinstance(first, m.Ready):
            raise BadFrame("the lock is not ready")
        self.idle_s = float(first.idle_s) or None
        now = self._own.now()
        if now.state is ClockState.SYNCED and m.read_info(await self._link.read(core.INFO)).clock:
            await self._say(m.set_time(int(now.wall)))
            self._clock_set = True

    def _opened(self, said: object) -> m.Message:
        return m.read(self._channel.open(said)) if isinstance(said, bytes) else said  # type: ignore[return-value]

    async def _say(self, inner: bytes) -> None:
        await self._wire.say(self._channel.seal(inner))

    async def _ask(self, inner: bytes, kind: type[T]) -> T:
        self._link.forget()
        self._chatter = 0
        self._looking = kind is m.State
        await self._say(inner)
        return await self._hear(kind, ANSWER_S)

    async def _hear(self, kind: type[T], within: float) -> T:
        def wanted(said: object) -> T | None:
            if isinstance(said, kind):
                return said
            if isinstance(said, m.Error):
                raise Gone(f"the lock can not do that: {m.CODES.get(said.code, said.code)}")
            return None

        return await self._link.take(wanted, within)

    def _unasked(self, said: m.Message) -> m.Message | None:
        """A state that nobody asked for is told at once; all else is kept for whoever waits. BadFrame: too much."""
        if not isinstance(said, m.State) or self._looking:
            self._looking = False
            return said
        self._chatter += 1
        if self._chatter > CHATTER:
            raise BadFrame("the lock talks too much")
        self._own.heard(seen(said))
        return None

    async def look(self) -> Seen:
        """How the lock stands."""
        return seen(await self._ask(m.GET_STATE, m.State))

    async def prepare(self) -> float:
        """Keep a challenge ready."""
        challenge = await self._ask(m.GET_CHALLENGE, m.Challenge)
        life = min(max(challenge.lifetime_ms / 1000, SHORTEST_S), LONGEST_S) - STALE_S
        self._nonce, self._nonce_until = challenge.nonce, self._own.now().mono + life
        return life

    async def move(self, command: Command) -> Moved:
        """Send a command under a challenge, wait for its result."""
        if self._nonce is None or self._own.now().mono >= self._nonce_until:
            await self.prepare()
        nonce, self._nonce = self._nonce, None
        assert nonce is not None  # noqa: S101  fetched above
        not_after = command.not_after if self._clock_set else 0
        inner = m.command(command.id, command.move, nonce, hold_s=command.hold_s, not_after=not_after)
        self._link.forget()
        if not command.still():
            return Moved(Became.NEVER, why="too late")
        if not await self._wire.order(self._channel.seal(inner), command):
            self._link.end(Gone("a command was broken off"))  # its number is used up: this channel is out of step
            return Moved(Became.NEVER, why="too late")
        said = await self._verdict(command, ANSWER_S)  # of a command that it has had before: the result at once
        if isinstance(said, m.Accepted) and said.status == m.OK:
            said = await self._verdict(command, MOVE_S)
        if isinstance(said, m.Result):
            return _became(said)
        again = said.status in (m.CHALLENGE_GONE, m.BUSY)  # nothing moved, and nothing will
        return Moved(Became.NEVER if again else Became.REFUSED, why=m.CODES.get(said.status, "refused"))

    async def became(self, command: Command) -> Moved:
        """The lock keeps the results of its last commands."""
        self._link.forget()
        await self._say(m.query(command.id))
        answer = await self._verdict(command, MOVE_S)
        if isinstance(answer, m.Accepted) and answer.status == m.OK:
            answer = await self._verdict(command, MOVE_S)
        if isinstance(answer, m.Result):
            return _became(answer)
        if answer.status == m.NEVER_SEEN:
            return Moved(Became.NEVER, why="the lock never saw it")
        return Moved(Became.UNKNOWN, why=m.CODES.get(answer.status, "refused"))

    async def _verdict(self, command: Command, within: float) -> m.Result | m.Accepted:
        """What the lock says of this command; an answer to another one is dropped."""

        def wanted(said: object) -> m.Result | m.Accepted | None:
            if isinstance(said, m.Result | m.Accepted):
                return said if said.command == command.id else None
            return None

        return await self._link.take(wanted, within)


def _became(result: m.Result) -> Moved:
    fault = m.CODES.get(result.result, f"code {result.result}") if result.result else ""
    stands = Seen(result.lock, result.door, fault=fault)
    return Moved(Became.REFUSED if result.result else Became.DONE, stands, fault)


def seen(state: m.State) -> Seen:
    """A STATE in common words. Battery flag bit 0: low."""
    fault = m.CODES.get(state.fault, f"code {state.fault}") if state.fault else ""
    battery = state.battery if state.battery <= 100 else None
    return Seen(state.lock, state.door, battery, bool(state.battery_flags & 1), fault)
