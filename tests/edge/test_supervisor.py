"""The keeper: error class decides the wait, state changes are told once, a bug in one line stops nobody."""

import asyncio
import logging

import pytest

from lintel.edge.errors import Lost, Refused
from lintel.edge.model import Notice
from lintel.edge.supervisor import REFUSED_WAIT, Keeper, State


class Line:
    """A line that fails as told, then stays up until cancelled."""

    def __init__(self, *failures):
        self.failures, self.keeper, self.waits, self.facts = list(failures), None, [], []

    async def sleep(self, seconds):
        self.waits.append(seconds)

    async def run(self):
        if self.failures:
            raise self.failures.pop(0)
        self.keeper.up()
        await asyncio.Event().wait()


def keep(*failures, limit=5.0, up_first=False):
    line = Line(*failures)

    async def main():
        line.keeper = Keeper("gate", line.facts.append, limit, sleep=line.sleep, jitter=lambda: 1.0)
        if up_first:
            line.keeper.up()
        task = asyncio.create_task(line.keeper.keep(line.run))
        while line.failures or line.keeper.state is not State.UP:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    return line


def test_a_lost_line_backs_off_to_its_limit_and_is_told_once():
    line = keep(*[Lost("gone")] * 8, up_first=True)
    assert line.waits == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert [f.notice for f in line.facts] == [Notice.COMMS_LOST, Notice.COMMS_RESTORED]


def test_a_serial_port_is_tried_at_least_every_half_second():
    assert max(keep(*[Lost("unplugged")] * 20, limit=0.5).waits) == 0.5


def test_a_refusal_waits_long_and_raises_an_alarm():
    line = keep(Refused("wrong password"))
    assert line.waits[0] >= REFUSED_WAIT
    assert line.facts[0].notice is Notice.DEVICE_FAULT
    assert "wrong password" in line.facts[0].detail


def test_a_bug_is_logged_with_its_trace_and_tried_again(caplog):
    line = keep(ZeroDivisionError("bug"), RuntimeError("bug"))
    assert line.waits == [5.0, 5.0]
    assert "Traceback" in caplog.text


def test_attempts_are_not_logged_one_by_one(caplog):
    caplog.set_level(logging.DEBUG)
    keep(*[Lost("gone")] * 50, up_first=True)
    assert len([r for r in caplog.records if r.name.startswith("lintel")]) == 3, "up, lost, back"


def test_ten_steady_seconds_reset_the_wait_and_a_moment_does_not():
    now = [0.0]
    keeper = Keeper("gate", lambda fact: None, jitter=lambda: 1.0, mono=lambda: now[0])
    waits = [keeper._failed(Lost("x")) for _ in range(3)]
    keeper.up()
    waits.append(keeper._failed(Lost("x")))
    keeper.up()
    now[0] += 10.0
    assert (waits, keeper._failed(Lost("x"))) == ([0.2, 0.4, 0.8, 1.6], 0.2)


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
def test_jitter_never_exceeds_the_limit(jitter):
    keeper = Keeper("gate", lambda fact: None, limit=0.5, jitter=lambda: jitter)
    assert all(0 < keeper._failed(Lost("x")) <= 0.5 for _ in range(30))
