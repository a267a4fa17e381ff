"""One connection to an MQTT broker: opened, acknowledged by hand, closed. Says Lost or Refused, never retries.

MQTT 3.1.1 has no receive window, so the bound on what waits here is the broker's `max_inflight_messages` and
`max_inflight_bytes` for QoS 1 (what is not acknowledged is not followed by more); with QoS 0 a listener takes a
message or drops it at once, so that nothing waits.
"""

import asyncio
import json
import math
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, Any, Final

import aiomqtt
from paho.mqtt import client as mqtt
from paho.mqtt.enums import MQTTErrorCode
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from lintel.edge import line_tables
from lintel.edge.drivers.base import Line
from lintel.edge.errors import ConfigError, Lost, Refused
from lintel.edge.tables import mistakes_of

CONNECT_S: Final = 3.0
"""Longest wait for the TCP connection, and again for the broker's CONNACK (s)."""

_REFUSALS = frozenset({132, 133, 134, 135})
"""Protocol version, client identifier, user name or password, not authorised: waiting does not mend these."""

UNHEARD_MS: Final = 5000
"""How long the kernel tries to deliver what the broker's side does not confirm (ms)."""

Message = mqtt.MQTTMessage


@dataclass(frozen=True, slots=True)
class Options:
    """The options of an MQTT line. `ca` switches TLS on; `certificate` and `key` are our own (PEM files).

    `rate` and `burst`: messages per second and at once that one device may send; what is above is dropped and counted.
    """

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    client_id: Annotated[str, Field(max_length=64)] = ""
    username: str = ""
    keepalive: Annotated[int, Field(ge=5, le=3600)] = 30
    ca: str = ""
    certificate: str = ""
    key: str = ""
    rate: Annotated[float, Field(gt=0, le=100_000)] = 20.0
    burst: Annotated[int, Field(ge=1, le=100_000)] = 100
    photo_url: Annotated[str, AfterValidator(line_tables.fetched_from)] = ""


def options_of(line: Line) -> Options:
    """The checked options of a line; raises ConfigError with all mistakes."""
    try:
        return TypeAdapter(Options).validate_json(json.dumps(dict(line.options)))  # strict takes a table only as JSON
    except ValidationError as error:
        raise ConfigError(f"line {line.id}", mistakes_of(error)) from None


class Link:
    """An open connection. What comes in is told to a listener and must be given to `acknowledge` in that order."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client
        self._inner = client._client  # noqa: SLF001  aiomqtt 2 has no public way to acknowledge by hand
        self._loop = asyncio.get_running_loop()
        self._arrived: list[Message] = []
        self._hear: Callable[[Message], None] | None = None
        self._inner.on_message = self._on_message
        # aiomqtt calls it when the socket is readable
        self._read, self._inner.loop_read = self._inner.loop_read, self._read_and_tell  # type: ignore[method-assign]

    def listen(self, hear: Callable[[Message], None]) -> None:
        """Tell `hear` every message, also those that have arrived already. It must not raise."""
        self._hear = hear
        self._loop.call_soon(self._tell)

    def _on_message(self, _client: mqtt.Client, _userdata: object, message: Message) -> None:
        """Told when paho is done: inside its own callback nothing can be published."""
        self._arrived.append(message)

    def _read_and_tell(self, max_packets: int = 1) -> MQTTErrorCode:
        done = self._read(max_packets)
        self._tell()
        return done

    def _tell(self) -> None:
        if self._arrived and self._hear is not None:
            arrived, self._arrived = self._arrived, []
            for message in arrived:
                self._hear(message)

    async def closed(self) -> None:
        """Wait until the connection breaks, then raise HungUp."""
        with _lost():
            async for _ in self._client.messages:  # none comes this way
                pass
        raise HungUp("the connection to the broker ended")

    def acknowledge(self, mid: int) -> None:
        """PUBACK one message; nothing happens on a connection that is gone."""
        self._inner.ack(mid, 1)

    async def subscribe(self, topics: Sequence[str], qos: int = 1) -> None:
        """Subscribe. Raises Refused when the broker declines one of them."""
        for start in range(0, len(topics), 100):
            part = topics[start : start + 100]
            with _lost():
                codes = await self._client.subscribe([(topic, qos) for topic in part])
            _heed_cancel()
            declined = [t for t, code in zip(part, codes, strict=True) if _value(code) >= 128]
            if declined:
                raise Refused(
                    f"the broker declines {len(declined)} subscriptions, first {declined[0]!r}: check its ACL"
                )

    async def unsubscribe(self, topics: Sequence[str]) -> None:
        """Subscribe no longer."""
        with _lost():
            await self._client.unsubscribe(list(topics))
        _heed_cancel()

    def post(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish with QoS 0, at once. Raises NotSent when it can not leave."""
        code = self._inner.publish(topic, payload, 0, retain).rc
        if code:
            raise NotSent(mqtt.error_string(code))

    async def publish(self, topic: str, payload: bytes, *, limit: float = math.inf) -> None:
        """Publish with QoS 1 and wait for the PUBACK. Raises NotSent when it did not go out, Lost when unsure."""
        try:
            await self._client.publish(topic, payload, qos=1, timeout=limit)
            _heed_cancel()
        except aiomqtt.MqttCodeError as error:
            raise NotSent(str(error)) from None
        except aiomqtt.MqttError as error:
            raise Lost(f"the broker does not acknowledge: {error}") from None


