"""Readers or a control panel by libosdp on one port: `libosdp.py pd|cp --link PORT --pd JSON [--pd JSON ...]`.

JSON of a reader: `{"id", "address", "key": hex or null, "install", "enforce", "capabilities": [[function, level, n]]}`.
Commands are JSON lines on stdin, events JSON lines on stdout. Readers know `card`, `keypad`, `tamper`, `input` and tell
`command`; a panel knows `output`, `led`, `buzzer`, `text`, `keyset`, and tells `card`, `keypad`, `report`.
"""
# ruff: noqa: T201 -- a program that prints

import argparse
import json
import os
import select
import sys
import time
import tty
from typing import Any

CAPABILITIES = [[2, 1, 2], [3, 1, 1], [4, 1, 1], [5, 1, 1], [6, 1, 1], [8, 1, 0], [9, 1, 0], [13, 0, 1]]


def say(event: str, **more: object) -> None:
    """One event."""
    print(json.dumps({"event": event, "t": time.monotonic(), **more}), flush=True)


def plain(value: object) -> object:
    """What JSON can hold of a command's dictionary."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items() if key != "data" or not isinstance(each, bytes)}
    return value.hex() if isinstance(value, bytes) else value


class Port:
    """The port, read once and heard by all that asked for a channel."""

    def __init__(self, link: str) -> None:
        self.fd = os.open(link, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self.fd)
        self.alive = True
        self._heard: list[bytearray] = []

    def take(self) -> None:
        """Fetch what has arrived. A port that is gone is silent from then on."""
        try:
            data = os.read(self.fd, 4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.alive = False
            say("unplugged")
        for buffer in self._heard:
            buffer.extend(data)

    def channel(self) -> Any:  # noqa: ANN401  the library has no types
        """A channel for the library.

        It hands over whole frames only: as built for the registry, libosdp 3.2.9 forgets the first half of a frame
        that comes in two reads, as every frame does at 9600 baud.
        """
        import osdp  # noqa: PLC0415  only in an environment of its own

        port, buffer = self, bytearray()
        self._heard.append(buffer)

        class Channel(osdp.Channel):  # type: ignore[misc]
            def read(self, most: int) -> bytes:
                start = max(buffer.find(0x53), 0)
                length = int.from_bytes(buffer[start + 2 : start + 4], "little")
                if len(buffer) < start + 5 or (length <= 256 and len(buffer) < start + length):
                    return b""
                data = bytes(buffer[:most])
                del buffer[:most]
                return data

            def write(self, data: bytes) -> int:
                try:
                    return os.write(port.fd, data)
                except OSError:  # unplugged: lost, as on a line that nobody hears
                    return len(data)

            def flush(self) -> None:
                buffer.clear()

        return Channel()


def info(spec: dict[str, Any], channel: object) -> Any:  # noqa: ANN401
    """The library's description of one reader."""
    import osdp  # noqa: PLC0415

    flags = [osdp.LibFlag.EnforceSecure] if spec.get("enforce", True) else []
    flags += [osdp.LibFlag.InstallMode] if spec.get("install") else []
    key = bytes.fromhex(spec["key"]) if spec.get("key") else None
    identity = osdp.PdId(1, 1, 0xCAFEBABE, int(spec.get("serial", 0xDEADBEAF)), 0xDEADDEAD)
    return osdp.PDInfo(int(spec["address"]), channel, scbk=key, flags=flags, id=identity)


class Readers:
    """Peripheral devices."""

    def __init__(self, port: Port, specs: dict[str, dict[str, Any]]) -> None:
        import osdp  # noqa: PLC0415

        self.osdp = osdp
        names = {getattr(osdp.Command, name): name.lower() for name in dir(osdp.Command) if name[0] != "_"}
        self.pds: dict[str, Any] = {}
        self.states = dict.fromkeys(specs, (False, False))
        for who, spec in specs.items():

            def told(command: dict[str, Any], who: str = who) -> tuple[int, None]:
                say("command", id=who, name=names.get(command["command"], "?"), fields=plain(command))
                return 0, None

            table = osdp.PDCapabilities([tuple(row) for row in spec.get("capabilities", CAPABILITIES)])
            self.pds[who] = osdp.PeripheralDevice(
                info(spec, port.channel()), table, log_level=osdp.LogLevel.Emergency, command_handler=told
            )

    def refresh(self) -> None:
        """Let the library work, and tell of changes."""
        for who, pd in self.pds.items():
            pd.ctx.refresh()
            state = bool(pd.is_online()), bool(pd.is_sc_active())
            if state != self.states[who]:
                self.states[who] = state
                say("state", id=who, online=state[0], secure=state[1])

    def do(self, who: str, name: str, arguments: dict[str, Any]) -> dict[str, object]:
        """One command of the test."""
        osdp, event = self.osdp, self.osdp.Event
        if name == "status":
            return {"online": self.states[who][0], "secure": self.states[who][1]}
        if name == "card":
            raw = bytes.fromhex(arguments["data"])
            form = arguments.get("format", "Wiegand")
            what = {
                "event": event.CardRead, "reader_no": 0, "direction": 0, "format": getattr(osdp.CardFormat, form),
                "length": int(arguments.get("bits", 8 * len(raw) if form != "ASCII" else len(raw))), "data": raw,
            }  # fmt: skip
        elif name == "keypad":
            keys = arguments["keys"].translate({ord("*"): 0x7F, ord("#"): 0x0D}).encode()
            what = {"event": event.KeyPress, "reader_no": 0, "data": keys}
        elif name in ("tamper", "input"):
            kind = osdp.StatusReportType.Local if name == "tamper" else osdp.StatusReportType.Input
            report = bytes((int(arguments.get("on", True)), 0))
            what = {"event": event.Status, "type": kind, "nr_entries": 2, "report": report}
        else:
            raise KeyError(name)
        self.pds[who].ctx.submit_event(what)
        return {}


