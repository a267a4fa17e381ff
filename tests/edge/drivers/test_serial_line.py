"""What only a serial line has: codes as they are, hostile bytes, handshakes, answers, swapped cables, noise."""

import asyncio
import os
import time

import pytest

from lintel.edge.drivers.base import Device, Line
from lintel.edge.drivers.serial_qr import build
from lintel.edge.errors import ConfigError, Lost
from lintel.edge.model import Action, Direction, Method, Notice, Order, Outcome, Reason
from lintel.edge.profiles import builtin
from lintel.simulators.client import Simulator
from tests.edge.drivers.contract import DIGEST, Recorder, context, running, until
from tests.edge.drivers.pty_reader import PtyReader, on_reader


def test_codes_as_they_are(tmp_path):
    async def scene(rig, driver, inlet):
        await rig.write(b"L1:AB\r\nL2: CD \rOPEN\r%%NoRead\rNR\r\r\nopen-2\r")
        await until(lambda: len(inlet.readings) == 4)
        await asyncio.sleep(0.05)
        found = [(r.method, r.token, r.digest) for r in inlet.readings]
        assert found == [
            (Method.PASS, "L1:AB", DIGEST(Method.PASS, "L1:AB")),
            (Method.PASS, "L2: CD ", DIGEST(Method.PASS, "L2: CD ")),
            (Method.QR, "", DIGEST(Method.QR, "OPEN")),
            (Method.QR, "", DIGEST(Method.QR, "open-2")),
        ]

    on_reader("generic-cr", tmp_path, scene)


