"""Far ends of an OSDP line for tests and benches: readers and panels by libosdp, a panel by the package osdp, and ours.

Each is a process of its own that is driven like a simulator: `async with libosdp_pd(link, {"address": 1, "key": KEY})`.
"""

import json
from pathlib import Path

from lintel.simulators.client import Simulator
from lintel.simulators.parts import JsonMap
from lintel.simulators.peers import program

KEY = "9f1c7a3e5b0842d6e1f7a90c3b5d2e84"
"""A key of no pattern."""


def _peer(name: str, *side: str, link: Path, readers: tuple[JsonMap, ...]) -> Simulator:
    words = [word for reader in readers for word in ("--pd", json.dumps(reader))]
    return Simulator(*side, "--link", str(link), *words, program=program(name))


def libosdp_pd(link: Path, *readers: JsonMap) -> Simulator:
    """Readers by libosdp on one port: `id`, `address`, `key` (hex or None), `install`, `enforce`, `capabilities`.

    Commands `card(data, bits)`, `keypad(keys)`, `tamper(on)`, `input(on)`, `status`; events `command`, `state`.
    """
    return _peer("libosdp", "pd", link=link, readers=readers)


def libosdp_cp(link: Path, *readers: JsonMap) -> Simulator:
    """A panel by libosdp: `id`, `address`, `key`, `enforce`. Commands `output`, `led`, `buzzer`, `text`, `keyset`."""
    return _peer("libosdp", "cp", link=link, readers=readers)


def osdp_cp(link: Path, *readers: JsonMap) -> Simulator:
    """A panel by the package osdp: `id`, `address`, `key` (the master key). Commands `output`, `id`, `inputs`, ..."""
    return _peer("osdp_cp", link=link, readers=readers)


def osdp_reader(link: Path, **options: object) -> Simulator:
    """Our own reader in a process: the options of `lintel simulate osdp-reader`."""
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return Simulator("osdp-reader", "--link", str(link), *words)
