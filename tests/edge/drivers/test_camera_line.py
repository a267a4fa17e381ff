"""A camera's line: hung cameras, wrong passwords, hostile codes, mistakes of the configuration."""

import asyncio
import logging
import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from lintel.edge.drivers import camera
from lintel.edge.drivers.base import Device, Line
from lintel.edge.errors import ConfigError, Lost, Refused
from lintel.edge.model import Direction, Method, Reason
from lintel.edge.profiles import builtin
from tests.edge.drivers.camera_rig import FolderCamera, address, build, ip_camera, png, read, shown, workers
from tests.edge.drivers.contract import DIGEST, Recorder, context, running, until

PASSWORD = "CANARY pass/wörd:@%"


async def ends(driver, inlet, seconds=20.0):
    """How `run` ends."""
    with pytest.raises((Lost, Refused)) as caught:
        await asyncio.wait_for(driver.run(inlet), seconds)
    return caught.value


# ---- the IP camera: FFmpeg, which is not ours, on one end; the simulator on the other


def test_codes_held_before_an_ip_camera_with_a_login_are_presented_once_each(caplog):
    caplog.set_level(logging.DEBUG)

    async def stage():
        async with ip_camera(username="admin", password=PASSWORD) as cam:
            driver, inlet = build("rtsp", address(cam), username="admin", password=PASSWORD), Recorder()
            async with running(driver, inlet):
                await cam.do_show(text=["LEFT-1", "L1:RIGHT"], seconds=1.5)
                await until(lambda: len(inlet.readings) >= 2, 10)
                (pid,) = workers()
                assert b"gate-cam" in shown(pid)
                for form in (PASSWORD, "CANARY", "w%C3%B6rd"):
                    assert form.encode() not in shown(pid)
                assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
                assert read(pid, "oom_score_adj").strip() == b"1000"
                assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
                assert 0 < resource.prlimit(pid, resource.RLIMIT_AS)[1] < 1 << 30
                await asyncio.sleep(1.7)  # held all the time, and taken away
            assert "DESCRIBE 401" in cam.server.requests
            assert [(r.method, r.digest) for r in inlet.readings] == [
                (Method.QR, DIGEST(Method.QR, "LEFT-1")),
                (Method.PASS, DIGEST(Method.PASS, "L1:RIGHT")),
            ]
            assert all(0 <= r.age < 2 for r in inlet.readings)
            assert inlet.facts == []
        assert "CANARY" not in caplog.text + repr(vars(driver)) + repr(inlet.readings)

    asyncio.run(stage())


def test_control_a_password_in_the_arguments_is_seen():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(9)", f"rtsp://a:{PASSWORD}@b"])
    try:
        asyncio.run(until(lambda: PASSWORD.encode() in shown(process.pid), 10))
    finally:
        process.kill()
        process.wait()


def test_a_wrong_password_is_refused_and_not_tried_again():
    async def stage():
        async with ip_camera(username="admin", password=PASSWORD) as cam:
            inlet = Recorder()
            error = await ends(build("rtsp", address(cam), username="admin", password="CANARY"), inlet)
            assert isinstance(error, Refused)
            assert str(error) == "wrong user name or password"
            assert inlet.ups == 0
            assert isinstance(await ends(build("rtsp", address(cam)), inlet), Refused)
            wrong = build("rtsp", address(cam) + "er", username="admin", password=PASSWORD)
            error = await ends(wrong, inlet)
            assert isinstance(error, Lost)
            assert str(error) == "the camera answers 404"

    asyncio.run(stage())


@pytest.mark.parametrize("how", ["deaf", "freeze"])
def test_a_camera_that_hangs_is_lost_and_nothing_waits_for_it(how):
    """Deaf: it takes the connection and says nothing. Frozen: its stream stops and the connection stays."""

    async def stage():
        async with ip_camera() as cam:
            inlet = Recorder()
            driver = build("rtsp", address(cam), open_s=1, read_s=1)
            if how == "deaf":
                await cam.do_deaf()
            task = asyncio.create_task(driver.run(inlet))
            if how == "freeze":
                await until(lambda: inlet.ups, 20)
                await cam.do_freeze()
            slowest = 0.0
            while not task.done():
                before = time.monotonic()
                await asyncio.sleep(0.01)
                slowest = max(slowest, time.monotonic() - before)
            with pytest.raises(Lost):
                await task
            assert slowest < 1.0
            assert workers() == []
            await (cam.do_deaf(on=False) if how == "deaf" else cam.do_freeze(on=False))
            async with running(driver, inlet, inlet.ups + 1):
                await cam.do_show(text="AFTER", seconds=3)
                await until(lambda: inlet.readings, 10)

    asyncio.run(stage())


