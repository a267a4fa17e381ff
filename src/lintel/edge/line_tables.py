"""The tables of a gateway's file that name lines: one class for each driver. `config` reads them."""

import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from lintel.edge.model import EVERY_DOOR
from lintel.edge.profiles.serial import BAUDS

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def _id(value: str) -> str:
    if not _ID.fullmatch(value):
        raise ValueError("up to 64 letters, digits, '_', '.' and '-', beginning with a letter or digit")
    return value


def _place(value: str) -> str:
    return value if value == EVERY_DOOR else _id(value)


def _secret_name(value: str) -> str:
    if value and not _ID.fullmatch(value):
        raise ValueError("the name of a credential, as in credentials/NAME: the password itself stands in no file")
    return value


def _absolute(value: Path) -> Path:
    if not value.is_absolute():
        raise ValueError("an absolute path such as '/dev/serial/by-id/usb-...'")
    return value


def _baud(value: int) -> int:
    if value not in BAUDS:
        raise ValueError(f"one of {', '.join(map(str, BAUDS))}")
    return value


def fetched_from(value: str) -> str:
    """Where terminals fetch photos; raises ValueError."""
    rest = value.replace("{person}", "")
    if value and (rest == value or not rest.startswith(("http://", "https://")) or set(rest) & set("{} ")):
        raise ValueError("an address such as 'https://192.0.2.10/faces/{person}.jpg'")
    return value


Id = Annotated[str, AfterValidator(_id)]
Place = Annotated[str, AfterValidator(_place)]
Secret = Annotated[str, AfterValidator(_secret_name)]
Absolute = Annotated[Path, AfterValidator(_absolute)]
Baud = Annotated[int, AfterValidator(_baud)]


class Table(BaseModel):
    """A table of the file: frozen, and a key that is not known is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=False, validate_default=False)


class _Line(Table):
    """What the tables of all kinds of lines share."""

    id: Id

    def options(self) -> dict[str, str | int | float | bool]:
        """What the file says for the driver to check; a password is not among it."""
        return self.model_dump(exclude_defaults=True, exclude={"id", "driver", "password"}, mode="json")

    def below(self, base: Path) -> Self:
        """The same with its relative paths taken from `base`."""
        return self.model_copy(update={k: base / v for k, v in self if isinstance(v, Path)})


class SerialLine(_Line):
    """A serial port. `path` should be a stable one: /dev/serial/by-id/... or a udev link, never ttyUSB0."""

    driver: Literal["serial_qr"]
    path: Absolute
    baud: Baud | None = None


class OsdpLine(_Line):
    """An RS-485 bus of up to 8 OSDP readers; the address of a device is its number on the bus, 0 to 126.

    `path` as of a serial port. `baud` is the speed of all readers on the bus.
    """

    driver: Literal["osdp"]
    path: Absolute
    baud: Baud = 9600


class MqttLine(_Line):
    """A connection to a broker, shared by all its devices. `ca` switches TLS on; `certificate` and `key` are ours.

    `rate`, `burst`: messages per second, and at once, that one device may send; what is above is dropped and counted.
    `photo_url`: where its terminals fetch photos of persons, with `{person}` for the face's value; "": they are sent.
    """

    driver: Literal["mqtt_terminal"]
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    client_id: str = ""
    username: str = ""
    password: Secret = ""
    keepalive: Annotated[int, Field(ge=5, le=3600)] = 30
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    rate: Annotated[float, Field(gt=0, le=100_000)] = 20.0
    burst: Annotated[int, Field(ge=1, le=100_000)] = 100
    photo_url: Annotated[str, AfterValidator(fetched_from)] = ""


class BleLine(_Line):
    """A Bluetooth adapter and the locks it reaches; the address of a device is its Bluetooth address.

    `adapter`: hci0, ...; "" is the first. `slots`: connections that it may hold at once, shared by all its locks.
    """

    driver: Literal["ble_lock"]
    adapter: Annotated[str, Field(max_length=16)] = ""
    slots: Annotated[int, Field(ge=1, le=8)] = 3


class GpioLine(_Line):
    """A GPIO chip: relays, door contacts, exit buttons, fire inputs. The address of a device is its line's offset."""

    driver: Literal["gpio"]
    chip: Absolute = Path("/dev/gpiochip0")


class CameraLine(_Line):
    """A camera that reads QR codes. `source`: rtsp://..., /dev/videoN or a file.

    The login of an RTSP camera stands in `username` and `password`, never in the address.
    """

    driver: Literal["camera"]
    source: Annotated[str, Field(min_length=1, max_length=1024)]
    username: str = ""
    password: Secret = ""


DRIVERS: Final = ("serial_qr", "osdp", "mqtt_terminal", "ble_lock", "gpio", "camera")
"""The closed list of drivers: modules of `edge.drivers` with a `build` function."""

LineTable = SerialLine | OsdpLine | MqttLine | BleLine | GpioLine | CameraLine
Line = Annotated[LineTable, Field(discriminator="driver")]
