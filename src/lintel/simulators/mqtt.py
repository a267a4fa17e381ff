"""What virtual MQTT devices have in common: the link to the broker, and the faults it can be told to show."""

import asyncio
import contextlib
import json
import logging
import socket
import ssl
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiomqtt
from paho.mqtt.client import MQTT_ERR_SUCCESS

from lintel.simulators.parts import Emit, JsonMap, Part, PartOptions, SimulatorError, opt

_QUIET = logging.getLogger("lintel.simulators.mqtt")
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False  # a cut connection is what we are for; it is told as an event


@dataclass(frozen=True, slots=True)
class MqttOptions(PartOptions):
    """Options of every MQTT device."""

    broker: str = opt("127.0.0.1:1883", "host:port of the broker")
    username: str = opt("", "user name for the broker")
    password_file: str = opt("", "file with the password for the broker")
    ca: str = opt("", "file with the certificate authority of the broker; empty: no TLS")
    client_id: str = opt("", "MQTT client id; empty: the device id")
    retry: float = opt(1.0, "seconds between attempts to connect")
    keepalive: int = opt(60, "MQTT keep-alive in seconds")


@dataclass(slots=True)
class Faults:
    """Faults to show. A number counts how often; -1 is until cleared."""

    ignore: int = 0  # a command is neither executed nor answered
    drop_acks: int = 0  # a command is executed but not answered
    keep_deleted: int = 0  # a deletion is answered as done, and nobody is deleted
    refuse: int = 0  # a command is answered with an error and not executed
    duplicate_push: int = 0  # an event is pushed twice
    delay: float = 0.0  # seconds before a command is looked at
    wrong_identity: str = ""  # the device id that stands inside the payloads
    person_errors: dict[str, str] = field(default_factory=dict)  # person id -> error code when stored

    def take(self, name: str) -> bool:
        """Whether the counted fault `name` strikes now."""
        left: int = getattr(self, name)
        if left > 0:
            setattr(self, name, left - 1)
        return left != 0