def test_a_code_that_was_stuck_on_the_way_is_old():
    """The worker stands still for 2 s while somebody shows a code and leaves; what it then finds is old, or gone."""

    async def stage():
        async with ip_camera(fps=20, width=320, height=320) as cam:
            driver, inlet = build("rtsp", address(cam), fps=60), Recorder()
            async with running(driver, inlet):
                await cam.do_show(text="NEW", seconds=0.5)
                await until(lambda: inlet.readings, 10)
                assert inlet.readings[0].age < 1.0
                await asyncio.sleep(1.0)
                (pid,) = workers()
                os.kill(pid, signal.SIGSTOP)
                await cam.do_show(text="STUCK", seconds=0.3)
                await asyncio.sleep(2.0)
                os.kill(pid, signal.SIGCONT)
                await cam.do_show(text="NEXT", seconds=3)
                await until(lambda: DIGEST(Method.QR, "NEXT") in inlet.digests(), 10)
            stuck = [r for r in inlet.readings if r.digest == DIGEST(Method.QR, "STUCK")]
            assert all(r.age > 1.0 for r in stuck)
            assert [r.age < 1.5 for r in inlet.readings if r not in stuck] == [True, True]

    asyncio.run(stage())


# ---- what stands on codes

HOSTILE = ["' OR 1=1 --", "$(reboot)", "../../etc/passwd", "門禁", "A\x00B", "A" * 700, "１２３", "a b"]


def test_hostile_codes_are_refused_bounded_and_the_next_one_passes(tmp_path):
    async def stage():
        rig = FolderCamera(tmp_path / "pictures")
        await rig.plug()
        driver, inlet = rig.build(), Recorder()
        async with running(driver, inlet):
            for number, text in enumerate(HOSTILE):
                await rig.write(png(text, module=3, size=(600, 600)))
                await until(lambda n=number: len(inlet.readings) > n, 10)
            await rig.write(png("GOOD"))
            await until(lambda: DIGEST(Method.QR, "GOOD") in inlet.digests(), 10)
        bad = inlet.readings[:-1]
        assert [r.fault for r in bad] == [Reason.BAD_FORMAT] * len(HOSTILE)
        assert all(r.digest == b"" and len(r.detail) < 200 and r.detail.isascii() for r in bad)

    asyncio.run(stage())


def test_the_same_code_again_after_the_window_is_a_new_presentation(tmp_path):
    async def stage():
        rig = FolderCamera(tmp_path / "pictures")
        await rig.plug()
        driver, inlet = build("file", rig.folder, fps=60, window_ms=400), Recorder()
        async with running(driver, inlet):
            for _ in range(5):  # held
                await rig.write(png("HELD"))
                await asyncio.sleep(0.15)
            await until(lambda: inlet.readings, 10)
            await asyncio.sleep(1.0)
            held = len(inlet.readings)
            await rig.write(png("HELD"))
            await until(lambda: len(inlet.readings) > held, 10)
        assert held <= 2, "one, or two where the box stood still for 0.4 s"

    asyncio.run(stage())


# ---- the configuration


@pytest.mark.parametrize(
    ("options", "profile", "where"),
    [
        ({"source": "rtsp://admin:secret@10.0.0.9/live"}, "camera-rtsp", "line.c.source"),
        ({"source": "http://10.0.0.9/live"}, "camera-rtsp", "line.c.source"),
        ({"source": "/dev/video0"}, "camera-rtsp", "line.c.source"),
        ({"source": "pictures"}, "camera-file", "line.c.source"),
        ({"source": "/dev/ttyUSB0"}, "camera-usb", "line.c.source"),
        ({"source": "/dev/video0"}, "generic-cr", "device.cam.profile"),
        ({"source": "/dev/video0", "baud": 9600}, "camera-usb", "line.c.baud"),
    ],
)
def test_a_mistake_is_named_and_quotes_no_password(options, profile, where):
    with pytest.raises(ConfigError) as caught:
        camera.build(
            Line("c", "camera", options), [Device("cam", "", "gate", Direction.IN, builtin()[profile])], context()
        )
    assert where in [m.where for m in caught.value.mistakes]
    assert "secret" not in str(caught.value)


def test_a_missing_package_is_named_with_what_to_do(monkeypatch):
    monkeypatch.setattr(camera, "_NEEDS", ("numpy", "no_such_module_here"))
    with pytest.raises(ConfigError, match=r"no_such_module_here to be installed: pip install 'lintel\[camera\]'"):
        build("usb", "/dev/video0")


def test_a_usb_camera_that_is_not_there_is_lost():
    async def stage():
        assert "no such device" in str(await ends(build("usb", "/dev/video97"), Recorder()))

    asyncio.run(stage())
