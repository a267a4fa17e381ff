"""A virtual adapter of the kernel (vhci) whose radio is bumble's: BlueZ on one side, simulated locks on the other."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bumble import hci
from bumble.transport import open_transport

from lintel.simulators.ble_air import Air, AirController, le_address


class HostController(AirController):
    """The controller that BlueZ drives. It has no public address: BlueZ makes a static random one and sets it."""

    le_features = AirController.le_features & ~hci.LeFeatureMask.LL_PRIVACY

    def on_hci_le_set_random_address_command(self, command):
        """From now on the radio knows it by this address."""
        self.air.radios[le_address(command.random_address)] = self
        return super().on_hci_le_set_random_address_command(command)


@asynccontextmanager
async def bluez() -> AsyncIterator[Air]:
    """A radio on which BlueZ has a powered adapter, hci0."""
    async with Air() as air, await open_transport("vhci") as transport:
        controller = HostController("hci0", transport.source, transport.sink, link=air)
        controller.air, controller.wanted = air, {}
        await asyncio.to_thread(subprocess.run, ["systemctl", "start", "bluetooth"], check=True)
        await powered()
        yield air


async def powered(within: float = 20.0) -> str:
    """Wait until bluetoothctl shows a powered adapter; what it shows."""
    said = ""
    async with asyncio.timeout(within):
        while "Powered: yes" not in said:
            await asyncio.sleep(0.1)
            shown = await asyncio.to_thread(subprocess.run, ["bluetoothctl", "show"], capture_output=True, text=True)
            said = shown.stdout
    return said


async def _serve() -> None:
    """An adapter for another process, until this one is ended."""
    async with bluez():
        print("powered", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve())