class _TlsSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; paho leaves that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002  ssl's own signature
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


class NotSent(Lost):
    """The connection was already gone: nothing of the message has left."""


class HungUp(Lost):
    """The connection broke, or the broker ended it: so it does when another client comes with our id."""


@asynccontextmanager
async def connect(options: Options, client_id: str, password: str | None) -> AsyncIterator[Link]:
    """A connection with a persistent session. Raises Lost or Refused, also for what breaks inside the block."""
    context = await asyncio.to_thread(_tls, options) if options.ca else None
    client = aiomqtt.Client(
        options.host,
        options.port,
        username=options.username or None,
        password=password,
        identifier=client_id,
        protocol=aiomqtt.ProtocolVersion.V311,
        clean_session=False,
        timeout=CONNECT_S,
        keepalive=options.keepalive,
        max_inflight_messages=0,  # a queued order would be sent late
        tls_context=context,
        socket_options=[
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
            (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_MS),
        ],
    )
    client.pending_calls_threshold = 100_000
    link = Link(client)
    inner = client._client  # noqa: SLF001  as above
    inner.manual_ack_set(on=True)
    inner.disable_logger()  # a line that is formatted for every packet, and shown to nobody
    inner.connect_timeout = CONNECT_S
    where = f"{options.host}:{options.port}"
    try:
        await _enter(client, inner.disconnect)
    except aiomqtt.MqttError as error:
        gone = inner.socket() is None
        inner.disconnect()  # aiomqtt leaves the socket open when the CONNACK does not come
        raise _classified(error, where, closed=gone and context is not None) from None
    _write_at_once(inner)
    try:
        yield link
    except Exception:
        _abandon(inner.socket())
        raise
    finally:
        await client.__aexit__(None, None, None)


def _abandon(sock: Any) -> None:  # noqa: ANN401  paho's kinds of sockets, or None
    """Let the kernel forget what a broken connection has not carried yet: an order must not arrive late."""
    with suppress(OSError, AttributeError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _write_at_once(inner: mqtt.Client) -> None:
    """Let what is sent leave at once, and wait for the socket only when it is full.

    aiomqtt registers the socket with the event loop for each packet, through the loop's wake-up pipe: a third of the
    cost of a reading, and a turn of the loop while somebody stands at the door.
    """
    loop = asyncio.get_running_loop()

    def wanted(client: mqtt.Client, _: object, sock: Any) -> None:  # noqa: ANN401  paho's kinds of sockets
        client.loop_write()
        if client.want_write() and sock.fileno() >= 0:  # the write may have found the connection gone
            loop.add_writer(sock.fileno(), client.loop_write)

    def done(_: mqtt.Client, __: object, sock: Any) -> None:  # noqa: ANN401
        if sock.fileno() >= 0:
            loop.remove_writer(sock.fileno())

    inner.on_socket_register_write = wanted
    inner.on_socket_unregister_write = done


async def _enter(client: aiomqtt.Client, hang_up: Callable[[], object]) -> None:
    """Connect; cancelled, wait for the connecting thread, which nothing can interrupt, and leave no socket behind."""
    entering = asyncio.ensure_future(client.__aenter__())
    try:
        await asyncio.shield(entering)
    except asyncio.CancelledError:
        await asyncio.wait({entering}, timeout=CONNECT_S)
        entering.cancel()
        await asyncio.wait({entering})
        if not entering.cancelled():
            entering.exception()  # looked at, so that nobody reports it as never retrieved
        hang_up()
        raise


def _heed_cancel() -> None:
    """aiomqtt waits by `asyncio.wait_for`, which in Python 3.11 loses a cancellation that comes with the answer."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


@contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except aiomqtt.MqttError as error:
        raise HungUp(f"the connection to the broker broke: {error}") from None


def _classified(error: aiomqtt.MqttError, where: str, *, closed: bool) -> Lost | Refused:
    cause = error.__context__
    if isinstance(error, aiomqtt.MqttCodeError) and _value(error.rc) in _REFUSALS:
        return Refused(f"{where}: {error}")
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Refused(f"{where}: the broker's certificate is not trusted: {cause.verify_message}")
    hint = " (it closed the connection unanswered: check our certificate)" if closed else ""
    return Lost(f"{where}: {error}{hint}")


def _value(code: Any) -> int:  # noqa: ANN401  paho's ReasonCode or a plain number
    return int(getattr(code, "value", code) or 0)


def _tls(options: Options) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.ca)
        context.sslsocket_class = _TlsSocket
        if options.certificate:
            context.load_cert_chain(options.certificate, options.key or None)
    except (OSError, ValueError) as error:
        raise Refused(f"TLS files can not be read: {error.__class__.__name__}") from None
    return context
