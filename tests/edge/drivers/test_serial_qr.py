"""The serial driver under the contract, on ptys, for three kinds of framing; and controls that must fail."""

import asyncio
import logging
import os
import tracemalloc
from contextlib import asynccontextmanager

import pytest

from lintel.edge.drivers import serial_port
from tests.edge.drivers.contract import DIGEST, SECRET, ReaderContract, running, until
from tests.edge.drivers.pty_reader import PtyReader


class SerialContract(ReaderContract):
    profile = ""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.link = tmp_path / "reader"

    @asynccontextmanager
    async def rig(self):
        rig = PtyReader(self.profile, self.link)
        await rig.plug()
        try:
            yield rig
        finally:
            await rig.unplug()


class TestDelimited(SerialContract):
    profile = "cipherlab-serial"


class TestIdleGap(SerialContract):
    profile = "generic-usb-cdc"

    def test_a_flood_before_a_closed_gate_costs_no_memory(self):
        """Without end marks a flood is one over-long frame: one refused line, and in step again after a gap."""

        async def scene(rig, driver, inlet):
            async with running(driver, inlet):
                tracemalloc.start()
                try:
                    await rig.flood(0.5)
                    now, _ = tracemalloc.get_traced_memory()
                finally:
                    tracemalloc.stop()
                assert now < self.flood_growth
                await asyncio.sleep(0.2)
                await rig.write(rig.frame("GOOD"))
                await until(lambda: DIGEST(rig.method, "GOOD") in inlet.digests())
            assert len(inlet.readings) <= 10

        self.run(scene)


class TestBinary(SerialContract):
    profile = "zebra-ssi"


# Controls: the contract must fail for a driver that breaks it.


def test_control_the_contract_hears_a_chatty_library(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("serialx"), "level", logging.DEBUG)
    contract = TestDelimited()
    contract.link = tmp_path / "reader"
    logging.getLogger("serialx")._cache.clear()
    for name in ("serialx.descriptor_transport", "serialx.common"):
        logging.getLogger(name)._cache.clear()
    with pytest.raises(AssertionError):
        contract.test_no_secret_in_logs(caplog)
    assert SECRET in caplog.text
    caplog.clear()


def test_control_the_contract_sees_a_port_that_stays_open(tmp_path, monkeypatch):
    async def forget(self):
        self._stop_timers()
        leaked.append(self)  # kept alive, so that nothing closes it by accident

    leaked: list[serial_port.Port] = []
    monkeypatch.setattr(serial_port.Port, "close", forget)
    monkeypatch.setattr(serial_port.fcntl, "ioctl", lambda *_: 0)
    contract = TestDelimited()
    contract.link = tmp_path / "reader"
    with pytest.raises(AssertionError):
        contract.test_cancel_leaves_nothing_behind()
    for port in leaked:
        if port._transport is not None and port._transport._fileno is not None:
            os.close(port._transport._fileno)
            port._transport._fileno = None


def test_control_the_contract_sees_a_driver_that_reads_on_without_a_gate(tmp_path, monkeypatch):
    monkeypatch.setattr(serial_port, "_MAX_WAITING", 10**9)
    contract = TestDelimited()
    contract.link = tmp_path / "reader"
    with pytest.raises(AssertionError):
        contract.test_a_flood_before_a_closed_gate_costs_no_memory()


def test_control_the_contract_sees_a_driver_that_does_not_notice_the_loss(tmp_path, monkeypatch):
    monkeypatch.setattr(serial_port.Port, "_lose", lambda self, why: None)
    contract = TestDelimited()
    contract.link = tmp_path / "reader"
    with pytest.raises((AssertionError, TimeoutError)):
        contract.test_losing_the_line_is_said_at_once()
