"""Our OSDP reader, driven by two control panels that are not ours; and a line with readers that are not ours."""

import asyncio
import contextlib
import os

import pytest

from lintel.simulators.client import Simulator
from lintel.simulators.osdp_bus import Bus, Station
from lintel.simulators.osdp_pd import Peripheral, Settings
from lintel.simulators.osdp_reader import digits, wiegand26
from lintel.simulators.osdp_wire import Say, build, parse
from lintel.simulators.parts import SimulatorError
from tests.osdp_peers import KEY, libosdp_cp, libosdp_pd, osdp_cp, osdp_reader


def run(work, seconds=30):
    async def stage():
        async with asyncio.timeout(seconds):
            await work()

    asyncio.run(stage())


def test_wiegand26_has_both_parities():
    bits = f"{int.from_bytes(wiegand26(12, 3456), 'big') >> 6:026b}"
    assert bits[:13].count("1") % 2 == 0
    assert bits[13:].count("1") % 2 == 1
    assert (int(bits[1:9], 2), int(bits[9:25], 2)) == (12, 3456)
    assert digits("12*#") == b"12\x7f\r"
    with pytest.raises(SimulatorError):
        digits("1A")


@pytest.mark.parametrize("baud", [9600, 115200])
def test_libosdp_drives_it_through_the_secure_channel(tmp_path, baud):
    async def work():
        readers = osdp_reader(tmp_path / "bus", baud=baud, address=101, key=KEY)
        async with readers as pd, libosdp_cp(tmp_path / "bus", {"address": 101, "key": KEY}) as cp:
            await cp.event("state", 10, secure=True)
            await pd.command("card", facility=12, number=3456)
            card = await cp.event("card")
            assert (card["bits"], card["data"]) == (26, wiegand26(12, 3456).hex())
            assert (await pd.event("scanned"))["secure"]
            await pd.command("keypad", keys="12*#")
            assert (await cp.event("keypad"))["keys"] == "31327f0d"
            await cp.command("output", output_no=1, control_code=5, timer_count=30)
            assert (await pd.event("output"))["seconds"] == 3.0
            assert (await pd.command("status"))["outputs"] == [False, True]
            led = {"reader": 0, "led_number": 0, "control_code": 1, "on_count": 5, "off_count": 0}
            await cp.command("led", **led, on_color=2, off_color=0, timer_count=0, temporary=False)
            assert (await pd.event("led"))["colour"] == "green"
            await cp.command("text", reader=0, control_code=1, temp_time=0, offset_row=1, offset_col=1, data="OPEN")
            assert (await pd.event("text"))["text"] == "OPEN"
            await pd.command("tamper")
            assert (await cp.event("report"))["report"].startswith("01")

    run(work)


def test_libosdp_refuses_it_where_the_key_is_another(tmp_path):
    """The control of the test above."""

    async def work():
        readers = osdp_reader(tmp_path / "bus", baud=0, address=1, key=KEY)
        async with readers as pd, libosdp_cp(tmp_path / "bus", {"address": 1, "key": KEY[::-1]}) as cp:
            await pd.event("challenged", known=True)
            with pytest.raises(TimeoutError):
                await cp.event("state", 1.5, secure=True)
            assert not (await pd.command("status"))["secure"]

    run(work)


def test_the_package_osdp_sets_its_key_and_drives_it_with_that(tmp_path):
    """It makes the key of the reader from a master key and the cUID, and asks for one reply after the other."""

    async def work():
        async with osdp_reader(tmp_path / "bus", baud=9600, address=7, install=True) as pd:
            await pd.command("lie", what="own_key")  # this panel always challenges with the default key
            async with osdp_cp(tmp_path / "bus", {"address": 7, "key": KEY}) as cp:
                await pd.event("key_set", 10)
                await cp.event("state", 10, secure=True, default=False)
                assert (await cp.command("id"))["serial"] == 0x12345678
                assert {1, 2, 9} <= set((await cp.command("capabilities"))["functions"])
                await pd.command("card", facility=12, number=3456)
                assert (await cp.event("card"))["data"] == wiegand26(12, 3456).hex()
                await pd.command(
                    "busy", times=2
                )  # it asks again by the same number (libosdp by the next, and starts anew)
                await pd.command("keypad", keys="42#")
                assert (await cp.event("keypad"))["keys"] == "34320d"
                assert (await cp.command("output", output_no=1, control_code=5, timer_count=30))["taken"]
                assert (await cp.command("outputs"))["outputs"] == [0, 1]
                await pd.command("input", number=1)
                assert (await cp.command("inputs"))["inputs"] == [0, 1]
                assert (await pd.command("status"))["install"] is False

    run(work)


def test_readers_with_one_link_are_on_one_line(tmp_path):
    async def work():
        link = str(tmp_path / "bus")
        parts = [
            {"kind": "osdp-reader", "id": f"r{n}", "link": link, "address": n, "key": KEY, "baud": 38400}
            for n in (1, 2, 3)
        ]
        async with Simulator.fleet(parts) as pds:
            readers = [{"id": f"r{n}", "address": n, "key": KEY} for n in (1, 2, 3)]
            async with libosdp_cp(tmp_path / "bus", *readers) as cp:
                for n in (1, 2, 3):
                    await cp.event("state", 10, id=f"r{n}", secure=True)
                for n in (2, 3, 1):
                    await pds.command({"cmd": "card", "id": f"r{n}"}, facility=n, number=n)
                    assert (await cp.event("card", id=f"r{n}"))["data"] == wiegand26(n, n).hex()
                await pds.command({"cmd": "unplug", "id": "r2"})
                await cp.event("unplugged")

    run(work)


