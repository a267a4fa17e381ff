"""The bare transport of a Bluetooth bench: what is written comes back as a notification at once."""

from dataclasses import dataclass
from typing import Final

from bumble.core import AdvertisingData
from bumble.gatt import Characteristic, Service

from lintel.simulators.ble_lock import BleLock, Link, LockOptions
from lintel.simulators.parts import opt

SERVICE: Final = "f95c80d0-09dc-48b2-9d77-1ae2a66e1ae8"
WRITE: Final = "f95c80d1-09dc-48b2-9d77-1ae2a66e1ae8"
NOTIFY: Final = "f95c80d2-09dc-48b2-9d77-1ae2a66e1ae8"


@dataclass(frozen=True, slots=True)
class EchoOptions(LockOptions):
    """Options of the echo."""

    id: str = opt("echo", "name in commands and events")
    name: str = opt("Echo", "name that it advertises")


class Echo(BleLock):
    """No lock: its characteristics stand where a lock has those of its commands and answers."""

    kind = "ble-echo"
    options_class = EchoOptions

    def services(self) -> list[Service]:
        """One service, two characteristics."""
        notify = self.characteristic(NOTIFY, Characteristic.Properties.NOTIFY)

        def back(link: Link, value: bytes) -> None:
            link.send(notify, value)

        return [Service(SERVICE, [self.characteristic(WRITE, Characteristic.Properties.WRITE, back), notify])]

    def advertisement(self) -> tuple[bytes, bytes]:
        """Its name."""
        name = AdvertisingData([(AdvertisingData.COMPLETE_LOCAL_NAME, self.options.name.encode())])
        return bytes(name), b""
