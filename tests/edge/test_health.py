"""Counters, the Prometheus text, sd_notify."""

import socket

from lintel.edge.health import Health, sd_notify
from lintel.edge.model import Fact, Notice, Outcome


def test_the_prometheus_text_has_every_counter_once():
    health = Health()
    health.decided("gate", "granted")
    health.decided("gate", "granted")
    health.decided('g"\n', "revoked")
    health.ordered("gate", Outcome.EXECUTED)
    health.notice(Fact(Notice.FLOOD, "dev", count=7))
    text = health.prometheus({"lintel_lines_up": 2})
    assert 'lintel_decisions_total{door="gate",reason="granted"} 2' in text
    assert 'door="g\\"\\n"' in text
    assert 'lintel_notices_total{device="dev",notice="flood"} 7' in text
    assert text.endswith("lintel_lines_up 2\n")
    assert text.count("# TYPE lintel_decisions_total counter") == 1
    assert health.total("decisions") == 3


def test_a_condition_of_the_box_stands_until_it_is_cleared():
    health = Health()
    health.notice(Fact(Notice.DISK_FULL, detail="state"))
    health.notice(Fact(Notice.DUPLICATE))
    assert health.standing == {"disk_full": "state"}
    health.cleared([Notice.DISK_FULL])
    assert health.standing == {}


def test_sd_notify_reaches_the_service_manager(tmp_path, monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not sd_notify("READY=1")
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        assert sd_notify("READY=1")
        assert manager.recv(100) == b"READY=1"
