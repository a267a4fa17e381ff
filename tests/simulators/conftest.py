"""A real broker on a free port, and an independent platform: paho directly, none of our MQTT code."""

import contextlib
import json
import socket
import subprocess
import time

import paho.mqtt.client as paho
import pytest


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path_factory.mktemp("mosquitto") / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n")
    process = subprocess.Popen(
        ["/usr/sbin/mosquitto", "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 5
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            break
        assert time.monotonic() < deadline, "mosquitto did not start"
        time.sleep(0.02)
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.wait(5)


class Platform:
    """What the far end sees and says. Messages are (topic, JSON or text, retained)."""

    def __init__(self, address, *topics):
        host, _, port = address.partition(":")
        self.seen = []
        self._at = 0
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        ready = []
        self.client.on_subscribe = lambda *_: ready.append(1)
        self.client.on_message = self._message
        self.client.connect(host, int(port))
        self.client.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client.subscribe([(topic, 1) for topic in topics])
        self.client.loop_start()
        deadline = time.monotonic() + 5
        while not ready:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def _message(self, _client, _data, message):
        text = message.payload.decode("utf-8", "replace")
        with contextlib.suppress(ValueError):
            text = json.loads(text)
        self.seen.append((message.topic, text, bool(message.retain)))

    def say(self, topic, payload):
        self.client.publish(topic, payload if isinstance(payload, str) else json.dumps(payload))

    def next(self, accept, timeout=5.0):
        """The next message, in order, that `accept(topic, body)` takes; older ones are passed over."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            while self._at < len(self.seen):
                topic, body, _ = self.seen[self._at]
                self._at += 1
                if accept(topic, body):
                    return body
            time.sleep(0.003)
        raise AssertionError(f"not seen; there was {[t for t, _, _ in self.seen][-10:]}")

    def operator(self, name, timeout=5.0, **fields):
        """The next `mqtt/face` message with this operator and these top-level fields."""
        return self.next(
            lambda _, b: isinstance(b, dict) and b.get("operator") == name and fields.items() <= b.items(), timeout
        )

    def count(self, accept):
        return sum(1 for topic, body, _ in self.seen if accept(topic, body))

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def platform(broker):
    open_ = []

    def connect(*topics):
        open_.append(Platform(broker, *topics))
        return open_[-1]

    yield connect
    for one in open_:
        one.close()
