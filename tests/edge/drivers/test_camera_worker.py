"""A camera's worker process that dies, hangs, lies, floods or wants too much memory: nothing but itself is hurt."""

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from lintel.edge.drivers import camera_process
from lintel.edge.errors import Lost
from lintel.edge.model import Notice
from tests.edge.drivers.camera_rig import FolderCamera, address, build, ip_camera, png, workers
from tests.edge.drivers.contract import Recorder, running, until

LIAR = (sys.executable, str(Path(__file__).with_name("camera_liar.py")))


def notices(inlet, notice):
    return [f for f in inlet.facts if f.notice is notice]


def test_a_killed_worker_is_started_anew_and_told():
    async def stage():
        async with ip_camera() as cam:
            driver, inlet = build("rtsp", address(cam)), Recorder()
            async with running(driver, inlet):
                for kills in (1, 2):
                    (pid,) = workers()
                    os.kill(pid, signal.SIGKILL)
                    await until(lambda n=kills: inlet.ups == n + 1, 20)
                await cam.do_show(text="AFTER", seconds=3)
                await until(lambda: inlet.readings, 10)
            (fact,) = notices(inlet, Notice.HELPER_KILLED)  # the second one within 10 s is told later
            assert fact.detail == "the worker ended: SIGKILL"

    asyncio.run(stage())


def test_a_worker_that_hangs_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(camera_process, "SILENCE_S", 1.5)

    async def stage():
        rig = FolderCamera(tmp_path / "pictures")
        await rig.plug()
        driver, inlet = rig.build(), Recorder()
        task = asyncio.create_task(driver.run(inlet))
        await until(lambda: inlet.ups, 20)
        (pid,) = workers()
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(Lost, match="silent"):
            await asyncio.wait_for(task, 20)
        assert workers() == []
        assert [f.detail for f in notices(inlet, Notice.HELPER_KILLED)] == ["the worker is silent"]

    asyncio.run(stage())


async def bombed(folder, memory_mb):
    """39 million pixels in half a MB come before a worker with so much memory."""
    rig = FolderCamera(folder)
    await rig.plug()
    driver, inlet = build("file", rig.folder, memory_mb=memory_mb), Recorder()
    bomb = await asyncio.to_thread(png, "BOMB", size=(6200, 6200), module=100)
    task = asyncio.create_task(driver.run(inlet))
    await until(lambda: inlet.ups, 20)
    await rig.write(bomb)
    await until(lambda: inlet.readings or inlet.facts or task.done(), 20)
    task.cancel()
    with suppress(Lost, asyncio.CancelledError):
        await task
    return inlet


def test_a_picture_that_wants_too_much_memory_costs_at_most_the_worker(tmp_path):
    """It may be passed over, or end the worker, which may or may not be able to say why."""
    inlet = asyncio.run(bombed(tmp_path / "pictures", 48))
    assert inlet.readings == []
    assert {f.notice for f in inlet.facts} <= {Notice.FRAME_ERROR, Notice.HELPER_KILLED}


def test_control_with_enough_memory_the_same_picture_is_read(tmp_path):
    assert asyncio.run(bombed(tmp_path / "pictures", 384)).readings


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("noise", "the worker sent"),
        ("length", "the worker sent a message of impossible length"),
        ("json", "the worker sent no message"),
        ("deep", "the worker sent no message"),
        ("many", "the worker sent no message"),
        ("long", "the worker sent no message"),
        ("backwards", "what only its driver says"),
        ("exit", "the worker ended: exit 3"),
        ("mute", "the worker is silent"),
    ],
)
def test_a_worker_that_speaks_nonsense_is_ended(tmp_path, monkeypatch, mode, why):
    monkeypatch.setattr(camera_process, "COMMAND", LIAR)
    monkeypatch.setattr(camera_process, "START_S", 1.0 if mode == "mute" else 20.0)

    async def stage():
        inlet = Recorder()
        with pytest.raises(Lost, match=why):
            await asyncio.wait_for(build("file", tmp_path, name=mode).run(inlet), 30)
        assert inlet.readings == []
        assert [f.notice for f in inlet.facts] == [Notice.HELPER_KILLED]

    asyncio.run(stage())


def test_a_worker_that_floods_is_bounded_by_the_rate_and_leaves_the_loop_to_others(tmp_path, monkeypatch):
    monkeypatch.setattr(camera_process, "COMMAND", LIAR)

    async def stage():
        driver, inlet = build("file", tmp_path, name="flood", rate=5, burst=10), Recorder()
        async with running(driver, inlet):
            began, turns = time.monotonic(), 0
            while time.monotonic() - began < 1.5:
                await asyncio.sleep(0.001)
                turns += 1
            took = time.monotonic() - began
        assert 10 <= len(inlet.readings) <= 10 + 5 * (took + 1)
        (fact,) = notices(inlet, Notice.FLOOD)
        assert fact.device == "cam"
        assert turns > 50

    asyncio.run(stage())


def test_control_without_the_rate_a_flood_goes_through(tmp_path, monkeypatch):
    monkeypatch.setattr(camera_process, "COMMAND", LIAR)

    async def stage():
        driver, inlet = build("file", tmp_path, name="flood"), Recorder()
        driver._presentations._rate = driver._presentations._tokens = driver._presentations._burst = 1e9
        async with running(driver, inlet):
            await asyncio.sleep(1.0)
        assert len(inlet.readings) > 100

    asyncio.run(stage())


@pytest.mark.parametrize("mode", ["future", "damage"])
def test_what_a_worker_says_of_time_and_damage_is_bounded(tmp_path, monkeypatch, mode):
    monkeypatch.setattr(camera_process, "COMMAND", LIAR)

    async def stage():
        driver, inlet = build("file", tmp_path, name=mode), Recorder()
        async with running(driver, inlet):
            await until(lambda: inlet.readings or inlet.facts, 10)
            await asyncio.sleep(0.3)
        assert [r.age for r in inlet.readings] == ([0.0] if mode == "future" else [])
        assert [f.notice for f in inlet.facts] == ([] if mode == "future" else [Notice.FRAME_ERROR])

    asyncio.run(stage())
