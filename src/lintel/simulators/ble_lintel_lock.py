"""The open "Lintel lock": what an ESP32-class lock does, with a file for what must survive a power cut."""

import asyncio
import hashlib
import json
import os
import struct
import time
import uuid
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from bumble.gatt import Characteristic, Service
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from lintel.simulators.ble_lintel_session import Code, Command, Fragments, HangUp, Hooks, Session
from lintel.simulators.ble_lock import Action, BleLock, Link, LockOptions
from lintel.simulators.parts import Emit, JsonMap, opt

SERVICE = "f95c80c0-09dc-48b2-9d77-1ae2a66e1ae8"
INFO, TX, RX = (SERVICE.replace("80c0", f"80c{n}") for n in (1, 2, 3))
_ACTIONS: dict[int, Action] = {1: "lock", 2: "unlock", 3: "unlatch"}
_BOLT = {"unknown": 0, "locked": 1, "unlocking": 2, "unlatching": 2, "unlocked": 3, "locking": 4, "unlatched": 5,
         "jammed": 0xFE}  # fmt: skip
_DOOR = {"none": 0, "closed": 2, "open": 3}
_BOOT, _DONE, _HAND, _PAIRED = 1, 2, 3, 4
_GAP = 0.25
_KEYS, _COMMANDS, _LOG = 8, 32, 200


@dataclass(frozen=True, slots=True)
class LintelOptions(LockOptions):
    """Options of a Lintel lock."""

    file: str = opt("", "its non-volatile memory (JSON); empty: forgotten at the end")
    seed: str = opt("", "hex seed of its Ed25519 key; empty: random")
    secret: str = opt("", "hex pairing secret, as printed on its label; empty: random")
    model: str = opt("LL-1", "model")
    firmware: str = opt("1.0.0", "firmware")
    unlatch: bool = opt(default=True, text="it can pull the latch")
    lifetime: int = opt(5000, "milliseconds that a challenge lives")
    idle: int = opt(60, "seconds until an idle connection is closed")
    silence: float = opt(60.0, "seconds of silence after 5 bad handshakes in 60 s")
    weak: str = opt("", "guards left out, for controls: nonce, lifetime, counter, memory, rate, ephemeral")


