"""A bus and simulated readers in virtual time: every character takes its time, and nobody waits for a clock."""

import random
from collections.abc import Callable

from lintel.edge.model import Outcome
from lintel.edge.osdp import messages
from lintel.edge.osdp.bus import Bus
from lintel.edge.osdp.events import Heard, Job, KeyProven, KeyUnused, KeyWanted, Told
from lintel.edge.osdp.keyring import Keyring
from lintel.edge.osdp.messages import Command
from lintel.edge.osdp.panel import Peripheral
from lintel.simulators import osdp_pd
from lintel.simulators.osdp_reader import wiegand26
from lintel.simulators.osdp_wire import Say

KEY = bytes.fromhex("9f1c7a3e5b0842d6e1f7a90c3b5d2e84")


class Reader:
    """A reader by another author. `power` off: it is silent and forgets its session; `cut`: it is only not heard."""

    def __init__(self, address: int, key: bytes | None, **settings) -> None:
        self.told: list[tuple[str, dict]] = []
        self.pd = osdp_pd.Peripheral(
            osdp_pd.Settings(address, key, **settings), lambda event, **more: self.told.append((event, more))
        )
        self.power, self.cut = True, False
        self.turnaround = 0.002

    def switch(self, *, on: bool) -> None:
        self.power = on
        self.pd.forget()

    def card(self, number: int, left: Callable[[], None] = lambda: None) -> None:
        self.pd.queue.append((Say.RAW, b"\x00\x01\x1a\x00" + wiegand26(7, number), left))

    def outputs(self) -> list[int]:
        return [more["control"] for event, more in self.told if event == "output"]


class Wire:
    """One line. `tap(to_reader, frame)` stands in the middle: gives what travels on, or None."""

    def __init__(
        self,
        *readers: Reader,
        baud: int = 9600,
        key: bytes | None = KEY,
        required: bool = True,
        make_key: Callable[[], bytes] = lambda: random.randbytes(16),
        keyrings: list[Keyring] | None = None,
        **more,
    ) -> None:
        dice = random.Random(1)
        self.keyrings = keyrings or [Keyring(key) for _ in readers]
        self.panels = [
            Peripheral(r.pd.settings.address, ring, dice.randbytes, dice.random, required=required, **more)
            for r, ring in zip(readers, self.keyrings, strict=True)
        ]
        self.bus = Bus(self.panels, baud)
        self.readers, self.now, self.tap, self.make_key = readers, 100.0, None, make_key
        self.events: list[tuple[float, int, object]] = []
        self.said: list[tuple[float, bytes]] = []
        self.stored: list[bytes] = []
        self._byte = 10 / baud

    def run(self, seconds: float, until: Callable[[], object] = lambda: False) -> float:
        """Let the line run; returns how long it took until `until` was true."""
        begin, end = self.now, self.now + seconds
        while self.now < end and not until():
            frame = self.bus.step(self.now)
            self._drain()
            if frame is None:
                self.now = max(self.now + 1e-6, min(end, self.bus.deadline(self.now)))
                continue
            self.said.append((self.now, frame))
            arrives = self.now + len(frame) * self._byte
            reply, at = self._reply(frame[1:], arrives)
            if reply:
                middle = len(reply) // 2
                for part in (reply[:middle], reply[middle:]):
                    at += len(part) * self._byte
                    self._idle(at)
                    self.bus.feed(part, self.now)
                    self._drain()
        return self.now - begin

    def _idle(self, at: float) -> None:
        """Time passes with nothing on the line; a panel that is woken meanwhile says nothing, or would collide."""
        while (due := self.bus.deadline(self.now)) < at:
            self.now = max(self.now + 1e-6, due)
            assert self.bus.step(self.now) is None, "it speaks while a reader answers"
        self.now = at

    def _reply(self, frame: bytes, arrives: float) -> tuple[bytes, float]:
        frame = self.tap(True, frame) if self.tap else frame
        for reader in self.readers:
            if not reader.power or frame is None:
                continue
            reply = reader.pd.reply(frame, arrives)
            if reply is not None and not reader.cut:
                return (self.tap(False, reply) if self.tap else reply) or b"", arrives + reader.turnaround
        return b"", arrives

    def _drain(self) -> None:
        for panel in self.panels:
            while panel.events:
                event = panel.events.popleft()
                self.events.append((self.now, panel.address, event))
                if isinstance(event, KeyWanted):
                    self.stored.append(self.make_key())
                    panel.install(self.stored[-1], self.now)

    def order(self, panel: Peripheral, control: int = 5, within: float = 3.0) -> list[Outcome]:
        """Give an order to switch output 0; the list holds its outcome once there is one."""
        outcomes: list[Outcome] = []
        job = Job(Command.OUT, messages.output(0, control, 30), self.now + within, outcomes.append)
        self.bus.submit(panel.address, job, self.now)
        return outcomes

    def notices(self) -> list[str]:
        return [str(event.notice) for _, _, event in self.events if isinstance(event, Told)]

    def heard(self, kind: type) -> list:
        return [
            event.reply for _, _, event in self.events if isinstance(event, Heard) and isinstance(event.reply, kind)
        ]

    def of(self, *kinds: type) -> list:
        return [event for _, _, event in self.events if isinstance(event, kinds)]


__all__ = ["KEY", "KeyProven", "KeyUnused", "KeyWanted", "Reader", "Wire"]
