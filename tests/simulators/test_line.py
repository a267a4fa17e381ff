"""The device's end of a serial line."""

import asyncio
import os

import pytest

from lintel.simulators import line
from lintel.simulators.line import Line


@pytest.mark.parametrize("most", [1, 5, 16])
def test_all_bytes_leave_also_when_the_port_takes_a_few_at_a_time(tmp_path, monkeypatch, most):
    real, sizes = os.write, []

    def write(fd, data):
        sizes.append(real(fd, data[:most]))
        return sizes[-1]

    async def scene():
        end = Line(tmp_path / "port", 0, lambda data: None, lambda now: None)
        end.plug()
        host = os.open(tmp_path / "port", os.O_RDWR | os.O_NOCTTY)
        try:
            monkeypatch.setattr(line.os, "write", write)
            assert await end.send(bytes(range(32, 112)))
            monkeypatch.undo()
            heard = b""
            while len(heard) < sum(sizes):
                heard += os.read(host, 100)
        finally:
            os.close(host)
            end.unplug()
        assert heard == bytes(range(32, 112))
        assert max(sizes) == most

    asyncio.run(scene())
