"""Lists that look for work more often, so that a test need not wait."""

import pytest

from lintel.edge.roster import keeper, lists


@pytest.fixture(autouse=True)
def _brisk(monkeypatch):
    monkeypatch.setattr(keeper, "TICK", 0.1)
    monkeypatch.setattr(lists, "SWEEP_S", 0.2)
