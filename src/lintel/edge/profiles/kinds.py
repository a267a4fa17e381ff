"""What the profiles of one driver have in common: their table, its type, and what traffic means to it.

A kind's module is imported when one of its profiles is read: a gateway without Bluetooth locks or OSDP readers carries
none of their ciphers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from lintel.edge.profiles.samples import Meaning

if TYPE_CHECKING:
    from lintel.edge.profiles.ble import BleSpec
    from lintel.edge.profiles.camera import CameraSpec
    from lintel.edge.profiles.gpio import GpioSpec
    from lintel.edge.profiles.mqtt import MqttSpec
    from lintel.edge.profiles.osdp import OsdpSpec
    from lintel.edge.profiles.serial import SerialSpec

Spec: TypeAlias = "SerialSpec | MqttSpec | OsdpSpec | BleSpec | GpioSpec | CameraSpec"

TABLES: Final[Mapping[str, str]] = {
    "serial_qr": "serial",
    "mqtt_terminal": "mqtt",
    "osdp": "osdp",
    "ble_lock": "ble",
    "gpio": "gpio",
    "camera": "camera",
}
"""Driver -> the table of its profiles."""


@dataclass(frozen=True, slots=True)
class Kind:
    """`understand(spec, topic, data, piece)` and `compose(spec, order)` as in `Profile`."""

    spec: type[Any]
    understand: Callable[[Any, str, bytes, int], list[Meaning]]
    compose: Callable[[Any, Meaning], tuple[str, bytes]]


@cache
def kind(driver: str) -> Kind:
    """The kind of a driver of `TABLES`."""
    if driver == "serial_qr":
        from lintel.edge.profiles import serial, stream  # noqa: PLC0415  see above

        return Kind(
            serial.SerialSpec,
            lambda spec, _, data, piece: stream.understand(spec, data, piece=piece),
            lambda spec, order: ("", stream.compose(spec, order)),
        )
    if driver == "mqtt_terminal":
        from lintel.edge.profiles import mqtt  # noqa: PLC0415

        return Kind(mqtt.MqttSpec, lambda spec, topic, data, _: mqtt.understand(spec, topic, data), mqtt.compose)
    module = import_module(f"lintel.edge.profiles.{TABLES[driver]}")
    return Kind(getattr(module, f"{TABLES[driver].capitalize()}Spec"), module.understand, module.compose)
