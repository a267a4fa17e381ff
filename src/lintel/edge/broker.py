"""The MQTT broker of a site: the configuration we ship for mosquitto 2.0, and starting one for a demo or a test.

The broker is not the truth, our journal is: its queues are bounded and drop without a word. It gets the bounds that
let the driver acknowledge after the commit (see `drivers/mqtt_terminal.py`) and one account per device that can speak
and listen only as itself.
"""

import asyncio
import base64
import contextlib
import hashlib
import ipaddress
import logging
import os
import secrets
import shutil
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lintel.edge.errors import LintelError
from lintel.edge.profiles.mqtt import MqttSpec, fill

log = logging.getLogger(__name__)

GATEWAY_USER: Final = "lintel"
"""The account of the gateway itself."""

_STARTS_WITHIN_S = 10.0
_ENDS_WITHIN_S = 5.0
_SETTINGS = """\
set_tcp_nodelay true
upgrade_outgoing_qos true
max_inflight_messages 1000
max_inflight_bytes 16777216
max_queued_messages 100000
max_queued_bytes 268435456
queue_qos0_messages false
message_size_limit 4194304
persistence true
autosave_on_changes true
autosave_interval 1000
persistent_client_expiration 14d
allow_zero_length_clientid false
log_type error
log_type warning
log_type notice
"""
"""TCP_NODELAY: a QoS 1 round trip of 1 ms instead of 40 to 90 ms. Upgrade: terminals publish with QoS 0, and only what
reaches us with QoS 1 can be acknowledged after the commit. In flight: how far the gateway may lag behind, in messages
and bytes. A power cut loses what changed since the last save (1,000 changes); terminals send again."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the broker: its password and the topics that it may write and read; no wildcards for devices."""

    name: str
    password: str = field(repr=False)
    writes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files of a TLS listener. With `ask`, a client certificate is demanded and its common name is the user."""

    ca: Path
    certificate: Path
    key: Path
    ask: bool = False


def device_account(spec: MqttSpec, address: str, gateway: str, password: str) -> Account:
    """The account of one device, named by its address: it writes only its own events and reads only its own commands.

    What follows "|" in the address are names that it uses in payloads, none of its topics.

    On shared topics (`mqtt/face/basic`, `face/response`) the broker can not tell whose id a payload holds; the driver
    refuses ids that are not configured, but a device could there speak for a neighbour. Per-device topics are safe.
    """
    address, *_ = address.split("|")
    answers = [t for c in spec.command.values() if c.answer for t in c.answer.topics]
    writes = dict.fromkeys(fill(t, address, gateway) for t in [t for m in spec.message for t in m.topics] + answers)
    reads = dict.fromkeys(fill(c.topic, address, gateway) for c in spec.command.values())
    return Account(address, password, tuple(writes), tuple(reads))


def gateway_account(devices: Iterable[Account], password: str, name: str = GATEWAY_USER) -> Account:
    """The account of the gateway: the other end of every device's topics, and its own below `lintel/`.

    It may also write where devices do, because it deletes retained messages there.
    """
    devices = tuple(devices)
    reads = dict.fromkeys(t for d in devices for t in d.writes)
    writes = dict.fromkeys(t for d in devices for t in (*d.reads, *d.writes))
    return Account(name, password, (*writes, "lintel/#"), (*reads, "lintel/#"))


def mosquitto_conf(
    port: int, state_dir: Path, *, accounts: Iterable[Account] = (), host: str = "127.0.0.1", tls: Tls | None = None
) -> dict[str, str]:
    """The files of a mosquitto 2.0 configuration by name, to be written to `state_dir` (mode 0600).

    Without accounts everybody may do everything: raises ValueError unless that stays on the loopback interface.
    Beyond it a listener needs TLS, since passwords travel in clear.
    """
    accounts = tuple(accounts)
    loopback = ipaddress.ip_address(host).is_loopback
    if not loopback and (tls is None or not (accounts or tls.ask)):
        raise ValueError("a broker that others can reach needs TLS and accounts")
    lines = [f"listener {port} {host}", f"persistence_location {state_dir}/", f"allow_anonymous {_word(not accounts)}"]
    if tls is not None:
        lines += [f"cafile {tls.ca}", f"certfile {tls.certificate}", f"keyfile {tls.key}", "tls_version tlsv1.2"]
        lines += [f"require_certificate {_word(tls.ask)}", f"use_identity_as_username {_word(tls.ask)}"]
    if accounts or (tls is not None and tls.ask):
        lines.append("use_username_as_clientid true")  # nobody throws another one out by taking its client id
    files = {}
    if accounts:
        lines += [f"password_file {state_dir}/passwords", f"acl_file {state_dir}/acl"]
        files["passwords"] = "".join(f"{_plain(a.name)}:{_hashed(a.password)}\n" for a in accounts)
        files["acl"] = "\n".join(_acl(a) for a in accounts)
    files["mosquitto.conf"] = "\n".join(lines) + "\n" + _SETTINGS
    return files


@dataclass(slots=True)
class Broker:
    """A running broker."""

    host: str
    port: int
    kind: str
    process: asyncio.subprocess.Process | None = None


@asynccontextmanager
async def start_mosquitto(
    state_dir: Path, *, accounts: Iterable[Account] = (), port: int = 0, tls: Tls | None = None
) -> AsyncIterator[Broker]:
    """mosquitto on a port of the loopback interface (0: a free one) until the block ends.

    Raises LintelError when mosquitto is not installed or does not start.
    """
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise LintelError("mosquitto is not installed: 'sudo apt install mosquitto', or use an existing broker")
    port = port or free_port()
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise LintelError(f"port {port} is not free: {error.strerror}") from None
    await asyncio.to_thread(_write, state_dir, mosquitto_conf(port, state_dir, accounts=accounts, tls=tls))
    process = await asyncio.create_subprocess_exec(
        program, "-c", str(state_dir / "mosquitto.conf"),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in a terminal is for us: the broker goes last
    )  # fmt: skip
    try:
        await _listening(port, process)
        yield Broker("127.0.0.1", port, "mosquitto", process)
    finally:
        await _end(process)


@asynccontextmanager
async def start_embedded(port: int = 0) -> AsyncIterator[Broker]:
    """A broker inside this process, for a first look where mosquitto can not be installed. Loopback, no accounts.

    Weaker than mosquitto: nothing survives its end, offline queues are thin, QoS is not raised. Needs the extra `demo`.
    """
    try:
        from amqtt.broker import Broker as Embedded  # noqa: PLC0415  an optional dependency
    except ImportError:
        raise LintelError("no MQTT broker: 'apt-get install mosquitto' as root, or start it by ./lintel demo") from None
    port = port or free_port()
    log.warning("using the embedded MQTT broker: for a first look only, nothing survives its end")
    settings = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    broker = Embedded(settings)
    await broker.start()
    try:
        yield Broker("127.0.0.1", port, "embedded")
    finally:
        await broker.shutdown()


@asynccontextmanager
async def start(state_dir: Path, *, accounts: Iterable[Account] = ()) -> AsyncIterator[Broker]:
    """mosquitto where it is installed, else the embedded broker (then without accounts, and a warning says so)."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            broker = await stack.enter_async_context(start_mosquitto(state_dir, accounts=accounts))
        except LintelError as error:
            log.warning("%s", error)
            broker = await stack.enter_async_context(start_embedded())
        yield broker


