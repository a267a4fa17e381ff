"""A Nuki Smart Lock after the vendor's public Bluetooth interface: pairing, a challenge for each order, states, log."""

import hmac
import json
import os
import struct
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bumble.gatt import Characteristic, Service
from nacl.bindings import crypto_scalarmult_base
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from lintel.simulators import ble_nuki_wire as wire
from lintel.simulators.ble_lock import Action, BleLock, Bolt, Link, LockOptions
from lintel.simulators.ble_nuki_pairing import Applicant, Pairing
from lintel.simulators.parts import Emit, JsonMap, opt

_APPLE = 0x004C
_BOLT: dict[Bolt, int] = {
    "unknown": 0xFF, "locked": 1, "unlocking": 2, "unlocked": 3, "locking": 4, "unlatched": 5, "unlatching": 7,
    "jammed": 0xFE,
}  # fmt: skip
_DOOR = {"none": 0, "closed": 2, "open": 3}
_ACTIONS: dict[int, Action] = {1: "unlock", 2: "lock", 3: "unlatch", 6: "lock"}


@dataclass(frozen=True, slots=True)
class NukiOptions(LockOptions):
    """Options of a Nuki lock."""

    name: str = opt("Nuki_2B9F0C11", "name; the last eight characters are its id in hex")
    pin: int = opt(0, "security PIN; 0: none set")
    ultra: bool = opt(default=False, text="a Smart Lock Ultra: it pairs with its PIN")
    file: str = opt("", "where it keeps its key and who may use it (JSON); empty: forgotten at the end")
    weak: str = opt("", "guards left out, for controls: nonce")


@dataclass
class Memory:
    """What the lock keeps: its private key, who may use it, what happened."""

    private: str = field(default_factory=lambda: os.urandom(32).hex())
    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)


@dataclass
class _Talk:
    """One connection: its pairing, who it is, and the challenge that is open."""

    pairing: Pairing
    key: bytes = b""
    user: bytes = b""
    challenge: bytes = b""