class Panel:
    """A control panel and the readers that it knows."""

    def __init__(self, port: Port, specs: dict[str, dict[str, Any]]) -> None:
        import osdp  # noqa: PLC0415

        self.osdp = osdp
        self.ids = list(specs)
        self.states = dict.fromkeys(specs, (False, False))
        channel = port.channel()
        self.cp = osdp.ControlPanel(
            [info(spec, channel) for spec in specs.values()],
            log_level=osdp.LogLevel.Emergency,
            event_handler=self._heard,
        )

    def _heard(self, number: int, event: dict[str, Any]) -> int:
        kinds, who = self.osdp.Event, self.ids[number]
        if event["event"] == kinds.CardRead:
            say("card", id=who, bits=event.get("length"), format=event.get("format"), data=bytes(event["data"]).hex())
        elif event["event"] == kinds.KeyPress:
            say("keypad", id=who, keys=bytes(event["data"]).hex())
        elif event["event"] == kinds.Status:
            say("report", id=who, type=event.get("type"), report=bytes(event.get("report", b"")).hex())
        return 0

    def refresh(self) -> None:
        """Let the library work, and tell of changes."""
        self.cp.ctx.refresh()
        online, secure = self.cp.ctx.status(), self.cp.ctx.sc_status()
        for number, who in enumerate(self.ids):
            state = bool(online >> number & 1), bool(secure >> number & 1)
            if state != self.states[who]:
                self.states[who] = state
                say("state", id=who, online=state[0], secure=state[1])

    def do(self, who: str, name: str, arguments: dict[str, Any]) -> dict[str, object]:
        """One command of the test: the library's own dictionary, with our names for the kinds."""
        command = self.osdp.Command
        if name == "status":
            return {"online": self.states[who][0], "secure": self.states[who][1]}
        kinds = {
            "output": command.Output, "led": command.LED, "buzzer": command.Buzzer, "text": command.Text,
            "keyset": command.Keyset,
        }  # fmt: skip
        fields = {
            key: bytes.fromhex(value) if key == "data" and name == "keyset" else value
            for key, value in arguments.items()
        }
        taken = self.cp.ctx.submit_command(self.ids.index(who), {"command": kinds[name]} | fields)
        return {"taken": bool(taken)}


def execute(line: bytes, side: Readers | Panel, first: str) -> bool:
    """One command line; False for stop."""
    ref = None
    try:
        arguments = json.loads(line)
        ref, name = arguments.pop("ref", None), str(arguments.pop("cmd", ""))
        if name == "stop":
            return False
        which = arguments.pop("id", None) or first
        say("done", ref=ref, id=which, **side.do(which, name, arguments))
    except (ValueError, KeyError, TypeError) as error:
        say("failed", ref=ref, error=f"{type(error).__name__}: {error}")
    return True


def main() -> None:
    """Live until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=["pd", "cp"])
    parser.add_argument("--link", required=True)
    parser.add_argument("--pd", action="append", required=True)
    options = parser.parse_args()
    specs = {spec.get("id", f"pd-{spec['address']}"): spec for spec in map(json.loads, options.pd)}
    port = Port(options.link)
    side = (Readers if options.side == "pd" else Panel)(port, specs)
    say("started", parts=list(specs), pid=os.getpid())
    for name in specs:
        say("ready", id=name)
    rest, stdin = b"", sys.stdin.fileno()
    while True:
        ready, _, _ = select.select([stdin, *([port.fd] if port.alive else [])], [], [], 0.01)
        if port.fd in ready:
            port.take()
        if stdin in ready:
            data = os.read(stdin, 65536)
            *lines, rest = (rest + data).split(b"\n")
            if not data or not all(execute(line, side, next(iter(specs))) for line in lines if line.strip()):
                return
        side.refresh()


if __name__ == "__main__":
    main()