def free_port() -> int:
    """A TCP port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, so that it saves its queues; SIGKILL where that does not help (a frozen process)."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(_ENDS_WITHIN_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _listening(port: int, process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(_STARTS_WITHIN_S):
            while process.returncode is None:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.02)
                    continue
                writer.close()
                await writer.wait_closed()
                return
    except TimeoutError:
        pass
    raise LintelError(f"mosquitto did not start on port {port}: is the port taken, are its files readable?")


def _write(folder: Path, files: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = folder / name
        path.unlink(missing_ok=True)
        # Started as root, mosquitto would become another user, who can not read these files.
        own = "user root\n" if name == "mosquitto.conf" and os.geteuid() == 0 else ""
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
            handle.write(own + text)


def _acl(account: Account) -> str:
    lines = [f"user {_plain(account.name)}"]
    both = [t for t in account.writes if t in account.reads]
    lines += [f"topic readwrite {_plain(t)}" for t in both]
    lines += [f"topic write {_plain(t)}" for t in account.writes if t not in both]
    lines += [f"topic read {_plain(t)}" for t in account.reads if t not in both]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Text that stays on its line of a configuration file; raises ValueError for any other."""
    if not text or not text.isprintable() or text != text.strip() or ":" in text:
        raise ValueError("a name or topic of printable characters, without colon and surrounding spaces")
    return text


def _hashed(password: str) -> str:
    """mosquitto's own form: $7$, PBKDF2-HMAC-SHA512, iterations, 12 bytes of salt (mosquitto_passwd(1))."""
    rounds, salt = 101, secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds)
    return f"$7${rounds}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def _word(value: bool) -> str:  # noqa: FBT001
    return "true" if value else "false"
