"""A Yale / August lock as far as its traffic is known in public: two AES channels, no message authentication.

Frames are 18 bytes, 16 of them encrypted. The secure channel (ECB, off-line key, then session key) agrees on a session
key; the normal one (CBC, one chain for each direction and connection) carries the orders.
"""

import asyncio
import os
import time
from dataclasses import dataclass
from typing import Any, NoReturn

from bumble import att
from bumble.gatt import Characteristic, Service
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from lintel.simulators.ble_lock import Action, BleLock, Bolt, Link, LockOptions
from lintel.simulators.parts import Emit, opt

SERVICE = "0000fe24-0000-1000-8000-00805f9b34fb"
WRITE, READ, SECURE_WRITE, SECURE_READ = (f"bd4ac61{n}-0b45-11e3-8ffd-0800200c9a66" for n in (1, 2, 3, 4))
FRAME = 18
_BOLT: dict[Bolt, int] = {
    "unknown": 0x00, "unlocking": 0x02, "unlocked": 0x03, "locking": 0x04, "locked": 0x05, "jammed": 0x07,
    "unlatching": 0x09, "unlatched": 0x0A,
}  # fmt: skip
_DOOR = {"none": 0, "closed": 1, "open": 3}
_UNLOCK, _LOCK, _STATUS, _ACTIVITY = 0x0A, 0x0B, 0x02, 0x2D
_OK, _MECHANICAL, _BATTERY, _BUSY, _UNSUPPORTED = 0x00, 0x1E, 0x32, 0x3E, 0x37
_LOCK_STATUS, _DOOR_STATUS, _BOTH, _VOLTAGE = 0x02, 0x2E, 0x2F, 0x0F


def security_checksum(frame: bytes) -> int:
    """Of a secure frame, with its own checksum as it stands there counted as 0."""
    clear = frame[:12] + bytes(4) + frame[16:]
    words = (clear[0:4], clear[4:8], clear[8:18])
    return -sum(int.from_bytes(word, "little") for word in words) & 0xFFFFFFFF


def secure_frame(opcode: int, body: bytes = b"", slot: int = 0) -> bytes:
    """A frame of the secure channel, not yet encrypted."""
    frame = bytes((opcode, 0, 0, 0)) + body.ljust(8, b"\0") + bytes(4) + bytes((0x0F, slot))
    return frame[:12] + security_checksum(frame).to_bytes(4, "little") + frame[16:]


def normal_frame(flag: int, opcode: int, what: int = 0, value: bytes = b"", result: int = 0) -> bytes:
    """A frame of the normal channel, not yet encrypted."""
    frame = bytearray(bytes((flag, opcode, 0, 0, what, 0, 0, 0)) + value.ljust(7, b"\0") + bytes((result, 2, 0)))
    frame[3] = -sum(frame) & 0xFF
    return bytes(frame)


class Cryptor:
    """One channel: encrypts and decrypts the first 16 bytes of its frames."""

    def __init__(self, key: bytes, *, chained: bool) -> None:
        def cipher() -> Cipher[Any]:
            mode = modes.CBC(bytes(16)) if chained else modes.ECB()  # noqa: S305  it is what these locks do
            return Cipher(algorithms.AES(key), mode)

        self._encrypt: CipherContext = cipher().encryptor()
        self._decrypt: CipherContext = cipher().decryptor()

    def seal(self, frame: bytes) -> bytes:
        """To the other side."""
        return self._encrypt.update(frame[:16]) + frame[16:]

    def open(self, frame: bytes) -> bytes:
        """From the other side."""
        return self._decrypt.update(frame[:16]) + frame[16:]


@dataclass(frozen=True, slots=True)
class YaleOptions(LockOptions):
    """Options of a Yale lock."""

    name: str = opt("M1XXX0123", "local name: two letters and the end of the serial")
    key: str = opt("000102030405060708090a0b0c0d0e0f", "hex off-line key")
    slot: int = opt(1, "slot of that key")
    serial: str = opt("M1XXX0000123", "serial number")
    model: str = opt("ASL-03", "model number; without a door sensor: ASL-01")
    latch: bool = opt(default=False, text="it can pull the latch (Linus L2); then it tells no battery")


@dataclass
class _Session:
    secure: Cryptor
    normal: Cryptor | None = None
    agreed: bool = False