HOSTILE = [
    *(bytes.fromhex(h) for h in ("C0AF", "EDA080", "F08282AC", "4100", "E280AE", "EFBC91", "D9A1", "C2B2")),
    *(b"' OR 1=1 --", b'"; DROP TABLE credential;--', b"%00", b"{{7*7}}", b"$(reboot)", b"../../etc/passwd", b" 41 "),
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_foreign_bytes_are_refused_as_hex(tmp_path, hostile):
    async def scene(rig, driver, inlet):
        await rig.write(hostile + b"\rGOOD\r")
        await until(lambda: len(inlet.readings) == 2)
        refused, good = inlet.readings
        assert (refused.fault, refused.digest, refused.token) == (Reason.BAD_FORMAT, b"", "")
        assert refused.detail.endswith(hostile.hex())
        assert refused.detail.isascii()
        assert good.fault is None

    on_reader("generic-cr", tmp_path, scene)


@pytest.mark.parametrize("size", [600, 3000, 64 * 1024, 1024 * 1024])
def test_an_over_long_code_is_one_line_and_the_next_is_understood(tmp_path, size):
    async def scene(rig, driver, inlet):
        await rig.write(b"A" * size + b"\r")
        await until(lambda: inlet.readings, 10)
        start = time.monotonic()
        await rig.write(b"GOOD\r")
        await until(lambda: len(inlet.readings) == 2)
        assert time.monotonic() - start < 0.05
        assert [r.fault for r in inlet.readings] == [Reason.BAD_FORMAT, None]

    on_reader("generic-cr", tmp_path, scene)


def test_too_long_for_a_credential(tmp_path):
    async def scene(rig, driver, inlet):
        await rig.write(b"A" * 128 + b"\r" + b"A" * 129 + b"\r")
        await until(lambda: len(inlet.readings) == 2)
        assert [r.fault for r in inlet.readings] == [None, Reason.BAD_FORMAT]
        assert len(inlet.readings[1].detail) < 200

    on_reader("generic-cr", tmp_path, scene)


def test_a_held_phone_is_one_presentation(tmp_path):
    async def scene(rig, driver, inlet):
        for _ in range(6):
            await rig.write(b"SAME\r")
            await asyncio.sleep(0.4)
        assert len(inlet.readings) == 1  # 2.4 s in all, never 1.5 s without it
        await asyncio.sleep(1.6)
        await rig.write(b"SAME\r")
        await until(lambda: len(inlet.readings) == 2)

    on_reader("generic-cr", tmp_path, scene)


def test_ack_nak_and_a_lost_ack(tmp_path):
    async def scene(rig, driver, inlet):
        await rig.write(b"L1:AB\r")
        await until(lambda: rig.said == b"\x06")
        await rig.write(b"L1:AB\r")  # the reader did not hear it
        await until(lambda: rig.said == b"\x06\x06")
        await rig.write(b"L1\x81AB\r")
        await until(lambda: rig.said == b"\x06\x06\x15")
        assert [r.fault for r in inlet.readings] == [None, Reason.BAD_FORMAT]

    on_reader("generic-ack-nak", tmp_path, scene)


def test_ack_comes_while_the_gate_is_busy(tmp_path):
    async def scene(rig, driver, inlet):
        inlet.gate.clear()
        await rig.write(b"L1:AB\r")
        await until(lambda: rig.said == b"\x06")
        await asyncio.sleep(0.6)
        inlet.gate.set()
        await until(lambda: inlet.readings)

    on_reader("generic-ack-nak", tmp_path, scene)


def test_a_reading_that_waited_says_how_old_it_is(tmp_path):
    async def scene(rig, driver, inlet):
        inlet.gate.clear()
        await rig.write(b"ONE\rTWO\r")
        await asyncio.sleep(0.6)
        inlet.gate.set()
        await until(lambda: len(inlet.readings) == 2)
        waited = inlet.readings[1]
        assert waited.age + time.monotonic() - waited.mono >= 0.5, "the gate adds what passed since `mono`"

    on_reader("generic-cr", tmp_path, scene)


def test_stale_bytes_are_thrown_away(tmp_path):
    async def stage():
        rig, inlet = PtyReader("generic-cr", tmp_path / "reader"), Recorder()
        await rig.plug()
        keep = os.open(rig.link, os.O_RDWR | os.O_NOCTTY)  # so that bytes written now are kept by the kernel
        await rig.write(b"STALE\r")
        task = asyncio.create_task(rig.build().run(inlet))
        await asyncio.sleep(0.03)
        await rig.write(b"EARLY\r")
        await until(lambda: inlet.ups)
        await rig.write(b"FRESH\r")
        await until(lambda: inlet.readings)
        assert inlet.digests() == [DIGEST(Method.QR, "FRESH")]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        os.close(keep)
        await rig.unplug()

    asyncio.run(stage())


def test_another_port_under_the_same_name_is_another_reader(tmp_path):
    async def scene(rig, driver, inlet):
        old = rig.master
        asyncio.get_running_loop().remove_reader(old)
        await rig.plug()  # the link now names another pty; the first one still lives
        await until(lambda: inlet.ups == 2, 2.0)
        await rig.write(b"NEW\r")
        await until(lambda: inlet.readings)
        assert os.write(old, b"OLD\r") == 4
        await asyncio.sleep(0.1)
        assert inlet.digests() == [DIGEST(Method.QR, "NEW")]
        os.close(old)

    on_reader("generic-cr", tmp_path, scene)


def test_a_port_in_use_or_missing_is_lost(tmp_path):
    async def scene(rig, driver, inlet):
        with pytest.raises(Lost, match="reader"):
            await rig.build().run(Recorder())

    on_reader("generic-cr", tmp_path, scene)
    missing = PtyReader("generic-cr", tmp_path / "none")
    with pytest.raises(Lost, match="No such file"):
        asyncio.run(missing.build().run(Recorder()))


def test_newland_is_set_up_and_its_answers_are_no_codes(tmp_path):
    asked = bytes.fromhex("7E 01 30 30 30 30 23 53 43 4E 4D 4F 44 32 3B 03")
    answer = bytes.fromhex("02 01 30 30 30 30 23 53 43 4E 4D 4F 44 32 06 3B 03")

    async def stage():
        rig, inlet = PtyReader("newland-serial", tmp_path / "reader"), Recorder()
        await rig.plug()
        async with asyncio.timeout(5):
            task = asyncio.create_task(rig.build().run(inlet))
            await until(lambda: rig.said == asked)
            await rig.write(b"CODE1\r" + answer[:7])
            await asyncio.sleep(0.05)
            await rig.write(answer[7:] + b"CODE2\r")
            await until(lambda: len(inlet.readings) == 2)
        assert inlet.digests() == [DIGEST(Method.QR, "CODE1"), DIGEST(Method.QR, "CODE2")]
        assert not inlet.facts
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await rig.unplug()

    asyncio.run(stage())


def test_a_set_up_that_is_not_answered_is_a_fault_and_codes_still_come(tmp_path):
    async def scene(rig, driver, inlet):
        assert [(f.notice, f.device) for f in inlet.facts] == [(Notice.DEVICE_FAULT, "reader-1")]
        answer = rig.profile.spec.find("auto-sense").accepted
        await rig.write(answer + b"CODE1\r")  # late, and still no part of the code
        await until(lambda: DIGEST(Method.QR, "CODE1") in inlet.digests())

    on_reader("newland-serial", tmp_path, scene)


def test_trigger_is_sent_and_armed_again(tmp_path):
    async def scene(rig, driver, inlet):
        assert rig.said == b"T"
        await rig.write(b"CODE1\r")
        await until(lambda: rig.said == b"TR")
        await rig.write(b"%%NoRead\r" * 5)
        await asyncio.sleep(0.3)
        assert rig.said == b"TRR"  # folded: no ping-pong at line speed

    on_reader("zkteco-zkb200", tmp_path, scene)


def test_orders_a_reader_can_not_carry_out(tmp_path):
    async def scene(rig, driver, inlet):
        for action in (Action.OPEN, Action.SHOW, Action.BEEP):
            order = Order("o", "door-1", "reader-1", action, time.monotonic() + 1)
            assert await driver.execute(order) is Outcome.REFUSED_BY_DEVICE

    on_reader("generic-cr", tmp_path, scene)


def test_a_beep_that_is_not_answered_is_unknown(tmp_path):
    async def scene(rig, driver, inlet):
        rig.profile = builtin()["generic-cr"]  # the reader falls silent
        order = Order("o", "door-1", "reader-1", Action.BEEP, time.monotonic() + 2)
        assert await driver.execute(order) is Outcome.UNKNOWN_OUTCOME
        assert rig.said.count(rig.beep) == 1  # and never repeated

    on_reader("zebra-ssi", tmp_path, scene)


def test_unplugged_between_command_and_answer_is_unknown_and_never_repeated(tmp_path):
    async def scene(rig, driver, inlet):
        rig.profile = builtin()["generic-cr"]  # it will not answer
        order = Order("o", "door-1", "reader-1", Action.BEEP, time.monotonic() + 2)
        asked = asyncio.create_task(driver.execute(order))
        await until(lambda: rig.said.count(rig.beep) == 1)
        await rig.unplug()
        assert await asyncio.wait_for(asked, 1) is Outcome.UNKNOWN_OUTCOME
        rig.profile = builtin()["zebra-ssi"]
        await rig.plug()
        await until(lambda: inlet.ups == 2)
        assert rig.said.count(rig.beep) == 1

    on_reader("zebra-ssi", tmp_path, scene)


def test_noise_is_cheap_and_said_once(tmp_path):
    """11 kB/s, the full speed of 115200 baud: under 5 % of one core, one notice, at most a few refused lines."""

    async def scene(rig, driver, inlet):
        noise = bytes(range(128, 256)) + b"\x00\r"
        begin, shares = time.monotonic(), []
        for _ in range(3):  # a neighbour on the machine makes a second dear, not all of them
            start, before, own = time.monotonic(), time.process_time(), 0.0
            while time.monotonic() < start + 1:
                writing = time.process_time()
                await rig.write(noise)
                own += time.process_time() - writing
                await asyncio.sleep(len(noise) / 11_520)
            shares.append((time.process_time() - before - own) / (time.monotonic() - start))
        assert min(shares) < 0.05
        assert len(inlet.readings) <= 6 + time.monotonic() - begin
        await rig.write(b"GOOD\r")
        await until(lambda: DIGEST(Method.QR, "GOOD") in inlet.digests())
        (fact,) = inlet.facts
        assert (fact.notice, fact.device) == (Notice.FRAME_ERROR, "reader-1")

    on_reader("generic-cr", tmp_path, scene)


def test_every_mistake_of_the_line_is_named():
    profile = builtin()["generic-cr"]
    devices = [Device(f"r{n}", "", "d", Direction.IN, profile) for n in range(2)]
    with pytest.raises(ConfigError) as caught:
        build(Line("gate", "serial_qr", {"path": "socket://evil", "baud": 9601, "speed": 1}), devices, context())
    named = {m.where for m in caught.value.mistakes}
    assert named == {"line.gate.speed", "line.gate.path", "line.gate.baud", "line.gate"}
    assert build(Line("gate", "serial_qr", {"path": "/dev/x", "baud": 38400}), devices[:1], context())


TOKEN = (
    "L1:812%-0V-P.90-5JUA0U50LM0XRO7 HE/E YO7HHOT58 UPPNL4RQ/9ZRF.W"
    "JV$D14L31M+GMAASN1U-GT5X3NU1J 3X0QZV5/FB2+GF:2SW0L0MZ76%0E20"
)


@pytest.mark.parametrize(
    ("profile", "options"),
    [
        ("generic-cr", ("--framing", "cr", "--baud", "9600")),
        ("generic-usb-cdc", ("--framing", "none", "--baud", "0")),
        ("generic-ack-nak", ("--framing", "acknak")),
        ("zkteco-zkb200", ("--commands", "zk", "--mode", "triggered", "--read-time", "0.5")),
        ("newland-serial", ("--commands", "newland", "--mode", "triggered")),
        ("honeywell-serial", ("--commands", "honeywell", "--mode", "triggered", "--no-read", "NR")),
        ("cipherlab-serial", ("--commands", "cipherlab")),
        ("zebra-ssi", ("--framing", "ssi", "--packeted", "false", "--baud", "0")),
        ("denso-qk20", ("--framing", "stxetx")),
        ("datalogic-gryphon", ("--framing", "acknak", "--aim", "true")),
        ("sick-idm", ("--framing", "tab", "--aim", "true")),
        ("keyence-sr750", ("--framing", "cr", "--commands", "keyence", "--mode", "triggered", "--no-read", "ERROR")),
        ("opticon-nlv", ("--framing", "cr", "--commands", "opticon", "--mode", "triggered", "--no-read", "")),
    ],
)
def test_every_profile_reads_a_simulated_reader(tmp_path, profile, options):
    """The simulator shares no code with the driver: set up, read, half a code, noise, unplug, replug, read again."""

    async def stage():
        link = tmp_path / "by-id" / "qr"
        async with asyncio.timeout(30), Simulator("qr-reader", "--id", "r", "--link", str(link), *options) as sim:
            inlet = Recorder()
            device = Device("reader-1", "", "door-1", Direction.IN, builtin()[profile])
            driver = build(Line("gate", "serial_qr", {"path": str(link)}), [device], context())
            async with running(driver, inlet):
                assert not inlet.facts
                await sim.command("scan", text=TOKEN, hold=0.3)
                await until(lambda: inlet.readings)
                assert [r.token for r in inlet.readings] == [TOKEN]
                await sim.command("half", text=TOKEN)
                await sim.command("unplug")
                await asyncio.sleep(0.2)
                await sim.command("replug")
                await until(lambda: inlet.ups == 2, 3.0)
                await sim.command("scan", text="L1:AGAIN", hold=0.3)
                await until(lambda: len(inlet.readings) == 2)
            assert [r.token for r in inlet.readings] == [TOKEN, "L1:AGAIN"]
            assert not inlet.facts

    asyncio.run(stage())
