"""The serial reader, driven by pyserial on its pty: protocol reference 5.2 to 5.6."""

import asyncio
import base64
import fcntl
import io
import os
import termios
import time

import pytest
import segno
import serial
from PIL import Image, ImageFilter

from lintel.simulators.client import Simulator
from lintel.simulators.parts import SimulatorError

TOKEN = (
    "L1:812%-0V-P.90-5JUA0U50LM0XRO7 HE/E YO7HHOT58 UPPNL4RQ/9ZRF.W"
    "JV$D14L31M+GMAASN1U-GT5X3NU1J 3X0QZV5/FB2+GF:2SW0L0MZ76%0E20"
)


def drive(work, link, *options):
    """Run `work(sim, open_port)` with a reader on `link`; nothing may hang."""

    async def run():
        arguments = ("qr-reader", "--id", "r", "--link", str(link), "--baud", "0", *options)
        async with asyncio.timeout(20), Simulator(*arguments) as sim:
            ports = []

            async def open_port():
                port = serial.Serial(str(link), 9600, timeout=0.2)
                ports.append(port)
                await sim.event("attached")
                return port

            try:
                await work(sim, open_port)
            finally:
                for port in ports:
                    port.close()

    asyncio.run(run())


def png(text, scale=4, rotate=0, blur=0.0, contrast=1.0):
    out = io.BytesIO()
    segno.make(text, error="m", boost_error=False).save(out, kind="png", scale=scale, border=4)
    image = Image.open(io.BytesIO(out.getvalue())).convert("L")
    if rotate:
        image = image.rotate(rotate, expand=True, fillcolor=255, resample=Image.Resampling.BICUBIC)
    if blur:
        image = image.filter(ImageFilter.GaussianBlur(blur))
    if contrast != 1.0:
        image = image.point(lambda p: int(100 + p * contrast * 0.6))
    out = io.BytesIO()
    image.save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


@pytest.mark.parametrize(
    ("framing", "options", "sent"),
    [
        ("crlf", (), b"L1:AB\r\n"),
        ("cr", (), b"L1:AB\r"),
        ("lf", (), b"L1:AB\n"),
        ("none", (), b"L1:AB"),
        ("tab", (), b"L1:AB\t"),
        ("stxetx", (), b"\x02L1:AB\x03"),
        ("crlf", ("--prefix", "QR", "--aim", "true"), b"QR]Q1L1:AB\r\n"),
    ],
)
def test_a_code_leaves_the_reader_in_its_framing(tmp_path, framing, options, sent):
    async def work(sim, open_port):
        port = await open_port()
        answer = await sim.command("scan", text="L1:AB")
        assert answer["sent"] == 1
        assert port.read(100) == sent
        event = await sim.event("scanned")
        assert event["bytes"] == len(sent)
        assert 0 <= time.monotonic() - event["t"] < 5
        assert "L1" not in str(event)

    drive(work, tmp_path / "by-id" / "qr", "--framing", framing, *options)


def test_two_codes_and_spaces_are_sent_as_they_are(tmp_path):
    async def work(sim, open_port):
        port = await open_port()
        await asyncio.gather(sim.command("scan", text="L1:A"), sim.command("scan", text="L1:B"))
        await sim.command("scan", text=" AB ")
        assert port.read(15) == b"L1:A\rL1:B\r AB \r"

    drive(work, tmp_path / "qr", "--framing", "cr")


def test_a_line_has_the_speed_of_its_baud_rate(tmp_path):
    async def work(sim, open_port):
        await open_port()
        began = time.monotonic()
        await sim.command("scan", text=TOKEN)
        assert 0.124 <= time.monotonic() - began < 0.6  # 124 characters at 9600 8N1 take 129 ms
        event = await sim.event("scanned")
        assert event["t"] - event["t0"] >= 0.124

    drive(work, tmp_path / "qr", "--baud", "9600")


@pytest.mark.parametrize(
    "picture",
    [{}, {"rotate": 12}, {"rotate": -9, "blur": 1.0}, {"blur": 1.6}, {"rotate": 90}, {"contrast": 0.55, "rotate": 5}],
    ids=str,
)
def test_pictures_are_really_read(tmp_path, picture):
    async def work(sim, open_port):
        port = await open_port()
        answer = await sim.command("scan", png_base64=png(TOKEN, **picture))
        assert answer["found"]
        assert port.read(len(TOKEN) + 2) == TOKEN.encode() + b"\r\n"

    drive(work, tmp_path / "qr")


def test_a_picture_without_a_code_gives_the_no_read_text(tmp_path):
    blank = io.BytesIO()
    Image.new("L", (200, 200), 200).save(blank, "PNG")
    (tmp_path / "blank.png").write_bytes(blank.getvalue())

    async def work(sim, open_port):
        port = await open_port()
        unreadable = await sim.command("scan", png_base64=png(TOKEN, scale=1, blur=4))
        assert unreadable["found"] is False
        answer = await sim.command("scan", picture=str(tmp_path / "blank.png"))
        assert (answer["found"], answer["sent"]) == (False, 0)
        assert port.read(100) == b"%%NoRead\r" * 2
        with pytest.raises(SimulatorError, match="not a picture"):
            await sim.command("scan", png_base64="AAAA")

    drive(work, tmp_path / "qr", "--framing", "cr")


def test_what_is_sent_while_nobody_has_the_port_open_is_lost(tmp_path):
    async def work(sim, open_port):
        assert (await sim.command("scan", text="early"))["sent"] == 0
        port = await open_port()
        assert port.read(10) == b""
        await sim.command("scan", text="now")
        assert port.read(5) == b"now\r\n"
        port.close()
        await sim.event("detached")
        assert (await sim.command("scan", text="late"))["sent"] == 0
        port = await open_port()
        assert port.read(10) == b""

    drive(work, tmp_path / "qr")