class YaleLock(BleLock):
    """The lock. Events besides a lock's own: `asked`, `wrong_key`, `bad_frame`."""

    kind = "ble-yale"
    options_class = YaleOptions
    options: YaleOptions

    def __init__(self, options: YaleOptions, emit: Emit) -> None:
        super().__init__(options, emit)
        self._sessions: dict[Link, _Session] = {}

    def services(self) -> list[Service]:
        """The lock's service and what a device tells of itself."""
        p = Characteristic.Properties
        self._read = self.characteristic(READ, p.READ | p.NOTIFY)
        self._secure_read = self.characteristic(SECURE_READ, p.READ | p.NOTIFY)
        texts = {"2A24": self.options.model, "2A25": self.options.serial, "2A26": "2.0.0", "2A29": "Yale"}
        return [
            Service(SERVICE, [
                self.characteristic(WRITE, p.WRITE, self._on_normal), self._read,
                self.characteristic(SECURE_WRITE, p.WRITE, self._on_secure), self._secure_read,
            ]),
            Service("180A", [
                self.characteristic(uuid, p.READ, read=text.encode) for uuid, text in texts.items()
            ]),
        ]  # fmt: skip

    def advertisement(self) -> tuple[bytes, bytes]:
        """The service, the vendor, the name."""
        name = self.options.name.encode()[:26]
        serial = self.options.serial.encode()[-8:]
        maker = (465).to_bytes(2, "little") + serial
        return b"\x02\x01\x06\x03\x03\x24\xfe" + bytes((len(maker) + 1, 0xFF)) + maker, bytes((len(name) + 1, 9)) + name

    def connected(self, link: Link) -> None:
        """The off-line key is what both have at first."""
        self._sessions[link] = _Session(Cryptor(bytes.fromhex(self.options.key), chained=False))

    def disconnected(self, link: Link) -> None:
        """Nothing is kept."""
        self._sessions.pop(link, None)

    # The secure channel.

    def _on_secure(self, link: Link, data: bytes) -> None:
        session = self._sessions[link]
        frame = session.secure.open(data) if len(data) == FRAME else b""
        if not frame or security_checksum(frame) != int.from_bytes(frame[12:16], "little"):
            self._wrong_key(link)
        opcode, body = frame[0], frame[4:12]
        if opcode == 0x01 and not session.agreed and frame[17] == self.options.slot:
            ours = os.urandom(8)
            self._secure(link, secure_frame(0x02, ours))
            session.secure = Cryptor(body + ours, chained=False)
            session.normal = Cryptor(body + ours, chained=True)
        elif opcode == 0x03 and session.normal is not None:
            session.agreed = True
            self._secure(link, secure_frame(0x04))
        elif opcode == 0x05 and session.agreed:
            self._secure(link, secure_frame(0x8B))
            link.hang_up()
        else:
            self._wrong_key(link)

    def _wrong_key(self, link: Link) -> NoReturn:
        self.emit("wrong_key")
        asyncio.get_running_loop().call_later(0.2, link.hang_up)
        raise att.ATT_Error(att.ATT_UNLIKELY_ERROR_ERROR)  # as these locks answer the write itself

    def _secure(self, link: Link, frame: bytes) -> None:
        link.send(self._secure_read, self._sessions[link].secure.seal(frame))

    # The normal channel.

    def _on_normal(self, link: Link, data: bytes) -> None:
        session = self._sessions[link]
        if session.normal is None or not session.agreed or len(data) != FRAME:
            link.hang_up()
            return
        frame = session.normal.open(data)
        if frame[0] != 0xEE or sum(frame) & 0xFF:
            self.emit("bad_frame")
            return
        opcode, what = frame[1], frame[4]
        if opcode == _STATUS:
            self._status(link, what)
        elif opcode in (_UNLOCK, _LOCK):
            self._order(link, opcode, what)
        elif opcode in (0x03, 0x04):
            self._normal(link, normal_frame(0xAA, opcode, what))
            self._normal(link, normal_frame(0xBB, opcode, what, frame[8:12]))
        elif opcode == _ACTIVITY:
            self._normal(link, normal_frame(0xBB, opcode, 0x80))
        else:
            self._normal(link, normal_frame(0xBB, opcode, what, result=_UNSUPPORTED))

    def _normal(self, link: Link, frame: bytes) -> None:
        session = self._sessions.get(link)
        if session is not None and session.normal is not None:
            link.send(self._read, session.normal.seal(frame))

    def _status(self, link: Link, what: int) -> None:
        bolt, door = _BOLT[self.motor.bolt], _DOOR[self.door]
        millivolts = int(4000 * (1.24 + 0.0031 * self.battery))
        values = {
            _LOCK_STATUS: bytes((bolt,)), _DOOR_STATUS: bytes((door,)), _BOTH: bytes((bolt, door)),
            _VOLTAGE: millivolts.to_bytes(2, "little"),
        }  # fmt: skip
        if what == _VOLTAGE and self.options.latch:
            return  # that family does not answer
        self._normal(link, normal_frame(0xBB, _STATUS, what, values.get(what, b"")))

    def _order(self, link: Link, opcode: int, what: int) -> None:
        action: Action = "lock" if opcode == _LOCK else "unlatch" if what == 0x0A else "unlock"
        refused = _BUSY if self.motor.busy else _BATTERY if self.battery < 5 else _OK
        if action == "unlatch" and not self.options.latch:
            refused = _UNSUPPORTED
        self.emit("asked", action=action, refused=refused)
        self._normal(link, normal_frame(0xAA, opcode, what))
        if refused:
            self._normal(link, normal_frame(0xBB, opcode, result=refused))
        else:
            self.motor.busy = True  # at once, so that the next frame finds it so
            self.start(self._carry_out(link, opcode, action))

    async def _carry_out(self, link: Link, opcode: int, action: Action) -> None:
        good = await self.motor.drive(action, f"opcode {opcode:02x} at {time.monotonic():.3f}", self.options.auto_lock)
        self._normal(link, normal_frame(0xBB, opcode, result=_OK if good else _MECHANICAL))

    def moved(self) -> None:
        """A change is told without being asked."""
        for link, session in self._sessions.items():
            if session.agreed:
                self._status(link, _LOCK_STATUS)
                if self.door != "none":
                    self._status(link, _DOOR_STATUS)


def yale_lock(emit: Emit | None = None, **options: Any) -> YaleLock:  # noqa: ANN401  see YaleOptions
    """A lock for a radio in this process."""
    return YaleLock(YaleOptions(**options), emit or _quiet)


def _quiet(event: str, **fields: object) -> None:
    """Nobody listens."""
