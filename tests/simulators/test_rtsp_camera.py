"""The simulated IP camera before a client that is not ours: FFmpeg, as OpenCV has it; by hand where that is kind."""

import asyncio
import io
import re
from contextlib import asynccontextmanager, suppress

import cv2
import pytest
import zxingcpp
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lintel.simulators.parts import SimulatorError
from lintel.simulators.rtp_jpeg import Packets, parse
from lintel.simulators.rtsp_camera import Camera, Options, draw
from lintel.simulators.rtsp_server import digest, read_request


@asynccontextmanager
async def camera(**options):
    cam = Camera(Options(listen="127.0.0.1:0", fps=20, **options), lambda *_, **__: None)
    await cam.do_plug()
    try:
        yield cam
    finally:
        await cam.power_off()


def watch(url, frames=10):
    """What FFmpeg makes of a stream: the size of its pictures and the codes on them; None: it does not open."""
    params = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 5000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 5000]
    video = cv2.VideoCapture(url, cv2.CAP_FFMPEG, params)
    try:
        if not video.isOpened():
            return None
        shape, seen = None, []
        for _ in range(frames):
            good, picture = video.read()
            assert good
            shape = picture.shape[:2]
            seen += [c.text for c in zxingcpp.read_barcodes(picture)]
        return shape, set(seen)
    finally:
        video.release()


def test_ffmpeg_sees_the_code_that_is_held_before_it():
    async def stage():
        async with camera(width=640, height=360) as cam:
            await cam.do_show(text=["ONE", "TWO"], seconds=30)
            return await asyncio.to_thread(watch, f"rtsp://127.0.0.1:{cam.port}/live")

    assert asyncio.run(stage()) == ((360, 640), {"ONE", "TWO"})


@pytest.mark.parametrize(("login", "opens"), [("admin:s%40cret@", True), ("admin:other@", False), ("", False)])
def test_ffmpeg_logs_in_by_digest(login, opens):
    async def stage():
        async with camera(username="admin", password="s@cret") as cam:
            await cam.do_show(text="IN", seconds=30)
            seen = await asyncio.to_thread(watch, f"rtsp://{login}127.0.0.1:{cam.port}/live", 5)
            assert "DESCRIBE 401" in cam.server.requests
            return seen

    assert asyncio.run(stage()) == (((480, 640), {"IN"}) if opens else None)


def test_the_digest_is_that_of_rfc_2617():
    """The example of section 3.5 without qop, as RFC 2069 had it; its published response is of this password."""
    response = digest(
        "Mufasa",
        "testrealm@host.com",
        "CircleOfLife",
        nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",
        method="GET",
        url="/dir/index.html",
    )
    assert response == "1949323746fe6a43ef61f9606e7febea"


async def ask(port, *requests):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = []
    try:
        for request in requests:
            writer.write(request)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            found = re.search(rb"Content-Length: (\d+)", head)
            said.append(head + (await reader.readexactly(int(found[1])) if found else b""))
    finally:
        writer.close()
        await writer.wait_closed()
    return said


def test_what_it_does_not_do_it_says():
    async def stage():
        async with camera() as cam:
            url = b"rtsp://127.0.0.1/live"
            return await ask(
                cam.port,
                b"RECORD " + url + b" RTSP/1.0\r\nCSeq: 1\r\n\r\n",
                b"DESCRIBE rtsp://127.0.0.1/other RTSP/1.0\r\nCSeq: 2\r\n\r\n",
                b"SETUP " + url + b" RTSP/1.0\r\nCSeq: 3\r\nTransport: RTP/AVP;unicast;client_port=5000-5001\r\n\r\n",
                b"DESCRIBE " + url + b" RTSP/1.0\r\nCSeq: 4\r\n\r\n",
            )

    said = asyncio.run(stage())
    assert [s.split(b"\r\n")[:2] for s in said] == [
        [b"RTSP/1.0 405 Method Not Allowed", b"CSeq: 1"],
        [b"RTSP/1.0 404 Not Found", b"CSeq: 2"],
        [b"RTSP/1.0 461 Unsupported Transport", b"CSeq: 3"],
        [b"RTSP/1.0 200 OK", b"CSeq: 4"],
    ]
    assert b"m=video 0 RTP/AVP 26" in said[3]


@given(st.binary(max_size=200))
def test_any_request_is_read_or_refused(head):
    with suppress(ValueError):  # of which UnicodeDecodeError is one
        read_request(head)


def jpeg(image, **options):
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    return out.getvalue()


def test_packets_hold_the_whole_scan_and_the_tables():
    image = draw(["A"], 320, 240, 4)
    picture = parse(jpeg(image, subsampling="4:2:0"))
    packets = Packets(7, sequence=65534).of(picture, 1 << 33)
    assert (picture.width, picture.height, picture.kind) == (320, 240, 1)
    assert [int.from_bytes(p[2:4]) for p in packets[:3]] == [65535, 0, 1]
    assert [p[1] >> 7 for p in packets] == [0] * (len(packets) - 1) + [1]
    assert packets[0][20:24] == b"\0\0\0\x80"
    assert packets[0][24:152] == picture.tables
    assert packets[0][152:] + b"".join(p[20:] for p in packets[1:]) == picture.scan
    assert parse(jpeg(image, subsampling="4:2:2")).kind == 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8",
        jpeg(Image.new("L", (64, 64))),
        jpeg(Image.new("RGB", (65, 64))),
        jpeg(Image.new("RGB", (64, 64)), subsampling="4:4:4"),
        jpeg(Image.new("RGB", (64, 64)), progressive=True),
    ],
    ids=["nothing", "cut", "grey", "odd", "4:4:4", "progressive"],
)
def test_a_jpeg_that_rtp_can_not_carry_is_refused(data):
    with pytest.raises(SimulatorError, match="baseline"):
        parse(data)