def test_an_exclusive_port_can_be_opened_again(tmp_path):
    """An ordinary user is locked out of a pty by a former TIOCEXCL; root never is."""

    async def work(sim, open_port):
        for _ in range(2):
            port = await open_port()
            fcntl.ioctl(port.fd, termios.TIOCEXCL)
            await sim.command("scan", text="A")
            assert port.read(3) == b"A\r\n"
            port.close()
            await sim.event("detached")

    drive(work, tmp_path / "qr")


def test_held_code_repeats(tmp_path):
    async def work(sim, open_port):
        port = await open_port()
        answer = await sim.command("scan", text="X", hold=0.5)
        assert 2 <= answer["sent"] <= 6
        assert port.read(100) == b"X\r\n" * answer["sent"]

    drive(work, tmp_path / "qr", "--same-code", "0.1")


def test_unplug_breaks_the_port_and_replug_brings_the_link_back(tmp_path):
    link = tmp_path / "qr"

    async def work(sim, open_port):
        port = await open_port()
        await sim.command("half", text="L1:ABCDEFGH")
        assert port.read(100) == b"L1:ABC"
        await sim.command("unplug")
        assert not os.path.lexists(link)  # noqa: ASYNC240
        with pytest.raises(OSError):  # EIO, as pyserial reports it
            for _ in range(3):
                if port.read(1) == b"":
                    raise OSError
        assert (await sim.command("scan", text="x"))["sent"] == 0
        with pytest.raises(SimulatorError):
            await sim.command("garbage", hex="zz")
        await sim.command("replug")
        port = await open_port()
        await sim.command("scan", text="back")
        assert port.read(6) == b"back\r\n"
        await sim.command("garbage", hex="00ff1b")
        assert port.read(3) == b"\x00\xff\x1b"

    drive(work, link)
    assert not os.path.lexists(link), "the link is taken away at the end"


def test_acknak_sends_again_until_acknowledged(tmp_path):
    async def work(sim, open_port):
        port = await open_port()
        scan = asyncio.create_task(sim.command("scan", text="A"))
        await sim.event("scanned", attempt=1)
        port.write(b"\x15")
        await sim.event("scanned", attempt=2)
        port.write(b"\x06")
        assert (await scan)["sent"] == 1
        assert port.read(10) == b"A\rA\r"
        assert (await sim.command("scan", text="B"))["sent"] == 0
        assert port.read(100) == b"B\r" * 4, "the first and three more"
        await sim.event("unacknowledged")

    drive(work, tmp_path / "qr", "--framing", "acknak", "--answer-time", "0.15")


def test_ssi(tmp_path):
    async def work(sim, open_port):
        port = await open_port()
        scan = asyncio.create_task(sim.command("scan", text="LT1"))
        await sim.event("scanned", attempt=2)
        assert port.read(20) == bytes.fromhex("08F30000F14C543 1FD43 08F30001F14C5431FD42".replace(" ", ""))
        port.write(bytes.fromhex("04D00400FF28"))
        assert (await scan)["sent"] == 1
        port.write(bytes.fromhex("00 04EA0400FF0E"))  # wake-up, then SCAN_DISABLE
        assert port.read(6) == bytes.fromhex("04D00000FF2C")
        assert (await sim.command("scan", text="LT1"))["sent"] == 0
        port.write(bytes.fromhex("04E90400FF0E"))  # SCAN_ENABLE with a wrong checksum
        assert port.read(7) == bytes.fromhex("05D1000001FF29")
        assert (await sim.command("scan", text="LT1"))["sent"] == 0
        port.write(bytes.fromhex("04E90400FF0F 04A30400FF55".replace(" ", "")))
        assert port.read(6) == bytes.fromhex("04D00000FF2C")
        assert port.read(100)[1] == 0xA4

    drive(work, tmp_path / "qr", "--framing", "ssi", "--answer-time", "0.3")


def test_ssi_cuts_a_long_text_in_two_packets(tmp_path):
    async def work(sim, open_port):
        port = await open_port()
        scan = asyncio.create_task(sim.command("scan", text="A" * 300))
        await sim.event("scanned")
        first = port.read(257)
        assert (len(first), first[0], first[3]) == (257, 255, 2)
        assert (sum(first[:255]) + int.from_bytes(first[255:], "big")) & 0xFFFF == 0
        port.write(bytes.fromhex("04D00400FF28"))
        await sim.event("acknowledged")
        second = port.read(57)
        assert (second[0], second[3]) == (55, 0)
        port.write(bytes.fromhex("04D00400FF28"))
        assert (await scan)["sent"] == 1

    drive(work, tmp_path / "qr", "--framing", "ssi")


def test_ssi_is_plain_text_until_packets_are_asked_for(tmp_path):
    async def work(sim, open_port):
        port = await open_port()
        await sim.command("scan", text="LT1")
        assert port.read(20) == b"LT1\r"
        body = bytes.fromhex("07C60400FFEE01")
        port.write(body + (-sum(body) & 0xFFFF).to_bytes(2, "big"))
        assert port.read(6) == bytes.fromhex("04D00000FF2C")
        scan = asyncio.create_task(sim.command("scan", text="LT1"))
        await sim.event("scanned", attempt=1)
        assert port.read(10) == bytes.fromhex("08F30000F14C5431FD43")
        port.write(bytes.fromhex("04D00400FF28"))
        await scan

    drive(work, tmp_path / "qr", "--framing", "ssi", "--packeted", "false")
