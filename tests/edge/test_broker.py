"""The broker's configuration, on a real mosquitto: accounts, refusals, TLS, and the embedded substitute."""

import asyncio
import os
import signal
import socket
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import aiomqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lintel.edge import broker as brokers
from lintel.edge.errors import LintelError, Lost, Refused
from lintel.edge.profiles import builtin
from tests.brokers import publish, site
from tests.edge.drivers.contract import Recorder, running, until
from tests.edge.drivers.mqtt_rig import A, driver_for, qr, rec, rec_topic

SPEC = builtin()["mqtt-face"].spec
IDS = [f"T{n}" for n in range(6)]


def accounts():
    devices = tuple(brokers.device_account(SPEC, i, "gw1", f"pw-{i}") for i in IDS)
    return (*devices, brokers.gateway_account(devices, "pw-gateway"))


def forms(name):
    """Twelve ways to reach a neighbour."""
    return [
        f"mqtt/face/{name}/Rec", f"mqtt/face/{name}/Snap", f"mqtt/face/{name}/QRCode", f"mqtt/face/{name}/Ack",
        f"mqtt/face/{name}", f"mqtt/face/{name}/", f"/mqtt/face/{name}/Rec", f"mqtt//face/{name}/Rec",
        f"mqtt/face/{name.lower()}/Rec", f"MQTT/face/{name}/Rec", f"mqtt/face/{name}/Rec/x", f"lintel/{name}/barrier",
    ]  # fmt: skip


def test_no_device_can_speak_for_or_listen_to_another():
    """Abuse case B7 at the broker: 6 devices, 12 forms of topic, publish and subscribe."""

    async def scene():
        async with site(accounts()) as place:
            gateway = place.client("lintel", password="pw-gateway")
            async with gateway, place.client("T0", password="pw-T0") as device:
                await gateway.subscribe("#", qos=1)
                for other in IDS[1:]:
                    for topic in forms(other):
                        await publish(device, topic, {"forged": topic})
                for pattern in ("mqtt/#", "mqtt/face/+", "#", *[t for i in IDS[1:] for t in forms(i)]):
                    await device.subscribe(pattern, qos=1)
                for name in IDS:
                    await publish(gateway, f"mqtt/face/{name}", {"order": name})
                await publish(device, "mqtt/face/T0/Rec", {"honest": 1})
                await asyncio.sleep(0.5)
                heard = [m.topic.value for m in _waiting(device)]
                arrived = {m.topic.value for m in _waiting(gateway) if b"forged" in m.payload or b"honest" in m.payload}
        assert set(heard) == {"mqtt/face/T0"}
        assert arrived == {"mqtt/face/T0/Rec"}

    asyncio.run(scene())


def test_names_that_a_device_uses_in_payloads_are_in_no_topic():
    plain, aliased = (brokers.device_account(SPEC, address, "gw1", "pw") for address in ("T0", "T0|F99"))
    assert aliased == plain
    assert aliased.name == "T0"
    assert "|" not in brokers.mosquitto_conf(1883, Path("/x"), accounts=[aliased])["acl"]


def test_without_accounts_the_same_forgery_goes_through():
    """The control of the matrix above: it is the broker's rules that keep them apart."""

    async def scene():
        async with site() as place, place.client("gateway") as gateway, place.client("T0") as device:
            await gateway.subscribe("#", qos=1)
            for topic in forms("T1"):
                await publish(device, topic, {"forged": topic})
            await asyncio.sleep(0.3)
            assert len(_waiting(gateway)) == 12

    asyncio.run(scene())


def _waiting(client):
    return [client._queue.get_nowait() for _ in range(len(client.messages))]


def test_wrong_passwords_and_strangers_are_refused():
    async def scene():
        async with site(accounts()) as place:
            for name, password in (("T0", "pw-T1"), ("T0", ""), ("nobody", "pw-T0")):
                with pytest.raises(aiomqtt.MqttCodeError):
                    await place.client(name, password=password).__aenter__()
            with pytest.raises(aiomqtt.MqttCodeError):
                await place.client("anonymous").__aenter__()

    asyncio.run(scene())


def connections(port):
    """The TCP connections of this process to a port of the loopback interface."""
    for fd in Path("/proc/self/fd").iterdir():
        with suppress(OSError), socket.socket(fileno=os.dup(int(fd.name))) as one:
            if one.family == socket.AF_INET and one.getpeername()[1] == port:
                yield one


def test_packets_leave_at_once_on_both_ends():
    """Without TCP_NODELAY a QoS 1 round trip takes 40 to 90 ms. Control: a socket that nobody told to has it off."""
    with socket.socket() as plain:
        assert not plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    async def scene():
        async with site() as place:
            assert "set_tcp_nodelay true" in (place.folder / "mosquitto.conf").read_text().splitlines()
            async with running(driver_for(place.port), Recorder()):
                found = [s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for s in connections(place.port)]
            assert found == [1]

    asyncio.run(scene())


