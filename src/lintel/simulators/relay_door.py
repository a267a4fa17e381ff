"""A relay with a door behind it: Shelly Gen2+ RPC over MQTT, and a leaf with a door position switch.

Wire form after the vendor's public API pages (RPC protocol, Notifications, Switch, Input, MQTT).
"""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiomqtt

from lintel.simulators.mqtt import MqttOptions, MqttPart
from lintel.simulators.parts import Emit, JsonMap, opt
from lintel.simulators.relay import Relay


@dataclass(frozen=True, slots=True)
class RelayOptions(MqttOptions):
    """Options of a relay with a door."""

    id: str = opt("shellyplus1-a8032abe54dc", "device id and MQTT topic prefix")
    model: str = opt("SNSW-001X16EU", "model that the device reports")
    open_after: float | None = opt(0.4, "seconds after the release until somebody opens; none: nobody comes")
    close_after: float | None = opt(2.0, "seconds until the leaf falls shut; none: it stays open")
    contact_inverted: bool = opt(default=False, text="input:0 is true when the door is CLOSED")


class RpcError(Exception):
    """An RPC is answered with an error of the vendor's numbers."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


def request_frame(payload: bytes) -> JsonMap | None:
    """A well-formed RPC request, or None."""
    try:
        frame: object = json.loads(payload)
    except ValueError:
        return None
    if not isinstance(frame, dict) or not isinstance(frame.get("params") or {}, dict) or "id" not in frame:
        return None
    return frame if isinstance(frame.get("src"), str) and isinstance(frame.get("method"), str) else None


class RelayDoor(MqttPart):
    """The relay and its door. `ledger` is the truth of how often the door was released and opened.

    Events: `unlocked`, `locked` (relay), `opened`, `closed` (leaf), `blocked` (a push on a locked door).
    """

    kind = "relay"
    options_class = RelayOptions

    def __init__(self, options: RelayOptions, emit: Emit) -> None:
        super().__init__(options, emit)
        self._options = options
        self.relay = Relay(self.emit, self._relay_moved)
        self._open = False
        self._openings: list[tuple[float, bool]] = []
        self._propped = False
        self._stuck = False
        self._visitor: asyncio.TimerHandle | None = None
        self._closer: asyncio.TimerHandle | None = None
        self._notices: asyncio.Queue[JsonMap] = asyncio.Queue()
        self._source = "init"

    # MQTT.

    def subscriptions(self) -> Sequence[tuple[str, int]]:
        """The RPC topic."""
        return ((f"{self.id}/rpc", 1),)

    def will(self) -> aiomqtt.Will | None:
        """`<id>/online` becomes false."""
        return aiomqtt.Will(f"{self.id}/online", "false", 1, retain=True)

    async def connected(self) -> None:
        """`<id>/online` becomes true; the device tells its whole state once."""
        self.publish(f"{self.id}/online", "true", 1, retain=True)
        while not self._notices.empty():
            self._notices.get_nowait()  # nobody was there to hear; the whole state follows
        self._notify(self._full_status(), "NotifyFullStatus")

    async def background(self) -> None:
        """Send notifications in order."""
        while True:
            params = await self._notices.get()
            for _ in range(2 if self.faults.take("duplicate_push") else 1):
                self._notify(params)

    def _notify(self, params: JsonMap, method: str = "NotifyStatus") -> None:
        source = self.faults.wrong_identity or self.id
        params = {"ts": round(time.time(), 2)} | params
        body = {"src": source, "dst": f"{self.id}/events", "method": method, "params": params}
        self.publish(f"{self.id}/events/rpc", body, 1)

    async def message(self, topic: str, payload: bytes) -> None:  # noqa: ARG002  one topic only
        """Answer one request frame on `<src>/rpc`."""
        frame = request_frame(payload)
        if frame is None:
            self.emit("bad_command")
            return
        source, method = frame["src"], frame["method"]
        self.emit("asked", what=method)
        answer: JsonMap = {"id": frame["id"], "src": self.faults.wrong_identity or self.id, "dst": source}
        try:
            answer["result"] = self._call(method, frame.get("params") or {})
        except RpcError as error:
            answer["error"] = {"code": error.code, "message": error.message}
        if self.faults.take("drop_acks"):
            self.emit("ack_dropped", what=method)
        else:
            self.publish(f"{source}/rpc", answer, 1)

    # RPC.

    def _call(self, method: str, params: JsonMap) -> JsonMap:
        if self.faults.take("refuse"):
            raise RpcError(-108, "Unavailable")
        if method.startswith(("Switch.", "Input.")) and params.get("id") != 0:
            if "id" not in params:
                raise RpcError(-103, "Missing required argument 'id'!")
            raise RpcError(-105, f"Argument 'id', value {params['id']} not found!")
        if method == "Switch.Set":
            return self._switch_set(params)
        if method == "Switch.Toggle":
            return self._switch_set(params | {"on": not self.relay.on})
        answers: dict[str, Any] = {
            "Switch.GetStatus": self._switch_status,
            "Input.GetStatus": self._input_status,
            "Shelly.GetStatus": self._full_status,
            "Shelly.GetDeviceInfo": self._device_info,
        }
        if method not in answers:
            raise RpcError(404, f"No handler for {method}")
        result: JsonMap = answers[method]()
        return result

    def _switch_set(self, params: JsonMap) -> JsonMap:
        wanted, after = params.get("on"), params.get("toggle_after")
        if not isinstance(wanted, bool):
            raise RpcError(-103, "Invalid argument 'on'!")
        if after is not None and (isinstance(after, bool) or not isinstance(after, int | float) or after <= 0):
            raise RpcError(-103, "Invalid argument 'toggle_after'!")
        was_on = self.relay.on
        if not self._stuck:
            if wanted:
                self.relay.switch_on(after, "MQTT")
            else:
                self.relay.switch_off("MQTT")
            if wanted and was_on:
                self._notices.put_nowait({"switch:0": self._switch_status()})  # a new timer, no movement
        return {"was_on": was_on}

    def _switch_status(self) -> JsonMap:
        status: JsonMap = {"id": 0, "source": self._source, "output": self.relay.on}
        if self.relay.pulse_s is not None:
            started = round(self.relay.on_since, 2)
            status |= {"timer_started_at": started, "timer_duration": self.relay.pulse_s}
        return status | {"temperature": {"tC": 41.2, "tF": 106.2}}

    def _input_status(self) -> JsonMap:
        return {"id": 0, "state": self._open != self._options.contact_inverted}

    def _device_info(self) -> JsonMap:
        mac = self.id.rpartition("-")[2].upper()
        model = self._options.model
        device = self.faults.wrong_identity or self.id
        return {"name": None, "id": device, "mac": mac, "model": model, "gen": 2, "ver": "1.4.4", "auth_en": False}

    def _full_status(self) -> JsonMap:
        return {"input:0": self._input_status(), "mqtt": {"connected": True}, "switch:0": self._switch_status()}

    # The door.

    def _relay_moved(self, on: bool, source: str) -> None:  # noqa: FBT001
        self._source = source
        status = self._switch_status()
        status.pop("temperature")
        if not on:
            status |= {"timer_started_at": None, "timer_duration": None}  # a key that went away is told as null
        self._notices.put_nowait({"switch:0": status})
        if self._visitor is not None:
            self._visitor.cancel()
        if on and not self._open and self._options.open_after is not None:
            loop = asyncio.get_running_loop()
            self._visitor = loop.call_later(self._options.open_after, self._leaf, True, False)  # noqa: FBT003

    def _leaf(self, now_open: bool, forced: bool) -> None:  # noqa: FBT001
        if self._closer is not None:
            self._closer.cancel()
        if now_open == self._open:
            return
        self._open = now_open
        if now_open:
            self._openings.append((time.monotonic(), forced))
            self.emit("opened", n=len(self._openings), forced=forced)
            if self._options.close_after is not None and not self._propped:
                loop = asyncio.get_running_loop()
                self._closer = loop.call_later(self._options.close_after, self._leaf, False, False)  # noqa: FBT003
        else:
            self.emit("closed")
        self._notices.put_nowait({"input:0": self._input_status()})

    async def do_open(self) -> JsonMap:
        """Push the door: it opens only while it is unlocked."""
        if not self.relay.on and not self._open:
            self.emit("blocked")
        elif not self._open:
            self._leaf(True, False)  # noqa: FBT003
        return {"open": self._open}

    async def do_close(self) -> None:
        """Shut the door."""
        self._propped = False
        self._leaf(False, False)  # noqa: FBT003

    async def do_force(self) -> None:
        """Break the door open without a release."""
        self._leaf(True, True)  # noqa: FBT003

    async def do_prop(self) -> None:
        """Hold the door open, now or at its next opening, until `close`."""
        self._propped = True
        if self._closer is not None:
            self._closer.cancel()

    async def do_stick(self, *, stuck: bool = True) -> None:
        """The relay is told yes, but does not move."""
        self._stuck = stuck

    async def do_button(self, seconds: float = 3.0) -> None:
        """Release by the button wired to the relay: no order of the gateway."""
        self.relay.switch_on(seconds, "button")

    async def do_ledger(self) -> JsonMap:
        """The relay's ledger and how often the leaf was `opened` and `forced`."""
        forced = sum(f for _, f in self._openings)
        leaf = {"opened": len(self._openings), "forced": forced, "opened_times": [t for t, _ in self._openings]}
        return self.relay.ledger() | leaf | {"open": self._open}
