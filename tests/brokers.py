"""Real mosquitto brokers with the configuration we ship, and raw clients that play the devices."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiomqtt

from lintel.edge import broker as brokers


class Site:
    """A broker that can be stopped and started again on the same port with the same store."""

    def __init__(self, folder: Path, accounts: tuple[brokers.Account, ...] = ()) -> None:
        self.folder, self.accounts = folder, accounts
        self.port = brokers.free_port()
        self.broker: brokers.Broker | None = None
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        start = brokers.start_mosquitto(self.folder, accounts=self.accounts, port=self.port)
        self.broker = await self._stack.enter_async_context(start)

    async def stop(self) -> None:
        await self._stack.aclose()
        self.broker = None

    def client(self, name: str = "", *, password: str | None = None, **options: object) -> aiomqtt.Client:
        """A plain MQTT client: a device, or somebody who looks on."""
        username = name if password is not None else None
        identifier = options.pop("identifier", None) or (name or None)
        return aiomqtt.Client(
            "127.0.0.1", self.port, username=username, password=password, identifier=identifier, **options
        )  # type: ignore[arg-type]


@asynccontextmanager
async def site(accounts: tuple[brokers.Account, ...] = ()) -> AsyncIterator[Site]:
    """A running broker with an empty store, gone with everything it wrote when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="lintel-broker-"))
    running = Site(folder, accounts)
    try:
        await running.start()
        yield running
    finally:
        await running.stop()
        await asyncio.to_thread(shutil.rmtree, folder)


async def publish(client: aiomqtt.Client, topic: str, document: object, *, qos: int = 1, retain: bool = False) -> None:
    """Publish JSON (or bytes as they are)."""
    payload = document if isinstance(document, bytes) else json.dumps(document).encode()
    await client.publish(topic, payload, qos=qos, retain=retain)