class _Client(aiomqtt.Client):
    """An aiomqtt client that can be cut off without a farewell, so that the last will is sent."""

    def post(self, topic: str, payload: str | bytes, qos: int, *, retain: bool) -> bool:
        """Send without waiting for the broker's PUBACK, which after a cut would come only as a time-out."""
        try:
            return self._client.publish(topic, payload, qos, retain).rc == MQTT_ERR_SUCCESS
        except ValueError:  # a platform may ask for an answer on a topic that is none
            return False

    def cut(self) -> None:
        """Break the TCP connection."""
        sock = self._client.socket()
        if isinstance(sock, socket.socket):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class MqttPart(Part):
    """A device behind an MQTT broker. A dialect says what it subscribes, wills, says first and answers."""

    options_class = MqttOptions

    def __init__(self, options: MqttOptions, emit: Emit) -> None:
        super().__init__(options, emit)
        self.mqtt_options = options
        self._host, _, port = options.broker.rpartition(":")
        if not self._host or not port.isdigit():
            raise SimulatorError("broker is host:port")
        self._port = int(port)
        self._password = Path(options.password_file).read_text("utf-8").strip() if options.password_file else None
        self.faults = Faults()
        self._client: _Client | None = None
        self._session: asyncio.Task[None] | None = None
        self._allowed = asyncio.Event()
        self._allowed.set()
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._was_ready = False
        self._complained = ""

    # What a dialect fills in.

    def subscriptions(self) -> Sequence[tuple[str, int]]:
        """Topics and QoS to subscribe."""
        return ()

    def will(self) -> aiomqtt.Will | None:
        """Last will."""
        return None

    async def connected(self) -> None:
        """Called after the subscriptions are confirmed, before the first message is handled."""

    async def message(self, topic: str, payload: bytes) -> None:
        """Handle one message; the next waits until this one is done."""

    async def background(self) -> None:
        """Whatever the device does by itself, link or not."""
        await asyncio.Event().wait()

    # The link.

    @property
    def online(self) -> bool:
        """Whether the device can say something right now."""
        return self._client is not None and self._thawed.is_set()

    def publish(self, topic: str, payload: JsonMap | str | bytes, qos: int = 0, *, retain: bool = False) -> bool:
        """Publish JSON or text; False when off-line or frozen."""
        client = self._client
        if client is None or not self._thawed.is_set():
            return False
        body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")) if isinstance(payload, dict) else payload
        return client.post(topic, body, qos, retain=retain)

    async def run(self) -> None:
        """Keep the link up until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.background())
            while True:
                await self._allowed.wait()
                self._session = group.create_task(self._serve())
                await asyncio.wait({self._session})
                self._client = None
                await asyncio.sleep(self.mqtt_options.retry)

    async def _serve(self) -> None:
        options = self.mqtt_options
        try:
            async with _Client(
                self._host,
                self._port,
                username=options.username or None,
                password=self._password,
                identifier=options.client_id or options.id,
                protocol=aiomqtt.ProtocolVersion.V311,
                logger=_QUIET,
                will=self.will(),
                clean_session=True,
                timeout=5,
                keepalive=options.keepalive,
                tls_context=ssl.create_default_context(cafile=options.ca) if options.ca else None,
                socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
            ) as client:
                for topic, qos in self.subscriptions():
                    await client.subscribe(topic, qos)
                self._client = client
                await self.connected()
                self._complained = ""
                self.emit("connected" if self._was_ready else "ready")
                self._was_ready = True
                async for message in client.messages:
                    await self._thawed.wait()
                    if isinstance(message.payload, bytes):
                        await self._handle(message.topic.value, message.payload)
        except (aiomqtt.MqttError, OSError) as error:
            if str(error) != self._complained:
                self._complained = str(error)
                self.emit("lost", reason=str(error))
        finally:
            self._client = None

    async def _handle(self, topic: str, payload: bytes) -> None:
        if self.faults.delay:
            await asyncio.sleep(self.faults.delay)
        if self.faults.take("ignore"):
            self.emit("ignored", topic=topic)
            return
        await self.message(topic, payload)

    async def power_off(self) -> None:
        """Pull the plug: the connection breaks without farewell, the broker sends the last will."""
        self._allowed.clear()
        await self._cut()

    async def _cut(self) -> None:
        if self._client is not None and self._session is not None:
            self._client.cut()
            await asyncio.wait({self._session}, timeout=1)

    # Commands of every MQTT device.

    async def do_fault(self, *, clear: bool = False, **faults: Any) -> JsonMap:  # noqa: ANN401  see Faults
        """Set faults (see Faults); `clear` takes all back first. Answers the faults in force."""
        if clear:
            self.faults = Faults()
        for name, value in faults.items():
            if name not in Faults.__slots__:
                raise SimulatorError(f"unknown fault {name!r}; known: {', '.join(Faults.__slots__)}")
            setattr(self.faults, name, type(getattr(self.faults, name))(value))
        return {"faults": asdict(self.faults)}

    async def do_disconnect(self, *, will: bool = False, seconds: float | None = None) -> None:
        """Leave the broker: politely (no last will is sent), or cut off with `will`. Back after `seconds`, else never.

        `connect` brings it back.
        """
        self._allowed.clear()
        if will:
            await self._cut()
        elif self._session is not None:
            self._session.cancel()
            await asyncio.wait({self._session}, timeout=5)
        self.emit("disconnected", will=will)
        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds, self._allowed.set)

    async def do_connect(self) -> None:
        """Come back after `disconnect`."""
        self._allowed.set()

    async def do_freeze(self) -> None:
        """Hang with the connection up: nothing is said or handled. Commands pile up and are executed at `thaw`."""
        self._thawed.clear()

    async def do_thaw(self) -> None:
        """Go on after `freeze`."""
        self._thawed.set()

    async def do_publish(self, topic: str, payload: str | JsonMap, qos: int = 0, *, retain: bool = False) -> JsonMap:
        """Publish anything as this device: garbage, a foreign topic, a retained command."""
        return {"published": self.publish(topic, payload, qos, retain=retain)}
