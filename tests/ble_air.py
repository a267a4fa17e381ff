"""An air with Bluetooth devices, for tests of drivers: `async with Air() as air:`, then bleak's own `backend=` seam.

    BleakScanner(backend=air.scanner_backend)
    BleakClient(device, backend=air.client_backend)
    await establish_connection(BleakClient, device, name, backend=air.client_backend)

Peripherals are `air.device(name, address)` (a bumble Device, switched off) or the locks of `lintel.simulators.ble_*`.
Faults: `air.cut(address, "write" | "write_answer" | "notify" | ..., uuid=, nth=, arrives=)`, `air.drop(address)`,
`air.leave/back(address)`, `air.mute(address)`, `air.slow[address] = seconds`, `air.rssi[address] = -80`.
"""

from lintel.simulators.ble_air import Air, Cut, Pdu
from lintel.simulators.ble_backend import Adapter

__all__ = ["Adapter", "Air", "Cut", "Pdu"]
