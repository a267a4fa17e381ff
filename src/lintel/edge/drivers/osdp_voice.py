"""What one OSDP reader says, as the gateway's facts: presentations, inputs, presence, alarms.

Card and key values become digests here at once. The same card within 1.5 s of its decision is one presentation: many
readers say it again while it is held. Alarms are folded, one of a kind in ten seconds.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Final

from lintel.edge.drivers.base import Context, Device, Inlet, Receipt
from lintel.edge.model import Contact, ContactKind, DoorState, Fact, Method, Notice, Reading, Reason
from lintel.edge.osdp.events import Distrusted, Down, Event, Heard, Told, Up
from lintel.edge.osdp.keypad import Pad
from lintel.edge.osdp.messages import Capabilities, Inputs, Keypad, Local, RawCard, Readers, Reply, TextCard
from lintel.edge.profiles.osdp import OsdpSpec

AGAIN_S: Final = 1.5
"""After its decision the same card at the same reader is still the same presentation (s)."""
EXIT_S: Final = 2.0
"""An exit button that may have been pressed longer ago opens nothing (s)."""
UNDECIDED_S: Final = 30.0
"""Longest that a card counts as the same presentation while its decision is not there (s)."""
FOLD_S: Final = 10.0
"""At most one alarm of a kind and reader in this time."""
MAX_WAITING: Final = 4
"""Presentations of one reader that wait for its door; from the first on it is not polled for more."""
_REMEMBERED: Final = 32


class Voice:
    """One reader's side towards the gateway. `inlet` is set while the line runs; `held` tells when it must wait."""

    def __init__(self, device: Device, spec: OsdpSpec, ctx: Context, held: Callable[[bool], None]) -> None:
        self._device, self._spec, self._ctx, self._held = device, spec, ctx, held
        self.inlet: Inlet | None = None
        self._inputs = {i.number: i for i in spec.input}
        self._pad, self._keys_age = Pad(), 0.0
        self._waiting: asyncio.Queue[Reading] = asyncio.Queue()
        self._again: dict[bytes, float] = {}
        self._folded: dict[Notice, tuple[float, int]] = {}
        self._lost = self._told = False
        self._told_at, self._losses = -math.inf, 0
        self._late: asyncio.TimerHandle | None = None
        self._states: dict[tuple[str, int], bool | None] = {}
        self._distrusted_at = -math.inf

    def take(self, event: Event, now: float) -> None:
        """Pass on what happened; `now` is the loop's time."""
        match event:
            case Up(secure=secure):
                self._back("secure" if secure else "in the clear")
            case Down(why=why):
                self._pad.clear()
                self.missing(why)
            case Told(notice=notice, detail=detail):
                self._tell(notice, detail, now)
            case Distrusted():
                self._distrusted(now)
            case Heard():
                self._hear(event.reply, now, event.age, trusted=event.trusted)
            case _:
                pass

    def missing(self, why: str) -> None:
        """The reader can not be used: say so once, and that nothing is known of its inputs.

        One that comes and goes is told once in ten seconds, with how often it went.
        """
        if not self._lost:
            self._lost = True
            self._losses += 1
            loop = asyncio.get_running_loop()
            wait = self._told_at + FOLD_S - loop.time()
            if wait <= 0:
                self._say_lost(why)
            else:
                self._late = loop.call_later(wait, self._say_lost, why)
        for kind, number in list(self._states):
            if number >= 0:
                self._state(kind, number, None)
        self._states.clear()

    def _say_lost(self, why: str) -> None:
        self._told, self._told_at = True, asyncio.get_running_loop().time()
        self._report(Fact(Notice.COMMS_LOST, self._device.id, why, self._losses))
        self._losses = 0

    def _back(self, how: str) -> None:
        self._quiet()
        if self._told:
            self._report(Fact(Notice.COMMS_RESTORED, self._device.id, how))
        self._lost = self._told = False

    def _quiet(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    async def carry(self, inlet: Inlet) -> None:
        """Hand over what had to wait for the door, one after another. Runs as long as the line."""
        while True:
            reading = await self._waiting.get()
            self._given(reading, await inlet.present(reading))
            if self._waiting.empty():
                self._hold(on=False)

    def reset(self) -> None:
        """The line ended: nothing of it is handed over later."""
        if self._late is not None:
            self._quiet()
            self._say_lost("line lost")
        self._pad.clear()
        while not self._waiting.empty():
            self._waiting.get_nowait()
        self._again.clear()
        self._hold(on=False)

    # what it said

    def _hear(self, reply: Reply, now: float, age: float, *, trusted: bool) -> None:  # noqa: C901, PLR0912  a case for each kind
        match reply:
            case Local():
                self._state("tamper", -1, reply.tamper)
                if trusted:
                    self._state("power", -1, reply.power)
            case Readers():
                self._state("tamper", -2, any(reply.values))
            case Capabilities() if reply.functions.get(2, (0, 0))[1] < self._spec.outputs:
                self._tell(Notice.DEVICE_FAULT, "the reader has fewer outputs than its profile says", now)
            case RawCard() | TextCard() | Keypad() if not trusted:
                self._distrusted(now)
            case RawCard():
                try:
                    self._card(self._spec.card_value(reply), now, age)
                except ValueError as error:
                    self._present(Method.CARD, b"", age, Reason.BAD_FORMAT, f"{reply.bits} bits: {error}")
            case TextCard():
                self._card(reply.text, now, age)
            case Keypad():
                self._keys(reply.keys, now, age)
            case Inputs() if trusted:
                for number, wired in self._inputs.items():
                    value = reply.values[number] if number < len(reply.values) else 2
                    active = None if value > 1 else bool(value) != wired.inverted
                    if wired.kind == "exit" and active and age > EXIT_S:
                        continue  # who pressed it then has gone: nothing opens late
                    self._state(wired.kind, number, active)
            case _:
                pass

    def _state(self, kind: str, number: int, active: bool | None) -> None:  # noqa: FBT001  None is unknown
        """An input, if it is not as it was."""
        key, inlet = (kind, number), self.inlet
        if inlet is None or (key in self._states and self._states[key] == active):
            return
        self._states[key] = active
        if kind == "door":
            inlet.door(DoorState(self._device.id, max(0, number), active))
        else:
            inlet.contact(Contact(self._device.id, ContactKind(kind), active, self._device.door, number))

    def _keys(self, keys: bytes, now: float, age: float) -> None:
        """Keys of a PIN; it is as old as its oldest key."""
        self._keys_age = age if self._pad.empty else max(age, self._keys_age)
        for pin in self._pad.press(keys, now):
            digest = b"" if pin is None else self._ctx.digest(Method.PIN, pin)
            self._present(Method.PIN, digest, self._keys_age, Reason.BAD_FORMAT if pin is None else None)

    def _card(self, value: str | bytes, now: float, age: float) -> None:
        try:
            digest = self._ctx.digest(Method.CARD, value)
        except ValueError:
            self._present(Method.CARD, b"", age, Reason.BAD_FORMAT, "a card of foreign characters")
            return
        if now < self._again.get(digest, -math.inf):
            return
        self._again = {d: until for d, until in self._again.items() if until > now}
        if len(self._again) < _REMEMBERED:
            self._again[digest] = now + UNDECIDED_S
        self._present(Method.CARD, digest, age)

    def _distrusted(self, now: float) -> None:
        """Somebody presented something where nothing can be believed: written down, at most once a second."""
        if now - self._distrusted_at >= 1.0:
            self._distrusted_at = now
            self._present(Method.CARD, b"", 0.0, Reason.DEVICE_UNTRUSTED, "not over a secure channel")

    def _present(
        self, method: Method, digest: bytes, age: float, fault: Reason | None = None, detail: str = ""
    ) -> None:
        if self.inlet is None:
            return
        at, device = self._ctx.clock.now(), self._device
        reading = Reading(
            self._ctx.new_id(), device.door, device.id, method, digest, at.wall, age,
            mono=at.mono, direction=device.direction, fault=fault, detail=detail,
        )  # fmt: skip
        receipt = self.inlet.offer(reading) if self._waiting.empty() else None
        if receipt is not None:
            self._given(reading, receipt)
        elif self._waiting.qsize() < MAX_WAITING:
            self._waiting.put_nowait(reading)
            self._hold(on=True)
        else:
            self._again.pop(digest, None)

    def _hold(self, *, on: bool) -> None:
        self._held(on)

    def _given(self, reading: Reading, receipt: Receipt) -> None:
        loop, digest = asyncio.get_running_loop(), reading.digest

        def decided(done: Receipt) -> None:
            if not done.cancelled():
                done.exception()  # a reader has no redelivery: asked only so that asyncio does not complain
            if digest in self._again:
                self._again[digest] = loop.time() + AGAIN_S

        receipt.add_done_callback(decided)

    def _tell(self, notice: Notice, detail: str, now: float) -> None:
        """An alarm, at once; then at most one of its kind in ten seconds, with how many there were."""
        until, count = self._folded.get(notice, (-math.inf, 0))
        if now < until:
            self._folded[notice] = (until, count + 1)
            return
        self._folded[notice] = (now + FOLD_S, 0)
        self._report(Fact(notice, self._device.id, detail, count + 1))

    def _report(self, fact: Fact) -> None:
        if self.inlet is not None:
            self.inlet.report(fact)