@pytest.mark.parametrize("ours", [True, False])
def test_readers_of_libosdp_on_our_line(tmp_path, ours):
    """Eight readers on a multi-drop line at 38400 baud, all by libosdp, or every other one ours."""

    async def work():
        bus = Bus(tmp_path / "bus", 38400)
        theirs = [n for n in range(8) if not ours or n % 2]
        bus.plug()
        bus.drop(tmp_path / "theirs")
        stations = {n: Station(bus, Peripheral(Settings(n, bytes.fromhex(KEY)))) for n in range(8) if n not in theirs}
        readers = [{"id": f"r{n}", "address": n, "key": KEY} for n in range(8)]
        try:
            far = libosdp_pd(tmp_path / "theirs", *(readers[n] for n in theirs))
            async with far as pd, libosdp_cp(tmp_path / "bus", *readers) as cp:
                for n in range(8):
                    await cp.event("state", 15, id=f"r{n}", secure=True)
                await pd.command({"cmd": "card", "id": f"r{theirs[-1]}"}, data="bdd93740", bits=26)
                assert (await cp.event("card", id=f"r{theirs[-1]}"))["data"] == "bdd93740"
                await cp.command({"cmd": "output", "id": f"r{theirs[0]}"}, output_no=0, control_code=5, timer_count=30)
                told = await pd.event("command", id=f"r{theirs[0]}")
                assert (told["name"], told["fields"]["timer_count"]) == ("output", 30)
                assert all(station.pd.secure for station in stations.values())
                assert bus.collisions == 0
        finally:
            bus.close()

    run(work)


def test_a_byte_takes_its_time_on_the_line(tmp_path):
    """At 9600 baud 1.04 ms each; no sooner, whatever the load of the machine."""

    async def work():
        bus = Bus(tmp_path / "bus", 9600)
        heard = []

        class Ear:
            def hear(self, data):
                heard.append((asyncio.get_running_loop().time(), len(data)))

        bus.join(Ear())
        bus.plug()
        start = asyncio.get_running_loop().time()
        bus.say(bus.panel, bytes(48))
        bus.say(bus.panel, bytes(16))
        while sum(size for _, size in heard) < 64:
            await asyncio.sleep(0.005)
        total = 0
        for at, size in heard:
            total += size
            assert at - start >= total / 960 - 1e-3
        bus.close()

    run(work)


def test_two_that_speak_at_once_garble_each_other(tmp_path):
    async def work():
        bus = Bus(tmp_path / "bus", 9600)
        heard = []

        class Ear:
            def hear(self, data):
                heard.append(data)

        first, second = Ear(), Ear()
        bus.join(first)
        bus.join(second)
        bus.plug()
        bus.say(bus.panel, b"S" * 20)
        bus.say(first, b"T" * 20)
        await asyncio.sleep(0.1)
        assert bus.collisions == 1
        assert b"S" * 8 not in b"".join(heard)
        assert b"T" not in b"".join(heard)
        bus.close()

    run(work)


def test_the_middle_of_the_wire_can_edit_drop_and_add(tmp_path):
    async def work():
        bus = Bus(tmp_path / "bus", 0)
        pd = Peripheral(Settings(1, bytes.fromhex(KEY)))
        Station(bus, pd)
        bus.plug()
        seen = []

        def tap(from_panel, raw):
            seen.append((from_panel, raw[5]))
            return None if len(seen) == 1 else raw  # the first command is lost: it is asked again

        bus.tap = tap
        async with libosdp_cp(tmp_path / "bus", {"address": 1, "key": KEY}) as cp:
            await cp.event("state", 10, secure=True)
        assert seen[:3] == [(True, 0x61), (True, 0x61), (False, 0x45)]
        bus.close()

    run(work)


def test_a_line_that_is_cut_breaks_the_panels_port_and_comes_back_under_another_name(tmp_path):
    async def work():
        opened = asyncio.Event()
        bus = Bus(tmp_path / "bus", 0, in_use=lambda now: opened.set() if now else opened.clear())
        Station(bus, Peripheral(Settings(1)))

        async def panel(link):
            port = os.open(link, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            await opened.wait()
            return port

        bus.plug()
        port = await panel(tmp_path / "bus")
        bus.cut()
        with pytest.raises(OSError, match="Input/output"):
            os.write(port, build(1, 0, 0x61, b"\0"))
        os.close(port)
        assert not (tmp_path / "bus").exists()
        opened.clear()
        bus.plug(tmp_path / "other")
        port = await panel(tmp_path / "other")
        os.write(port, build(1, 0, 0x61, b"\0"))
        while True:
            with contextlib.suppress(BlockingIOError):
                assert parse(os.read(port, 100)).code == Say.PDID
                break
            await asyncio.sleep(0.01)
        os.close(port)
        bus.close()

    run(work)
