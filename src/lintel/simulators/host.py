"""One process, several devices: JSON lines in on stdin, JSON lines out on stdout."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from importlib import import_module

from lintel.simulators.parts import Emit, JsonMap, Part, SimulatorError, options_from

KINDS: Mapping[str, tuple[str, str]] = {
    "qr-reader": ("lintel.simulators.qr_reader", "SerialReader"),
    "osdp-reader": ("lintel.simulators.osdp_reader", "OsdpReader"),
    "mqtt-face": ("lintel.simulators.dialects.mqtt_face", "MqttFace"),
    "yld": ("lintel.simulators.dialects.yld", "Yld"),
    "luozhi": ("lintel.simulators.dialects.luozhi", "Luozhi"),
    "ble-lintel": ("lintel.simulators.ble_lintel_lock", "LintelLock"),
    "ble-nuki": ("lintel.simulators.ble_nuki", "NukiLock"),
    "ble-yale": ("lintel.simulators.ble_yale", "YaleLock"),
    "ble-echo": ("lintel.simulators.ble_echo", "Echo"),
    "bluetooth": ("lintel.simulators.bluetooth", "Bluetooth"),
    "rtsp-camera": ("lintel.simulators.rtsp_camera", "Camera"),
    "relay": ("lintel.simulators.relay_door", "RelayDoor"),
    "tasmota": ("lintel.simulators.tasmota_door", "TasmotaDoor"),
}
"""Kind -> where its class is. Loaded only when wanted: a reader needs no MQTT library, a relay no barcode library."""


def part_class(kind: str) -> type[Part]:
    """The class of a kind of device. Raises SimulatorError with the known kinds."""
    if kind not in KINDS:
        raise SimulatorError(f"unknown kind {kind!r}; known: {', '.join(KINDS)}")
    module, name = KINDS[kind]
    found: type[Part] = getattr(import_module(module), name)
    return found


def build(spec: Mapping[str, object], emit: Emit) -> Part:
    """A device from its description, for example `{"kind": "relay", "id": "door-1", "broker": "127.0.0.1:1883"}`.

    A face terminal is `"kind": "face-terminal"` with a `dialect`, or the dialect itself as the kind.
    """
    values = dict(spec)
    kind = str(values.pop("kind", ""))
    if kind == "face-terminal":
        kind = str(values.pop("dialect", "mqtt-face"))
    cls = part_class(kind)
    return cls(options_from(cls.options_class, values), emit)


def fleet_specs(text: str) -> list[JsonMap]:
    """Descriptions in a fleet text: a list, or `{"defaults": {...}, "parts": [...]}`.

    A default applies to the devices that have such an option (a reader has no broker).
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise SimulatorError(f"the fleet is not JSON: {error}") from None
    defaults, parts = (data.get("defaults", {}), data.get("parts")) if isinstance(data, dict) else ({}, data)
    if not isinstance(parts, list) or not parts:
        raise SimulatorError('a fleet is a list of parts, or {"defaults": {...}, "parts": [...]}')
    return [_option_names(part, defaults) | part for part in parts]


def _option_names(part: JsonMap, defaults: JsonMap) -> JsonMap:
    kind = part.get("kind", "")
    cls = part_class(part.get("dialect", "mqtt-face") if kind == "face-terminal" else kind)
    names = {f.name for f in fields(cls.options_class)}
    return {name: value for name, value in defaults.items() if name in names}


def write_line(event: str, **more: object) -> None:
    """Write one event to stdout; a reader that went away is no error."""
    line = json.dumps({"event": event, **more}, ensure_ascii=False, separators=(",", ":")) + "\n"
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(line)
        sys.stdout.flush()


class Host:
    """Runs devices and hands them the commands that arrive as lines."""

    def __init__(self, specs: Sequence[Mapping[str, object]], emit: Emit, *, stay: bool = False) -> None:
        self._emit = emit
        self._stay = stay
        self.parts: dict[str, Part] = {}
        for spec in specs:
            part = build(spec, emit)
            if part.id in self.parts:
                raise SimulatorError(f"two parts are called {part.id!r}")
            self.parts[part.id] = part
        self._stopped = asyncio.Event()
        self._commands: set[asyncio.Task[None]] = set()

    async def run(self, lines: Callable[[Callable[[bytes], None]], None] | None = None) -> None:
        """Live until stdin ends (unless `stay`), a `stop` command or a signal. `lines` feeds command bytes."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopped.set)
        tasks = [asyncio.create_task(part.run(), name=part.id) for part in self.parts.values()]
        for task in tasks:
            task.add_done_callback(self._part_ended)
        if lines is None:
            threading.Thread(target=_read_stdin, args=(loop, self.feed), daemon=True).start()
        self._emit("started", parts=list(self.parts), pid=os.getpid())
        await self._stopped.wait()
        if self._commands:
            await asyncio.wait(self._commands, timeout=0.3)  # piped input ends before its last line is done
        for part in self.parts.values():
            await part.power_off()
        for task in (*tasks, *self._commands):
            task.cancel()
        await asyncio.gather(*tasks, *self._commands, return_exceptions=True)
        self._emit("stopped")

    def _part_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._emit("broken", id=task.get_name(), error=f"{type(error).__name__}: {error}")
            self._stopped.set()

    def feed(self, line: bytes) -> None:
        """Take one line; an empty bytes object is the end of the input."""
        if not line:
            if not self._stay:
                self._stopped.set()
            return
        if text := line.decode("utf-8", "replace").rstrip("\r\n"):
            task = asyncio.get_running_loop().create_task(self._execute(text))
            self._commands.add(task)
            task.add_done_callback(self._commands.discard)

    async def _execute(self, line: str) -> None:
        ref: object = None
        try:
            if line.startswith("{"):
                arguments: JsonMap = json.loads(line)
                ref = arguments.pop("ref", None)
                name = str(arguments.pop("cmd", ""))
                if name == "stop":
                    self._stopped.set()
                    return
                part = self._part(arguments.pop("id", None))
                answer = await part.command(name, arguments)
            else:
                part = self._part(None)
                answer = await part.typed(line)
            self._emit("done", ref=ref, id=part.id, **answer)
        except (SimulatorError, ValueError, TypeError, KeyError, OSError) as error:
            self._emit("failed", ref=ref, error=str(error) or type(error).__name__)

    def _part(self, wanted: object) -> Part:
        if wanted is None and len(self.parts) == 1:
            return next(iter(self.parts.values()))
        if wanted not in self.parts:
            raise SimulatorError(f"which part? id is one of {', '.join(self.parts)}")
        return self.parts[str(wanted)]


def _read_stdin(loop: asyncio.AbstractEventLoop, feed: Callable[[bytes], None]) -> None:
    # A thread with os.read works for pipes, terminals, files and /dev/null alike and leaves a terminal's mode alone.
    rest = b""
    while True:
        try:
            data = os.read(0, 65536)
        except OSError:
            data = b""
        *lines, rest = (rest + data).split(b"\n")
        try:
            for line in lines:
                loop.call_soon_threadsafe(feed, line + b"\n")
            if not data:
                loop.call_soon_threadsafe(feed, b"")
                return
        except RuntimeError:
            return  # the loop has ended first
