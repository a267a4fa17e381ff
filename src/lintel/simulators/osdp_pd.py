"""An OSDP peripheral device (PD), a reader: a whole command in, a whole reply out. No line, no clock of its own.

It keeps what it was told (`tell`), knows the secure channel, the install mode and the key set in it, and can be made to
lie in the ways that attacks on OSDP need.
"""

import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from lintel.simulators.osdp_asks import Answer, Refused, Unit
from lintel.simulators.osdp_wire import DEFAULT_KEY, EVERYBODY, Ask, Channel, Frame, Nak, Say, build, parse

OFFLINE_S = 8.0
"""Without a valid command for so long a reader counts itself off-line and forgets its session."""


class Lie(StrEnum):
    """What a hostile or broken reader does."""

    NO_ENCRYPTION = "no_encryption"  # PDCAP says that it has no encryption
    NO_SECURITY_BLOCK = "no_security_block"  # PDCAP says nothing about encryption
    NO_CHANNEL = "no_channel"  # refuses CHLNG, answers everything in the clear
    DEFAULT_KEY = "default_key"  # knows the default key only, as after a reset by its button
    WRONG_CRYPTOGRAM = "wrong_cryptogram"
    WRONG_MAC = "wrong_mac"
    OLD_SEQUENCE = "old_sequence"
    PLAIN_REPLIES = "plain_replies"  # in a session: data without security block
    UNSEALED_DATA = "unsealed_data"  # in a session: data in a frame type without encryption, with a right MAC
    OWN_KEY = "own_key"  # answers any CHLNG with the key it holds: some readers do, and one peer expects it


@dataclass(slots=True)
class Settings:
    """What a reader is set to. `key` None: only the default key. `enforce`: in the clear nothing but ID and CAP."""

    address: int = 0
    key: bytes | None = None
    install: bool = False
    enforce: bool = True
    vendor: bytes = bytes.fromhex("AABB03")
    serial: int = 0x12345678


