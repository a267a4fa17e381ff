"""A control panel by the pure Python package osdp: `osdp_cp.py --link PORT --pd JSON [--pd JSON ...]`.

JSON of a reader: `{"id", "address", "key": hex of the MASTER key or null}`. It challenges with the default key and
takes whichever key the reader names; in install mode it sets the key that it makes from the master key and the cUID.
Commands on stdin (`output`, `id`, `capabilities`, `local`, `inputs`, `outputs`), events on stdout.
"""
# ruff: noqa: T201 -- a program that prints

import argparse
import json
import logging
import os
import sys
import threading
import time
import warnings
from typing import Any


def say(event: str, **more: object) -> None:
    """One event."""
    print(json.dumps({"event": event, "t": time.monotonic(), **more}), flush=True)


class Panel:
    """The control panel and the readers that it knows."""

    def __init__(self, link: str, specs: list[dict[str, Any]]) -> None:
        import osdp  # noqa: PLC0415  only in an environment of its own

        logging.getLogger("osdp").setLevel(logging.CRITICAL)
        self.osdp = osdp
        self.addresses = {spec.get("id", f"pd-{spec['address']}"): int(spec["address"]) for spec in specs}
        names = {address: name for name, address in self.addresses.items()}

        class Listening(osdp.ControlPanel):  # type: ignore[misc]
            def on_raw_card_data_reply_received(self, address: int, card: Any) -> None:  # noqa: ANN401
                say("card", id=names[address], bits=card.bit_count, data=bytes(card.data).hex())

            def on_keypad_data_reply_received(self, address: int, keys: Any) -> None:  # noqa: ANN401
                say("keypad", id=names[address], keys=bytes(keys.data).hex())

            def on_nak_reply_received(self, address: int, nak: Any) -> None:  # noqa: ANN401
                say("nak", id=names[address], why=str(nak.error_code))

            def on_local_status_report_reply_received(self, address: int, status: Any) -> None:  # noqa: ANN401
                say("report", id=names[address], tamper=bool(status.tamper), power=bool(status.power_failure))

        master = bytes.fromhex(specs[0]["key"]) if specs[0].get("key") else None
        self.cp = Listening(master_key=master)
        self.bus = self.cp.start_connection(osdp.SerialPortOsdpConnection(link, 230400))
        for spec in specs:
            self.cp.add_device(self.bus, int(spec["address"]), use_crc=True, use_secure_channel=master is not None)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        states: dict[str, bool] = {}
        while True:
            for name, address in self.addresses.items():
                device = self.cp._buses[self.bus]._configured_devices.get(address)  # noqa: SLF001  it tells nowhere else
                secure = bool(device and device.is_security_established)
                if secure != states.get(name, False):
                    states[name] = secure
                    say("state", id=name, secure=secure, default=bool(device.is_scbkd))
            time.sleep(0.01)

    def do(self, name: str, command: str, arguments: dict[str, Any]) -> dict[str, object]:
        """One command of the test."""
        osdp, cp, bus, address = self.osdp, self.cp, self.bus, self.addresses[name]
        if command == "output":
            code = osdp.OutputControlCode(int(arguments["control_code"]))
            control = osdp.OutputControl(int(arguments["output_no"]), code, int(arguments["timer_count"]))
            return {"taken": cp.output_control(bus, address, osdp.OutputControls([control]))}
        if command == "id":
            identity = cp.id_report(bus, address)
            return {"vendor": identity.vendor_code.hex(), "serial": identity.serial_number}
        if command == "capabilities":
            table = cp.device_capabilities(bus, address).capabilities
            return {"functions": [each.function.value for each in table]}
        if command == "local":
            return {"tamper": bool(cp.local_status(bus, address).tamper)}
        if command == "inputs":
            return {"inputs": [int(each) for each in cp.input_status(bus, address).statuses]}
        if command == "outputs":
            return {"outputs": [int(each) for each in cp.output_status(bus, address).statuses]}
        raise KeyError(command)


def main() -> None:
    """Live until stdin ends."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--link", required=True)
    parser.add_argument("--pd", action="append", required=True)
    options = parser.parse_args()
    panel = Panel(options.link, [json.loads(text) for text in options.pd])
    say("started", parts=list(panel.addresses), pid=os.getpid())
    for name in panel.addresses:
        say("ready", id=name)
    for line in sys.stdin:
        ref = None
        try:
            arguments = json.loads(line)
            ref, name = arguments.pop("ref", None), str(arguments.pop("cmd", ""))
            if name == "stop":
                break
            which = arguments.pop("id", None) or next(iter(panel.addresses))
            say("done", ref=ref, id=which, **panel.do(which, name, arguments))
        except Exception as error:  # noqa: BLE001  whatever the package raises is the answer
            say("failed", ref=ref, error=f"{type(error).__name__}: {error}")
    os._exit(0)  # its polling thread cannot be ended


if __name__ == "__main__":
    main()