class NukiLock(BleLock):
    """The lock. Events besides a lock's own: `asked`, `error`, `paired`."""

    kind = "ble-nuki"
    options_class = NukiOptions
    options: NukiOptions

    def __init__(self, options: NukiOptions, emit: Emit) -> None:
        super().__init__(options, emit)
        path = Path(options.file) if options.file else None
        self.memory = Memory(**json.loads(path.read_text("utf-8"))) if path and path.exists() else Memory()
        self._private = bytes.fromhex(self.memory.private)
        self.public = crypto_scalarmult_base(self._private)
        self._talks: dict[Link, _Talk] = {}
        self._pairing_until = 0.0
        self._told = True
        self._last = (0, 0)  # action, completion
        self._trigger = 0  # by a command; 1: by a hand
        self._path = path

    def _save(self) -> None:
        if self._path is not None:
            self._path.write_text(json.dumps(asdict(self.memory)), "utf-8")

    def services(self) -> list[Service]:
        """Pairing and keyturner."""
        p = Characteristic.Properties
        both = p.WRITE | p.INDICATE
        service, io = (wire.ULTRA, wire.ULTRA_IO) if self.options.ultra else (wire.PAIRING, wire.PAIRING_IO)
        self._pairing = self.characteristic(io, both, self._on_pairing)
        self._user = self.characteristic(wire.USER_IO, both, self._on_user)
        return [Service(service, [self._pairing]), Service(wire.KEYTURNER, [self._user])]

    def advertisement(self) -> tuple[bytes, bytes]:
        """A beacon whose last bit says that there is something new; the name on request."""
        ident = bytes.fromhex(self.options.name[-8:])
        beacon = (
            b"\x02\x15" + bytes.fromhex(wire.KEYTURNER.replace("-", "")) + ident + bytes((0xC4 | (not self._told),))
        )
        maker = _APPLE.to_bytes(2, "little") + beacon
        name = self.options.name.encode()
        return b"\x02\x01\x06" + bytes((len(maker) + 1, 0xFF)) + maker, bytes((len(name) + 1, 9)) + name

    def connected(self, link: Link) -> None:
        """Nothing of an earlier connection is left."""
        pin = self.options.pin if self.options.ultra else None
        pairing = Pairing(
            self._private, self.public, window=lambda: time.monotonic() < self._pairing_until,
            number=self._number, keep=self._keep, pin=pin,
        )  # fmt: skip
        self._talks[link] = _Talk(pairing)

    def disconnected(self, link: Link) -> None:
        """Its challenge dies with it."""
        self._talks.pop(link, None)

    # Pairing.

    def _on_pairing(self, link: Link, data: bytes) -> None:
        answer = self._talks[link].pairing.received(data)
        if answer[:2] == bytes((wire.ERROR, 0)):
            self.emit("error", code=answer[2])
        link.send(self._pairing, answer)

    def _number(self) -> int:
        return max((int(user) for user in self.memory.users), default=1) + 1

    def _keep(self, who: Applicant) -> None:
        self.memory.users[str(who.user)] = {
            "type": who.kind, "app": who.app, "name": who.name, "key": who.key.hex(), "enabled": True,
        }  # fmt: skip
        self._save()
        self._pairing_until = 0.0
        self.emit("paired", user=who.user, name=who.name)

    # Orders, encrypted.

    def _on_user(self, link: Link, data: bytes) -> None:
        talk, user = self._talks[link], data[24:28]
        known = self.memory.users.get(str(int.from_bytes(user, "little")))
        if known is None or len(data) < 46 or int.from_bytes(data[28:30], "little") != len(data) - 30:
            link.hang_up()  # nothing can be said to somebody who is not known
            return
        talk.key, talk.user = bytes.fromhex(known["key"]), user
        try:
            clear = SecretBox(talk.key).decrypt(data[:24] + data[30:])
        except CryptoError:
            link.hang_up()
            return
        got = wire.unframe(clear, 4)
        if got is None or got[0] != user:
            self._error(link, talk, wire.BAD_CRC, 0)
        elif not known["enabled"]:
            self._error(link, talk, wire.DISABLED, got[1])
        else:
            self._asked(link, talk, got[1], got[2])

    def _asked(self, link: Link, talk: _Talk, command: int, body: bytes) -> None:
        pin = 4 if self.options.ultra else 2
        has_pin = command in (wire.VERIFY_PIN, wire.UPDATE_TIME, wire.REQUEST_LOG)
        sizes = wire.SIZES
        if command not in sizes or len(body) - has_pin * (pin - 2) not in sizes[command]:
            self._error(link, talk, wire.BAD_LENGTH if command in sizes else wire.BAD_PARAMETER, command)
        elif command == wire.REQUEST_DATA:
            self._data(link, talk, int.from_bytes(body, "little"))
        elif not self._fresh(talk, body[-32 - pin : -pin] if has_pin else body[-32:]):
            self._error(link, talk, wire.BAD_NONCE, command)
        elif command == wire.ACTION:
            self._action(link, talk, body[0])
        elif command == wire.REQUEST_CONFIG:
            self._say(link, talk, wire.CONFIG, self._config())
        elif int.from_bytes(body[-pin:], "little") != self.options.pin:
            self._error(link, talk, wire.BAD_PIN, command)
        else:
            if command == wire.REQUEST_LOG:
                self._tell_log(link, talk, body)
            self._say(link, talk, wire.STATUS, b"\0")

    def _fresh(self, talk: _Talk, nonce: bytes) -> bool:
        if "nonce" in self.options.weak:
            return True
        challenge, talk.challenge = talk.challenge, b""
        return bool(challenge) and hmac.compare_digest(challenge, nonce)

    def _data(self, link: Link, talk: _Talk, wanted: int) -> None:
        if wanted == wire.CHALLENGE:
            talk.challenge = os.urandom(32)
            self._say(link, talk, wire.CHALLENGE, talk.challenge)
        elif wanted == wire.STATES:
            self._told = True
            self._say(link, talk, wire.STATES, self._states())
        elif wanted == wire.BATTERY:
            millivolts = 4000 + 20 * self.battery
            report = struct.pack("<HHBBHHHbHH", 180, millivolts, self.battery < 20, self._last[0], millivolts,
                                 millivolts - 300, 900, 21, 1500, 600)  # fmt: skip
            self._say(link, talk, wire.BATTERY, report)
        else:
            self._error(link, talk, wire.BAD_PARAMETER, wire.REQUEST_DATA)

    def _action(self, link: Link, talk: _Talk, number: int) -> None:
        refused = wire.BAD_PARAMETER if number not in _ACTIONS else wire.BUSY if self.motor.busy else 0
        refused = refused or (wire.LOW_VOLTAGE if self.battery < 5 else 0)
        self.emit("asked", action=number, refused=refused)
        if refused:
            self._error(link, talk, refused, wire.ACTION)
            return
        self.motor.busy = True
        self._say(link, talk, wire.STATUS, b"\x01")
        self.start(self._carry_out(link, talk, number))

    async def _carry_out(self, link: Link, talk: _Talk, number: int) -> None:
        source = f"user {int.from_bytes(talk.user, 'little')} at {time.monotonic():.3f}"
        self._last, self._trigger = (number, 0xFF), 0
        good = await self.motor.drive(_ACTIONS[number], source, self.options.auto_lock)
        self._last = number, 0 if good else 1
        name = str(self.memory.users[str(int.from_bytes(talk.user, "little"))]["name"]).encode()[:32].ljust(32, b"\0")
        index = len(self.memory.log) + 1
        entry = (
            index.to_bytes(4, "little") + wire.nuki_time() + talk.user + name + bytes((2, number, 0, 0, self._last[1]))
        )
        self.memory.log.append(entry.hex())
        self._save()
        if link in self._talks:
            self._say(link, talk, wire.STATES, self._states())
            if good:
                self._say(link, talk, wire.STATUS, b"\0")
            else:
                self._error(link, talk, wire.MOTOR_BLOCKED, wire.ACTION)

    def _states(self) -> bytes:
        battery = (self.battery < 20) | (self.battery // 2) << 2
        return struct.pack(
            "<BBB7shBBBBBBBBB", 2, _BOLT[self.motor.bolt], self._trigger, wire.nuki_time(), 0, battery, 1, 0,
            self._last[0], 0, self._last[1], _DOOR[self.door], 0, 0,
        )  # fmt: skip

    def _config(self) -> bytes:
        name = self.options.name.encode()[:32].ljust(32, b"\0")
        ident = int(self.options.name[-8:], 16)
        switches = bytes((1, 1, 1, 1, 3)) + wire.nuki_time() + bytes((0, 0, 0, 0, 0, 0, 0, 0, 1, 0))
        head = struct.pack("<I32sff", ident, name, 52.5, 13.4) + switches
        return head + bytes((3, 10, 4, 11, 1, 0)) + struct.pack("<HBB", 37, 4, 1)

    def _tell_log(self, link: Link, talk: _Talk, body: bytes) -> None:
        start, count, order = struct.unpack("<IHB", body[:7])
        entries = [bytes.fromhex(entry) for entry in self.memory.log]
        chosen = entries[start:] if order == 0 else entries[::-1][start:]
        for entry in chosen[:count]:
            self._say(link, talk, wire.LOG_ENTRY, entry)

    def _say(self, link: Link, talk: _Talk, command: int, payload: bytes) -> None:
        link.send(self._user, wire.seal(talk.key, talk.user, command, payload))

    def _error(self, link: Link, talk: _Talk, code: int, command: int) -> None:
        self.emit("error", code=code)
        self._say(link, talk, wire.ERROR, bytes((code,)) + command.to_bytes(2, "little"))

    def moved(self) -> None:
        """States go to who is connected; for the others the beacon says that there is something new."""
        if self.motor.bolt == "locking" and not self.motor.busy:  # by itself
            self._last, self._trigger = (2, 0), 6
        talking = {link: talk for link, talk in self._talks.items() if talk.user}
        for link, talk in talking.items():
            self._say(link, talk, wire.STATES, self._states())
        self._told = bool(talking)
        if self.device is not None:
            self.device.advertising_data = self.advertisement()[0]
            self.start(self.advertise())

    async def do_button(self, seconds: float = 30.0) -> JsonMap:
        """Hold the button for 5 s: pairing is open."""
        self._pairing_until = time.monotonic() + seconds
        return {"public": self.public.hex()}

    async def do_hand(self, bolt: Bolt = "unlocked") -> None:
        """Somebody turns the knob inside."""
        self._trigger = 1
        self.motor.by_hand(bolt)

    async def do_forget(self, user: int) -> None:
        """The owner deletes a user in the app."""
        self.memory.users.pop(str(user), None)
        self._save()


def nuki_lock(emit: Emit | None = None, **options: Any) -> NukiLock:  # noqa: ANN401  see NukiOptions
    """A lock for a radio in this process."""
    return NukiLock(NukiOptions(**options), emit or _quiet)


def _quiet(event: str, **fields: object) -> None:
    """Nobody listens."""