def test_files_are_for_the_owner_only_and_hold_no_password():
    async def scene():
        async with site(accounts()) as place:
            for name in ("mosquitto.conf", "passwords", "acl"):
                path = place.folder / name
                assert path.stat().st_mode & 0o777 == 0o600
                assert "pw-" not in path.read_text()

    asyncio.run(scene())


def test_an_open_broker_stays_on_the_loopback_interface(tmp_path):
    with pytest.raises(ValueError, match="TLS and accounts"):
        brokers.mosquitto_conf(1883, tmp_path, host="0.0.0.0")
    with pytest.raises(ValueError, match="TLS and accounts"):
        brokers.mosquitto_conf(1883, tmp_path, host="192.0.2.1", accounts=accounts())
    for name in ("a\nuser root", "a:b", "", " x"):
        with pytest.raises(ValueError, match="printable"):
            brokers.mosquitto_conf(1883, tmp_path, accounts=[brokers.Account(name, "p")])


def test_a_missing_or_failing_mosquitto_says_what_to_do(tmp_path, monkeypatch):
    async def start(port=0):
        async with brokers.start_mosquitto(tmp_path, port=port):
            pass

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(LintelError, match="not free"):
        asyncio.run(start(taken.getsockname()[1]))
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(LintelError, match="apt install mosquitto"):
        asyncio.run(start())


def test_a_frozen_broker_is_ended_too(tmp_path, monkeypatch):
    monkeypatch.setattr(brokers, "_ENDS_WITHIN_S", 0.3)

    async def scene():
        async with asyncio.timeout(5), brokers.start_mosquitto(tmp_path) as broker:
            broker.process.send_signal(signal.SIGSTOP)
        assert broker.process.returncode == -signal.SIGKILL

    asyncio.run(scene())


def test_the_embedded_broker_serves_a_first_look(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)

    async def scene():
        async with brokers.start(tmp_path) as broker:
            assert broker.kind == "embedded"
            inlet = Recorder()
            async with running(driver_for(broker.port), inlet), aiomqtt.Client("127.0.0.1", broker.port) as client:
                await publish(client, f"mqtt/face/{A}/QRCode", qr("CODE"))
                await until(lambda: inlet.readings)

    asyncio.run(scene())
    assert "first look only" in caplog.text


def _certificate(folder: Path, name: str, signer=None):
    """A certificate for 127.0.0.1 signed by `signer`, or a root; returns (certificate, key)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, issuer_key = (signer[0].subject, signer[1]) if signer else (subject, key)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )  # fmt: skip
    if signer is None:
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
            decipher_only=False,
        )  # fmt: skip
        builder = builder.add_extension(usage, critical=True)
    certificate = builder.sign(issuer_key, hashes.SHA256())
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, key


def test_tls_with_client_certificates(tmp_path):
    root = _certificate(tmp_path, "root")
    _certificate(tmp_path, "other-root")
    for name in ("server", "lintel", A):
        _certificate(tmp_path, name, root)
    tls = brokers.Tls(tmp_path / "root.pem", tmp_path / "server.pem", tmp_path / "server.key", ask=True)
    device = brokers.device_account(SPEC, A, "gw1", "unused")
    mine = {"certificate": str(tmp_path / "lintel.pem"), "key": str(tmp_path / "lintel.key")}

    async def scene():
        users = (device, brokers.gateway_account([device], "unused"))
        async with brokers.start_mosquitto(tmp_path / "broker", accounts=users, tls=tls) as broker:
            inlet = Recorder()
            with pytest.raises(Refused, match="not trusted"):
                await driver_for(broker.port, ca=str(tmp_path / "other-root.pem"), **mine).run(inlet)
            with pytest.raises(Refused, match="TLS files"):
                await driver_for(broker.port, ca=str(tmp_path / "missing.pem")).run(inlet)
            with pytest.raises((Lost, Refused)):
                await driver_for(broker.port, ca=str(tmp_path / "root.pem")).run(inlet)
            with pytest.raises(Lost):
                await driver_for(broker.port).run(inlet)
            assert not inlet.ups
            files = aiomqtt.TLSParameters(
                str(tmp_path / "root.pem"), str(tmp_path / f"{A}.pem"), str(tmp_path / f"{A}.key")
            )
            async with (
                running(driver_for(broker.port, ca=str(tmp_path / "root.pem"), **mine), inlet),
                aiomqtt.Client("127.0.0.1", broker.port, identifier=A, tls_params=files) as client,
            ):
                await publish(client, rec_topic(), rec())
                await until(lambda: inlet.readings)

    asyncio.run(scene())
