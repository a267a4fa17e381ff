"""Pictures and videos as sources, through the real worker."""

import asyncio

import cv2
import numpy as np
import pytest

from lintel.edge.errors import Lost
from lintel.edge.model import Method, Notice
from lintel.simulators.rtsp_camera import draw
from tests.edge.drivers.camera_rig import FolderCamera, build, png
from tests.edge.drivers.contract import DIGEST, Recorder, running, until


def video(path, texts):
    """A second of MPEG-4, 10 pictures, for each text; "" is a bare wall."""
    out = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (320, 320))
    assert out.isOpened()
    for text in texts:
        picture = np.asarray(draw([text] if text else [], 320, 320, 8))
        for _ in range(10):
            out.write(picture)
    out.release()


def test_a_video_plays_at_its_own_speed_over_and_over(tmp_path):
    video(tmp_path / "door.mp4", ["ONE", "", "TWO"])

    async def stage():
        driver, inlet = build("file", tmp_path / "door.mp4", window_ms=500), Recorder()
        async with running(driver, inlet):
            await until(lambda: len(inlet.readings) >= 4, 30)
        one, two = DIGEST(Method.QR, "ONE"), DIGEST(Method.QR, "TWO")
        assert inlet.digests()[:4] == [one, two, one, two]
        moments = [r.mono - r.age for r in inlet.readings]
        assert moments[1] - moments[0] > 1.5
        assert inlet.ups == 1

    asyncio.run(stage())


def test_a_picture_is_held_before_it_as_long_as_it_is_there(tmp_path):
    path = tmp_path / "code.png"
    path.write_bytes(png("FIRST"))

    async def stage():
        driver, inlet = build("file", path), Recorder()
        task = asyncio.create_task(driver.run(inlet))
        await until(lambda: inlet.readings, 20)
        (tmp_path / "next.png").write_bytes(png("SECOND"))
        (tmp_path / "next.png").rename(path)
        await until(lambda: len(inlet.readings) == 2, 20)
        path.unlink()
        with pytest.raises(Lost, match="gone"):
            await asyncio.wait_for(task, 20)
        assert inlet.digests() == [DIGEST(Method.QR, "FIRST"), DIGEST(Method.QR, "SECOND")]

    asyncio.run(stage())


def test_what_lay_in_the_folder_is_old_and_what_is_no_picture_is_counted(tmp_path):
    async def stage():
        rig = FolderCamera(tmp_path / "pictures")
        await rig.plug()
        await rig.write(png("OLD"))
        driver, inlet = rig.build(), Recorder()
        async with running(driver, inlet):
            for junk in (b"", b"junk", png("CUT")[:300]):
                await rig.write(junk)
            (rig.folder / "notes.txt").write_bytes(png("NOTES"))
            await rig.write(png("NEW"))
            await until(lambda: inlet.readings, 20)
            await until(lambda: inlet.facts, 20)
        assert inlet.digests() == [DIGEST(Method.QR, "NEW")]
        assert [f.notice for f in inlet.facts] == [Notice.FRAME_ERROR]

    asyncio.run(stage())


def test_a_picture_that_still_grows_is_waited_for(tmp_path):
    async def stage():
        rig = FolderCamera(tmp_path / "pictures")
        await rig.plug()
        driver, inlet = rig.build(), Recorder()
        async with running(driver, inlet):
            data, path = png("GROWN"), rig.folder / "upload.png"
            with path.open("wb", buffering=0) as file:
                for at in range(0, len(data), len(data) // 30):
                    file.write(data[at : at + len(data) // 30])
                    await asyncio.sleep(0.02)
            await until(lambda: inlet.readings, 20)
            await asyncio.sleep(1.2)
        assert inlet.facts == []

    asyncio.run(stage())
