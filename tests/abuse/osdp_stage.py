"""A house with OSDP readers on one line, the real driver before a real gate and store, and somebody on the wire.

The lock is a ledger; the keys of the readers stand in the store. `Ear` is the attacker's tap on the two wires: it hears
all, can change or drop any frame, and reads whatever stands on a key that it knows or guesses.
"""

import time
from contextlib import asynccontextmanager
from dataclasses import replace

from lintel.edge.drivers.base import Device, Line
from lintel.edge.drivers.osdp import CURRENT, build
from lintel.edge.model import Action, Direction, Door, Method, Order, PersonKind
from lintel.edge.profiles import builtin
from lintel.edge.store import CredentialPut
from lintel.simulators.osdp_bus import Bus, Station
from lintel.simulators.osdp_pd import Peripheral, Settings
from lintel.simulators.osdp_reader import wiegand26
from lintel.simulators.osdp_wire import Ask, Channel, Say, parse
from lintel.simulators.osdp_wire import build as frame
from tests.edge.drivers.contract import until

from .stage import at_work, context, gate

KEY = bytes.fromhex("9f1c7a3e5b0842d6e1f7a90c3b5d2e84")


def card(number):
    """The data of a RAW reply: 26 bits of facility 7."""
    return b"\0\1\x1a\0" + wiegand26(7, number)


KNOWN = range(4711, 4731)
"""The cards of p-1, whom the list knows."""
CARD = card(KNOWN[0])
LIMIT = 30.0
WEAK = [bytes((start + n * step) & 0xFF for n in range(16)) for step in (0, 1, 255) for start in range(256)]
"""The 768 keys that were found in sample code and in the field: one byte repeated, counting up, counting down."""
MEETING = {Ask.ID, Ask.CAP, Ask.CHLNG, Ask.SCRYPT}
"""What the panel may say to a reader that it has no session with."""


class Ear:
    """Hears all that passes on the line. `edit(from_panel, raw)` may change a frame, or drop it by None."""

    def __init__(self):
        self.log, self.edit = [], None

    def __call__(self, from_panel, raw):
        raw = self.edit(from_panel, raw) if self.edit else raw
        if raw:
            self.log.append((from_panel, raw))
        return raw

    def commands(self, *, clear=False):
        """The codes of what the panel said; with `clear`, of what was not in a session."""
        frames = [parse(raw) for from_panel, raw in self.log if from_panel]
        return [f.code for f in frames if not (clear and f.block[:1] in (b"\x15", b"\x17"))]

    def challenges(self):
        """For each CHLNG: was it for the default key?"""
        frames = [parse(raw) for from_panel, raw in self.log if from_panel]
        return [f.block[1:2] == b"\0" for f in frames if f.code == Ask.CHLNG]

    def read(self, keys):
        """What the sessions on one of these keys say, as (key, code, data). Needs nothing but what it heard."""
        found, last, channel, used, rnd_a = [], {}, None, b"", b""
        for from_panel, raw in self.log:
            if last.get(from_panel) == raw:
                continue  # a repeat
            last[from_panel] = raw
            f = parse(raw)
            kind = f.block[0] if f.block else 0
            if kind == 0x11:
                rnd_a, channel = f.data, None
            elif kind == 0x12:
                tries = ((key, Channel(key, rnd_a)) for key in keys)
                proof = f.data[16:]
                used, channel = next(
                    ((k, c) for k, c in tries if c.cryptogram(rnd_a, f.data[8:16]) == proof), (b"", None)
                )
            elif kind == 0x13 and channel:
                channel.begin(f.data)
            elif kind in (0x15, 0x16, 0x17, 0x18) and channel and channel.r_mac:
                after = channel.r_mac if from_panel else channel.c_mac
                data = channel.unseal(f.data, after) if kind >= 0x17 else f.data
                mac = channel.mac(f.covered, after)
                channel.c_mac, channel.r_mac = (mac, channel.r_mac) if from_panel else (channel.c_mac, mac)
                if mac[:4] == f.mac and data:
                    found.append((used, f.code, data))
        return found


class Wire:
    """A line with one reader or more, at addresses 0, 1, ... It outlives the gateway, as the wall does."""

    def __init__(self, folder, count=1, *, key=KEY, baud=0, **settings):
        self.link, self.baud = folder / "bus", baud
        self.bus, self.ear = Bus(self.link, baud), Ear()
        self.bus.tap = self.ear
        self.told = []
        self.stations = [
            Station(self.bus, Peripheral(Settings(n, key, serial=1000 + n, **settings), self._heard))
            for n in range(count)
        ]
        self.bus.plug()

    def _heard(self, event, **more):
        self.told.append((event, more))

    @property
    def pd(self):
        return self.stations[0].pd

    def card(self, reader=0, data=CARD):
        self.stations[reader].pd.queue.append((Say.RAW, data, lambda: None))

    def instead(self, code, data=CARD, when=lambda f: f.code not in (Say.ACK, Say.NAK)):
        """The next reply in the clear is replaced by one of the attacker's, with the right number and check."""

        def edit(from_panel, raw):
            f = parse(raw)
            if from_panel or f.block[:1] in (b"\x16", b"\x18") or not when(f):
                return raw
            self.ear.edit = None
            return frame(0x80 | f.address, f.sequence, code, data)

        self.ear.edit = edit


@asynccontextmanager
async def house(folder, wire, *, keyed=True, changes=None, make_key=None, max_age=10.0):
    """The gateway at its wire: gives (rig, driver). Leaving and entering it again is a restart: the store stays."""
    count = len(wire.stations)
    doors = {f"d{n}": Door(f"d{n}", "", frozenset({"public"}), f"d{n}-lock", max_age=max_age) for n in range(count)}
    profile = builtin()["osdp-generic"]
    profile = replace(profile, spec=replace(profile.spec, **(changes or {})))
    devices = [Device(f"r{n}", str(n), f"d{n}", Direction.IN, profile) for n in range(count)]
    async with gate(folder, doors=doors) as rig:
        if keyed and rig.store.keys.get("r0", CURRENT) is None:
            for device in devices:
                await rig.store.keys.put(device.id, {CURRENT: KEY})
        puts = [
            CredentialPut(
                rig.digest(Method.CARD, f"26:7:{number}"), "p-1", PersonKind.OWNER, Method.CARD, ("public",),
                valid_to=time.time() + 3600,
            )
            for number in KNOWN
        ]  # fmt: skip
        await rig.store.allowlist.apply_checkpoint(puts, epoch=1, seq=1, synced_at=time.time())
        line = Line("bus", "osdp", {"path": str(wire.link), "baud": wire.baud or 115200})
        driver = build(line, devices, replace(context(rig), keys=rig.store.keys))
        if make_key is not None:
            driver._make_key = make_key
        async with at_work(rig, driver, name="bus"):
            yield rig, driver


def usable(driver, reader=0):
    return driver.bus.peripherals[reader].usable


async def in_session(driver, reader=0):
    """Wait until the reader is trusted, and what it says is of now."""
    await until(lambda: usable(driver, reader) and driver.bus.peripherals[reader].fresh, LIMIT)


async def arm(driver, seconds=600.0, reader=0):
    """A person opens the install window."""
    return await driver.execute(
        Order("o", f"d{reader}", f"r{reader}", Action.INSTALL, time.monotonic() + 5, seconds=seconds)
    )