@dataclass
class Memory:
    """What the lock keeps without power. Numbers of bytes are hex. `commands`: id -> result, None while it moves."""

    seed: str
    secret: str
    gateways: dict[str, str] = field(default_factory=dict)
    commands: dict[str, list[int] | None] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    boots: int = 0
    next_seq: int = 0

    @classmethod
    def load(cls, path: Path | None, seed: str, secret: str) -> "Memory":
        """From the file, or new."""
        if path is not None and path.exists():
            return cls(**json.loads(path.read_text("utf-8")))
        return cls(seed or os.urandom(32).hex(), secret or os.urandom(16).hex())

    def save(self, path: Path | None) -> None:
        """Durable when this returns."""
        if path is None:
            return
        fresh = path.with_name(f".{path.name}.new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)


class LintelLock(BleLock):
    """The lock. Events besides a lock's own: `asked`, `refused`, `paired`, `deaf`."""

    kind = "ble-lintel"
    options_class = LintelOptions
    options: LintelOptions

    def __init__(self, options: LintelOptions, emit: Emit) -> None:
        super().__init__(options, emit)
        self._path = Path(options.file) if options.file else None
        self._weak = frozenset(options.weak.replace(",", " ").split())
        self._sessions: dict[Link, tuple[Session, Fragments]] = {}
        self._idle: dict[Link, asyncio.TimerHandle] = {}
        self._bad: deque[float] = deque(maxlen=5)
        self._deaf_until = self._pairing_until = 0.0
        self._last_command = -1.0
        self._worn_out = X25519PrivateKey.generate()
        self._clock: float | None = None  # unix time - monotonic
        self._boot()

    def _boot(self) -> None:
        self.memory = Memory.load(self._path, self.options.seed, self.options.secret)
        self.key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(self.memory.seed))
        self.public = self.key.public_key().public_bytes_raw()
        self.secret = bytes.fromhex(self.memory.secret)
        self.memory.boots += 1
        self._booted = time.monotonic()
        for ident, result in self.memory.commands.items():
            if result is None:  # power was lost while the motor turned: it began, and nobody knows how far it came
                self.memory.commands[ident] = [Code.JAMMED, 0, _DOOR[self.door], self.memory.next_seq]
        self._write_log(_BOOT)
        self.memory.save(self._path)

    # GATT.

    def services(self) -> list[Service]:
        """The lock's service and the battery."""
        p = Characteristic.Properties
        self._rx = self.characteristic(RX, p.NOTIFY)
        self._level = self.characteristic("2A19", p.READ | p.NOTIFY, read=lambda: bytes((self.battery,)))
        info = self.characteristic(INFO, p.READ, read=self.info)
        return [
            Service(SERVICE, [info, self.characteristic(TX, p.WRITE, self._written), self._rx]),
            Service("180F", [self._level]),
        ]

    def info(self) -> bytes:
        """What INFO reads: version, suites, flags, id, model, firmware."""
        flags = self._pairing_open() | (self.door != "none") << 1 | self.options.unlatch << 2 | 1 << 3
        texts = [text.encode() for text in (self.options.model, self.options.firmware)]
        ident = hashlib.sha256(self.public).digest()[:8]
        return bytes((1, 1, flags)) + ident + b"".join(bytes((len(text),)) + text for text in texts)

    def advertisement(self) -> tuple[bytes, bytes]:
        """The service; the name on request."""
        name = self.options.name.encode()[:26]
        return (
            b"\x02\x01\x06\x11\x07" + uuid.UUID(SERVICE).bytes[::-1],
            bytes((len(name) + 1, 9)) + name,
        )

    def hooks(self) -> Hooks:
        """What a session may ask of this lock."""
        return Hooks(
            key=self.key, secret=self.secret, pairing_open=self._pairing_open, paired=self._pair,
            gateways=lambda: {bytes.fromhex(k): bytes.fromhex(v) for k, v in self.memory.gateways.items()},
            greeting=lambda: (self.memory.boots, self.memory.next_seq, self.options.idle),
            accept=self._accept, outcome=self._outcome, state=self.state, log=self._read_log,
            set_time=self._set_time, bad_handshake=self._bad_handshake,
            deaf=lambda: time.monotonic() < self._deaf_until, now=time.monotonic,
            lifetime_ms=self.options.lifetime, weak=self._weak,
            ephemeral=(lambda: self._worn_out) if "ephemeral" in self._weak else X25519PrivateKey.generate,
        )  # fmt: skip

    def connected(self, link: Link) -> None:
        """A session of its own: nothing of an earlier one is left."""
        self._sessions[link] = Session(self.hooks()), Fragments()
        self._rest(link)

    def disconnected(self, link: Link) -> None:
        """Its challenge dies with it."""
        self._sessions.pop(link, None)
        self._idle.pop(link).cancel()

    def _rest(self, link: Link) -> None:
        if link in self._idle:
            self._idle[link].cancel()
        self._idle[link] = asyncio.get_running_loop().call_later(self.options.idle, link.hang_up)

    def _written(self, link: Link, fragment: bytes) -> None:
        session, fragments = self._sessions[link]
        self._rest(link)
        message = fragments.feed(fragment)
        if message is None:
            return
        try:
            for answer in session.received(message):
                self._say(link, answer)
        except HangUp:
            link.hang_up()

    def _say(self, link: Link, message: bytes) -> None:
        for part in Fragments.cut(message, link.payload):
            link.send(self._rx, part)

    # What a session asks.

    def _pairing_open(self) -> bool:
        return time.monotonic() < self._pairing_until

    def _pair(self, public: bytes, name: str) -> bool:
        ident = hashlib.sha256(public).digest()[:8].hex()
        if ident not in self.memory.gateways and len(self.memory.gateways) >= _KEYS:
            return False
        self.memory.gateways[ident] = public.hex()
        self._write_log(_PAIRED)
        self.memory.save(self._path)
        self._pairing_until = 0.0
        self.emit("paired", gateway=ident, name=name)
        return True

    def _bad_handshake(self) -> None:
        now = time.monotonic()
        self._bad.append(now)
        if len(self._bad) == 5 and now - self._bad[0] <= 60:
            self._deaf_until = now + self.options.silence
            self._bad.clear()
            self.emit("deaf", seconds=self.options.silence)

    def _accept(self, command: Command) -> Code:
        code = self._judge(command)
        self.emit("asked" if code is Code.OK else "refused", action=command.action, code=int(code))
        if code is Code.OK:
            self._last_command = time.monotonic()
            commands = self.memory.commands
            commands.pop(command.id.hex(), None)
            commands[command.id.hex()] = None
            while len(commands) > _COMMANDS:
                commands.pop(next(iter(commands)))
            self.memory.save(self._path)  # before the motor moves
            self.start(self._carry_out(command))
        return code

    def _judge(self, command: Command) -> Code:
        now = time.monotonic()
        if self.motor.busy:
            return Code.BUSY
        if now - self._last_command < _GAP and "rate" not in self._weak:
            return Code.RATE
        if command.action not in _ACTIONS or (command.action == 3 and not self.options.unlatch):
            return Code.PARAMETER
        if command.not_after and (self._clock is None or self._clock + now > command.not_after):
            return Code.TIME  # a lock that knows no time cannot know that it is not too late
        return Code.BATTERY_LOW if self.battery < 5 else Code.OK

    async def _carry_out(self, command: Command) -> None:
        good = await self.motor.drive(_ACTIONS[command.action], command.id.hex(), command.parameter / 10)
        self._write_log(_DONE, command.id, command.action)
        result = Code.OK if good else Code.JAMMED
        self.memory.commands[command.id.hex()] = [
            result, _BOLT[self.motor.bolt], _DOOR[self.door], self.memory.next_seq,
        ]  # fmt: skip
        self.memory.save(self._path)
        for link, (session, _) in self._sessions.items():
            if command.id in session.waits_for:
                session.waits_for.discard(command.id)
                self._say(link, session.seal(session.result(command.id)))

    def _outcome(self, ident: bytes) -> tuple[int, int, int, int] | Literal["moving"] | None:
        if ident.hex() not in self.memory.commands:
            return None
        found = self.memory.commands[ident.hex()]
        return "moving" if found is None else (found[0], found[1], found[2], found[3])

    def state(self) -> bytes:
        """What STATE says."""
        fault = Code.JAMMED if self.motor.bolt == "jammed" else Code.OK
        low = int(self.battery <= 20)
        bolt, door = _BOLT[self.motor.bolt], _DOOR[self.door]
        return struct.pack("<BBBBBI", bolt, door, self.battery, low, fault, self.memory.next_seq)

    def _set_time(self, unix: int) -> None:
        self._clock = unix - time.monotonic()

    def _write_log(self, kind: int, command: bytes = bytes(16), argument: int = 0) -> None:
        now = time.monotonic()
        unix = 0 if self._clock is None else int(self._clock + now)
        uptime = int((now - self._booted) * 1000)
        memory = self.memory
        entry = struct.pack("<IHIIB16sB", memory.next_seq, memory.boots, uptime, unix, kind, command, argument)
        memory.log = [*memory.log, entry.hex()][-_LOG:]
        memory.next_seq += 1

    def _read_log(self, first: int, most: int) -> tuple[list[bytes], int]:
        entries = [bytes.fromhex(entry) for entry in self.memory.log]
        wanted = [entry for entry in entries if int.from_bytes(entry[:4], "little") >= first][:most]
        return wanted, int.from_bytes(wanted[-1][:4], "little") + 1 if wanted else self.memory.next_seq

    def moved(self) -> None:
        """What no order of the gateway did is told without being asked."""
        if self.motor.busy:
            return
        for link, (session, _) in self._sessions.items():
            if session.open:
                self._say(link, session.seal(b"\x27" + self.state()))

    # Commands.

    async def do_button(self, seconds: float = 60.0) -> JsonMap:
        """Press the pairing button; answers with what is printed on the label."""
        self._pairing_until = time.monotonic() + seconds
        return {"secret": self.memory.secret, "public": self.public.hex()}

    async def do_reboot(self) -> None:
        """Take the battery out and put it back, also in the middle of a movement."""
        for task in list(self._tasks):
            task.cancel()
        for link in list(self.links.values()):
            link.hang_up()
        self._clock = None
        self._pairing_until = self._deaf_until = 0.0
        self.motor.busy = False
        self.motor.by_hand("unknown" if self.motor.bolt.endswith("ing") else self.motor.bolt)
        self._boot()

    async def do_hand(self, bolt: Any = "unlocked") -> None:  # noqa: ANN401  a Bolt, from a command line
        """Somebody turns the knob inside."""
        self._write_log(_HAND, argument=_BOLT.get(bolt, 0))
        self.motor.by_hand(bolt)


def lintel_lock(emit: Emit | None = None, **options: Any) -> LintelLock:  # noqa: ANN401  see LintelOptions
    """A lock for a radio in this process."""
    return LintelLock(LintelOptions(**options), emit or _quiet)


def _quiet(event: str, **fields: object) -> None:
    """Nobody listens."""
