"""What a reader of OSDP said late: a press opens nothing then, and a button that was let go is let go."""

import asyncio
from types import SimpleNamespace

import pytest

from lintel.edge.drivers.base import Device
from lintel.edge.drivers.osdp_voice import EXIT_S, Voice
from lintel.edge.model import ContactKind, Direction
from lintel.edge.osdp.events import Heard
from lintel.edge.osdp.messages import Inputs
from lintel.edge.profiles.osdp import Input
from tests.edge.drivers.contract import Recorder, context


@pytest.mark.parametrize("inverted", [False, True])
def test_a_press_that_is_told_late_opens_nothing_and_its_end_counts_at_whatever_age(inverted):
    pressed, let_go = Inputs((int(not inverted),)), Inputs((int(inverted),))

    async def scene():
        spec = SimpleNamespace(input=[Input(0, "exit", inverted)], outputs=1, secure_channel=True)
        voice = Voice(Device("r0", "0", "gate", Direction.IN, None), spec, context(), lambda on: None)
        voice.inlet = inlet = Recorder()
        for reply, age in ((pressed, EXIT_S + 0.1), (pressed, 0.0), (let_go, EXIT_S + 0.1)):
            voice.take(Heard(reply, True, age), 100.0)
        assert [(c.kind, c.active) for c in inlet.contacts] == [(ContactKind.EXIT, True), (ContactKind.EXIT, False)]

    asyncio.run(scene())
