"""What a host may ask of a serial reader, in the languages of several makers."""

import pytest

from .test_qr_reader import drive


def test_zk_trigger(tmp_path):
    async def work(sim, open_port):
        port = await open_port()
        assert (await sim.command("scan", text="A"))["sent"] == 0, "nothing is read before the trigger"
        assert port.read(5) == b""
        port.write(b"T")
        await sim.event("asked", what="start")
        assert (await sim.command("scan", text="A"))["sent"] == 1
        assert (await sim.command("scan", text="A"))["sent"] == 0, "one trigger, one code"
        assert port.read(3) == b"A\r\n"
        port.write(b"T")
        port.timeout = 2
        assert port.read_until(b"\n") == b"%%NoRead\r\n"
        port.write(b"TP")
        await sim.event("asked", what="stop")
        assert (await sim.command("scan", text="A"))["sent"] == 0

    drive(work, tmp_path / "qr", "--mode", "triggered", "--read-time", "0.4")


def test_newland_commands_are_answered(tmp_path):
    def ask(word):
        return b"\x7e\x010000#" + word + b";\x03"

    async def work(sim, open_port):
        port = await open_port()
        port.write(bytes.fromhex("7E013030303023") + b"SCNMOD0" + bytes.fromhex("3B03"))
        assert port.read(18) == b"\x02\x010000#SCNMOD0\x06;\x03"
        assert (await sim.command("scan", text="A"))["sent"] == 0
        port.write(bytes.fromhex("7E013030303023 53434E54524731 3B03"))
        assert port.read(18) == bytes.fromhex("020130303030 23 53434E54524731 06 3B03".replace(" ", ""))
        assert (await sim.command("scan", text="A"))["sent"] == 1
        assert port.read(3) == b"A\r\n"
        port.write(ask(b"RRDDUR99999"))
        assert port.read(22) == b"\x02\x010000#RRDDUR99999\x15;\x03"
        port.write(ask(b"NOSUCH1"))
        assert port.read(18) == b"\x02\x010000#NOSUCH1\x05;\x03"

    drive(work, tmp_path / "qr", "--commands", "newland")


def test_honeywell_and_cipherlab(tmp_path):
    async def honeywell(sim, open_port):
        port = await open_port()
        port.write(b"\x16M\rPAPHHF.")
        assert port.read(8) == b"PAPHHF\x06."
        port.write(b"\x16T\r")
        await sim.event("asked", what="start")
        assert (await sim.command("scan", text="A"))["sent"] == 1

    async def cipherlab(sim, open_port):
        port = await open_port()
        port.write(b"D")
        await sim.event("asked", what="disable")
        assert (await sim.command("scan", text="A"))["sent"] == 0
        port.write(b"E")
        await sim.event("asked", what="enable")
        assert (await sim.command("scan", text="A"))["sent"] == 1

    drive(honeywell, tmp_path / "qr", "--commands", "honeywell", "--mode", "triggered")
    drive(cipherlab, tmp_path / "qr", "--commands", "cipherlab")


@pytest.mark.parametrize(("family", "start", "stop"), [("keyence", b"LON", b"LOFF"), ("opticon", b"\x1bZ", b"\x1bY")])
def test_commands_that_are_lines(tmp_path, family, start, stop):
    async def work(sim, open_port):
        port = await open_port()
        for command, asked in ((stop, "stop"), (b"X", "nothing"), (start, "start")):
            port.write(command + b"\r")
            await sim.event("asked", what=asked)
        assert (await sim.command("scan", text="A"))["sent"] == 1
        assert port.read(2) == b"A\r"

    drive(work, tmp_path / "qr", "--commands", family, "--mode", "triggered", "--framing", "cr")
