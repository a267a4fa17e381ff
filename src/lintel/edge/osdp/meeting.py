"""How a reader is met: who it is, what it can, and a secure channel with a key that it may be met with. Sans-IO.

Whatever it says of its capabilities, a reader with a key of its own is met with that key or not at all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from lintel.edge.model import Notice
from lintel.edge.osdp.frames import Packet
from lintel.edge.osdp.keyring import Keyring, Which
from lintel.edge.osdp.messages import SOFT, Capabilities, Code, Command, Error, Identity, Nak, Reply
from lintel.edge.osdp.secure import Handshake, Session

_CLOSED: Final = "the reader has no key: open its install window"


class State(StrEnum):
    """Where a reader stands: which command is next."""

    ABSENT = "absent"
    CAPS = "caps"
    CHALLENGE = "challenge"
    CRYPT = "crypt"
    CLEAR = "clear"
    SECURE = "secure"


@dataclass(frozen=True, slots=True)
class Refusal:
    """It can not be met now. `soon`: there is another key to try, or a person waits in front of it."""

    notice: Notice | None
    detail: str
    soon: bool = False


class Meeting:
    """One reader from its first answer to a channel. `session` is the channel when the state is SECURE."""

    def __init__(self, keyring: Keyring, random: Callable[[int], bytes], *, required: bool) -> None:
        self.session: Session | None = None
        self.which = Which.CURRENT
        self._keyring, self._random, self._required = keyring, random, required
        self._handshake: Handshake | None = None
        self._try = 0

    def begin(self) -> None:
        """Forget channel and handshake."""
        self.session = self._handshake = None

    def first_key(self) -> None:
        """Offer the keys from the first one again."""
        self._try = 0

    def command(self, state: State, now: float) -> tuple[int, bytes, bytes] | None:
        """Code, data and security block of the next command; None where the only key's install window closed."""
        if state is State.ABSENT:
            return Command.ID, b"\0", b""
        if state is State.CAPS:
            return Command.CAP, b"\0", b""
        if state is State.CRYPT and self._handshake is not None:
            return Command.SCRYPT, self._handshake.cryptogram, b"\x03\x13" + self._handshake.block
        candidates = self._keyring.candidates(now)
        if not candidates:
            return None
        self.which, key = candidates[self._try % len(candidates)]
        self._handshake = Handshake(key, self._random(8), default=self.which is Which.DEFAULT)
        return Command.CHLNG, self._handshake.rnd_a, b"\x03\x11" + self._handshake.block

    def take(self, state: State, packet: Packet, reply: Reply, now: float) -> State | Refusal:
        """What the answer to that command leads to."""
        if state is State.ABSENT:
            return State.CAPS if isinstance(reply, Identity) else Refusal(None, "the reader does not say who it is")
        if state is State.CAPS:
            return self._can(reply, now)
        if isinstance(reply, Nak) and reply.error in (Error.CHECK, Error.SEQUENCE):
            return Refusal(None, "the reader lost the thread")
        if self._handshake is None or packet.scb[2:] != self._expected(state):
            return self._refused(now)
        if state is State.CHALLENGE and packet.code == Code.CCRYPT and self._handshake.accept(packet.data):
            return State.CRYPT
        if state is State.CRYPT and packet.code == Code.RMAC_I:
            self.session = self._handshake.session(packet.data)
            if self.session is None:
                return Refusal(Notice.BAD_MAC, "the reader began another session")
            self._try = 0
            return State.SECURE
        return self._refused(now)

    def _expected(self, state: State) -> bytes:
        """Last byte of the security block: the kind of key in CCRYPT, success in RMAC_I."""
        return self._handshake.block if state is State.CHALLENGE and self._handshake else b"\x01"

    def _can(self, reply: Reply, now: float) -> State | Refusal:
        keyring = self._keyring
        known = isinstance(reply, Capabilities) or (isinstance(reply, Nak) and reply.error in SOFT)
        secure = isinstance(reply, Capabilities) and reply.secure
        if keyring.weak:
            return Refusal(Notice.WEAK_KEY, "the stored key can be guessed: it is not used")
        if keyring.provisioned or keyring.armed(now):
            if not secure:
                return Refusal(Notice.LINK_DOWNGRADE, "the reader says that it can not encrypt")
            return State.CHALLENGE
        return State.CLEAR if known else Refusal(None, "the reader does not say what it can")

    def _refused(self, now: float) -> Refusal:
        """The reader has not this key, or somebody spoke in its place: the next one, if there is one."""
        self._try += 1
        candidates = self._keyring.candidates(now)
        if self._try < len(candidates):
            return Refusal(None, "another key", soon=True)
        self._try = 0
        if self._keyring.provisioned:
            return Refusal(Notice.READER_KEY_LOST, "the reader has not its key", soon=self._keyring.armed(now))
        if not candidates:
            return Refusal(Notice.INSTALL_WINDOW_CLOSED, _CLOSED)
        return Refusal(Notice.DEVICE_FAULT, "the reader refuses the default key: set it to install mode", soon=True)