class Peripheral:
    """One reader. `reply(frame, now)` is called for each whole frame on its line; `now` is any monotonic clock (s)."""

    def __init__(
        self,
        settings: Settings,
        tell: Callable[..., None] = lambda *_, **__: None,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.settings = settings
        self.unit = Unit(settings.vendor, settings.serial, tell)
        self.lies: set[Lie] = set()
        self.busy = 0
        """So many commands are answered with BUSY."""
        self.queue: deque[tuple[Say, bytes, Callable[[], None]]] = deque(maxlen=64)
        """What a POLL fetches, and what is called when it leaves."""
        self._tell, self._random = tell, random
        self._valid_at = -OFFLINE_S
        self.forget()

    @property
    def cuid(self) -> bytes:
        """The number by which its key is made."""
        return self.unit.identity[:8]

    @property
    def secure(self) -> bool:
        """Whether a session is up."""
        return self._channel is not None and bool(self._channel.r_mac)

    def forget(self) -> None:
        """Power was off: sequence and session are gone."""
        self._sequence = -1
        self._last, self._reply = b"", b""
        self._drop()

    def _drop(self) -> None:
        self._channel: Channel | None = None
        self._rnd = (b"", b"")
        self._own = False

    def reply(self, raw: bytes, now: float) -> bytes | None:
        """The reply to a whole frame, or None where it is not for this reader."""
        frame = parse(raw)
        if frame is None or frame.reply or frame.address not in (self.settings.address, EVERYBODY):
            return None
        if now - self._valid_at > OFFLINE_S:
            self.forget()
        self._valid_at = now
        if self.busy:
            self.busy -= 1
            return self._plain(frame, Say.BUSY, sequence=0)
        if frame.sequence and frame.sequence == self._sequence:
            return self._reply  # asked again: the reply was lost
        if frame.sequence == 0:
            self.forget()
        elif self._sequence < 0 or frame.sequence != self._sequence % 3 + 1:
            return self._plain(frame, Say.NAK, bytes((Nak.SEQUENCE,)))
        was = self.settings.address
        reply = self._react(frame)
        self._sequence, self._reply = frame.sequence, reply
        if self.settings.address != was:
            self.forget()
        return reply

    def _address(self, frame: Frame) -> int:
        return 0x80 | (EVERYBODY if frame.address == EVERYBODY else self.settings.address)

    def _plain(
        self, frame: Frame, code: int, data: bytes = b"", *, block: bytes = b"", sequence: int | None = None
    ) -> bytes:
        number = frame.sequence if sequence is None else sequence
        if Lie.OLD_SEQUENCE in self.lies and frame.sequence:
            number = (frame.sequence + 1) % 3 + 1
        return build(self._address(frame), number, code, data, block=block, crc=frame.crc)

    def _refuse(self, frame: Frame, why: Nak) -> bytes:
        return self._plain(frame, Say.NAK, bytes((why,)))

    def _react(self, frame: Frame) -> bytes:
        kind = frame.block[0] if frame.block else 0
        if kind == 0x11 and frame.code == Ask.CHLNG:
            return self._challenged(frame)
        if kind == 0x13 and frame.code == Ask.SCRYPT:
            return self._answered(frame)
        if kind in (0x15, 0x17):
            return self._secured(frame, kind)
        if self.secure:  # in the clear inside a session: an attack, or a panel that started anew
            self._end("clear_command")
            return self._refuse(frame, Nak.SECURITY)
        if frame.code in (Ask.KEYSET, Ask.CHLNG, Ask.SCRYPT):
            return self._refuse(frame, Nak.SECURITY)
        free = (Ask.ID, Ask.CAP)
        if self.settings.enforce and Lie.NO_CHANNEL not in self.lies and frame.code not in free:
            return self._refuse(frame, Nak.SECURITY)
        return self._plain(frame, *self._do(frame.code, frame.data, sealed=False))

    def _end(self, why: str) -> None:
        self._drop()
        self._tell("insecure", why=why)

    def _challenged(self, frame: Frame) -> bytes:
        own = frame.block[1:2] == b"\x01"
        self._drop()
        if len(frame.data) != 8 or Lie.NO_CHANNEL in self.lies:
            return self._refuse(frame, Nak.UNSUPPORTED)
        has_own = self.settings.key is not None and Lie.DEFAULT_KEY not in self.lies
        if Lie.OWN_KEY in self.lies:
            own = has_own
        takes_default = (self.settings.install and not has_own) or Lie.DEFAULT_KEY in self.lies
        key = (self.settings.key if has_own else None) if own else (DEFAULT_KEY if takes_default else None)
        self._tell("challenged", key="own" if own else "default", known=key is not None)
        if key is None:
            return self._refuse(frame, Nak.UNSUPPORTED)
        self._channel, self._rnd, self._own = Channel(key, frame.data), (frame.data, self._random(8)), own
        cryptogram = self._channel.cryptogram(*self._rnd)
        if Lie.WRONG_CRYPTOGRAM in self.lies:
            cryptogram = self._random(16)
        data = self.cuid + self._rnd[1] + cryptogram
        return self._plain(frame, Say.CCRYPT, data, block=bytes((0x12, own)))

    def _answered(self, frame: Frame) -> bytes:
        channel = self._channel
        if channel is None or channel.r_mac or frame.data != channel.cryptogram(*reversed(self._rnd)):
            self._drop()
            return self._refuse(frame, Nak.UNSUPPORTED)
        first = channel.begin(frame.data)
        self._tell("secure", key="own" if self._own else "default")
        return self._plain(frame, Say.RMAC_I, first, block=bytes((0x14, 1)))

    def _secured(self, frame: Frame, kind: int) -> bytes:
        channel = self._channel
        if channel is None or not channel.r_mac:
            return self._refuse(frame, Nak.SECURITY)
        mac = channel.mac(frame.covered, channel.r_mac)
        if len(frame.mac) != 4 or not secrets.compare_digest(mac[:4], frame.mac):
            self._end("bad_mac")
            return self._refuse(frame, Nak.SECURITY)
        data = channel.unseal(frame.data, channel.r_mac) if kind == 0x17 else frame.data
        channel.c_mac = mac
        code, answer = (Say.NAK, bytes((Nak.LENGTH,))) if data is None else self._do(frame.code, data, sealed=True)
        if answer and Lie.PLAIN_REPLIES in self.lies:
            return self._plain(frame, code, answer)

        def sign(covered: bytes) -> bytes:
            channel.r_mac = channel.mac(covered, channel.c_mac)
            return bytes(byte ^ 0xFF for byte in channel.r_mac[:4]) if Lie.WRONG_MAC in self.lies else channel.r_mac[:4]

        seal = bool(answer) and Lie.UNSEALED_DATA not in self.lies
        reply = channel.seal(answer, channel.c_mac) if seal else answer
        number = (frame.sequence + 1) % 3 + 1 if Lie.OLD_SEQUENCE in self.lies else frame.sequence
        block = b"\x18" if seal else b"\x16"
        return build(self._address(frame), number, code, reply, block=block, mac=sign, crc=frame.crc)

    def _do(self, code: int, data: bytes, *, sealed: bool) -> Answer:
        try:
            if code == Ask.POLL:
                if not self.queue:
                    return Say.ACK, b""
                say, content, left = self.queue.popleft()
                left()
                return say, content
            if code == Ask.KEYSET:
                return self._key_set(data, sealed=sealed)
            if code == Ask.COMSET:
                return self._moved(data)
            if code == Ask.CAP:
                return Say.PDCAP, self._capabilities()
            return self.unit.do(code, data)
        except Refused as refused:
            return Say.NAK, bytes((refused.why,))

    def _key_set(self, data: bytes, *, sealed: bool) -> Answer:
        if not sealed:
            raise Refused(Nak.SECURITY)
        if len(data) != 18 or data[:2] != b"\x01\x10":
            raise Refused(Nak.LENGTH)
        self.settings.key, self.settings.install = data[2:], False
        self.lies.discard(Lie.DEFAULT_KEY)
        self._tell("key_set")
        return Say.ACK, b""

    def _moved(self, data: bytes) -> Answer:
        if len(data) != 5 or data[0] > 0x7E:
            raise Refused(Nak.LENGTH)
        self.settings.address = data[0]
        self._tell("moved", address=data[0], baud=int.from_bytes(data[1:], "little"))
        return Say.COM, data

    def _capabilities(self) -> bytes:
        table = dict(self.unit.capabilities)
        table[9] = (0, 0) if Lie.NO_ENCRYPTION in self.lies else (1, int(self.settings.key is None))
        if Lie.NO_SECURITY_BLOCK in self.lies:
            del table[9]
        return b"".join(bytes((function, *two)) for function, two in sorted(table.items()))
