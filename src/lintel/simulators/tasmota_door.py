"""The relay with a door behind it, as Tasmota firmware speaks over MQTT: bare words, and no answer names its order.

Wire form after the project's pages "Commands", "MQTT" and "Buttons and Switches", with SetOption26 1 (the relay is
POWER1) and SwitchMode1 15 (the contact is told in SENSOR and switches nothing).
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import aiomqtt

from lintel.simulators.parts import Emit, JsonMap, opt
from lintel.simulators.relay_door import RelayDoor, RelayOptions

_ON = frozenset({"1", "on", "true"})
_OFF = frozenset({"0", "off", "false"})


@dataclass(frozen=True, slots=True)
class TasmotaOptions(RelayOptions):
    """Options of a relay with Tasmota firmware."""

    id: str = opt("tasmota_9CF9D1", "Topic of the device")
    tele_period: float = opt(60.0, "seconds between STATE messages (TelePeriod)")


def pulse_seconds(value: int) -> float | None:
    """PulseTime: tenths of a second up to 111, then seconds + 100; 0 is none."""
    if value == 0:
        return None
    return value / 10 if value <= 111 else float(value - 100)


class TasmotaDoor(RelayDoor):
    """Commands on `cmnd/<id>/<NAME>`: Power1, PulseTime1, Status 10, Backlog0. Everything else is "Unknown"."""

    kind = "tasmota"
    options_class = TasmotaOptions

    def __init__(self, options: TasmotaOptions, emit: Emit) -> None:
        super().__init__(options, emit)
        self._period = options.tele_period
        self._pulse_time = 0

    def subscriptions(self) -> Sequence[tuple[str, int]]:
        """All of its commands."""
        return ((f"cmnd/{self.id}/#", 0),)

    def will(self) -> aiomqtt.Will | None:
        """`tele/<id>/LWT` becomes Offline."""
        return aiomqtt.Will(f"tele/{self.id}/LWT", "Offline", 1, retain=True)

    async def connected(self) -> None:
        """`tele/<id>/LWT` becomes Online; state and sensors are told once."""
        self.publish(f"tele/{self.id}/LWT", "Online", 1, retain=True)
        while not self._notices.empty():
            self._notices.get_nowait()
        self._tele()

    async def background(self) -> None:
        """Tell what moves, and the periodic telemetry."""
        due = time.monotonic() + self._period
        while True:
            try:
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + max(0.0, due - time.monotonic())):
                    params = await self._notices.get()
            except TimeoutError:
                due = time.monotonic() + self._period
                self._tele()
                continue
            for _ in range(2 if self.faults.take("duplicate_push") else 1):
                if "switch:0" in params:
                    self._told_power()
                else:
                    self.publish(f"tele/{self.id}/SENSOR", self._sensors())

    async def message(self, topic: str, payload: bytes) -> None:
        """Execute one command."""
        name, text = topic.rpartition("/")[2].lower(), payload.decode("utf-8", "replace").strip()
        self.emit("asked", what=f"{name} {text}".strip())
        if name == "backlog0":
            for part in text.split(";"):
                word, _, argument = part.strip().partition(" ")
                self._command(word.lower(), argument.strip())
        else:
            self._command(name, text)

    def _command(self, name: str, argument: str) -> None:
        if name in ("power", "power1") and not self.faults.take("refuse"):
            self._power(argument.lower())
        elif name == "pulsetime1" and argument.isdecimal() and int(argument) <= 64_900:
            self._pulse_time = int(argument)
            self._result({"PulseTime1": {"Set": self._pulse_time, "Remaining": 0}})
        elif name == "status" and argument == "10":
            self.publish(f"stat/{self.id}/STATUS10", {"StatusSNS": self._sensors()})
        else:
            self._result({"Command": "Unknown"})

    def _power(self, argument: str) -> None:
        if argument in _ON | _OFF and not self._stuck:
            was = self.relay.on
            if argument in _ON:
                self.relay.switch_on(pulse_seconds(self._pulse_time), "MQTT")
            else:
                self.relay.switch_off("MQTT")
            if was != self.relay.on:
                return  # told as it moves
        self._told_power()

    def _told_power(self) -> None:
        word = "ON" if self.relay.on else "OFF"
        self._result({"POWER1": word})
        self.publish(f"stat/{self.id}/POWER1", word)

    def _result(self, result: JsonMap) -> None:
        if self.faults.take("drop_acks"):
            self.emit("ack_dropped", what=next(iter(result)))
        else:
            self.publish(f"stat/{self.id}/RESULT", result)

    def _sensors(self) -> JsonMap:
        return {"Time": _now(), "Switch1": "ON" if self._open != self._options.contact_inverted else "OFF"}

    def _tele(self) -> None:
        self.publish(f"tele/{self.id}/STATE", {"Time": _now(), "POWER1": "ON" if self.relay.on else "OFF"})
        self.publish(f"tele/{self.id}/SENSOR", self._sensors())


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
