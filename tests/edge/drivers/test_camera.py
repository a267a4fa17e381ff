"""The driver of cameras under the contract: the real worker, with pictures that come into a folder."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from lintel.edge.drivers import camera_process
from tests.edge.drivers.camera_rig import FolderCamera
from tests.edge.drivers.contract import ReaderContract, Recorder, open_files, running, until


class TestFolder(ReaderContract):
    back_s = 10.0  # a worker loads OpenCV, at low priority

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path / "pictures"

    @asynccontextmanager
    async def rig(self):
        rig = FolderCamera(self.folder)
        await rig.plug()
        try:
            yield rig
        finally:
            if self.folder.exists():
                await rig.unplug()


def test_control_the_contract_sees_a_worker_that_stays(tmp_path, monkeypatch):
    left = []

    async def forget(self):
        left.append(self)
        return True

    monkeypatch.setattr(camera_process.Process, "close", forget)
    contract = TestFolder()
    contract.folder = tmp_path / "pictures"

    async def stage():
        async with contract.rig() as rig:
            try:
                await contract_scene(rig)
            finally:
                monkeypatch.undo()
                for process in left:
                    await process.close()

    async def contract_scene(rig):
        driver, inlet = rig.build(), Recorder()
        files = open_files()
        async with running(driver, inlet):
            await rig.write(rig.frame("WARM"))
            await until(lambda: inlet.readings)
        assert open_files() == files

    with pytest.raises(AssertionError):
        asyncio.run(stage())
    assert left
