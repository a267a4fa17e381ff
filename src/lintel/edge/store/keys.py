"""The keys that were agreed with devices: read whole at the start, kept in memory, written durably."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from lintel.edge.errors import StoreError
from lintel.edge.store.connection import Connection, fault_word, sqlite
from lintel.edge.store.database import Database
from lintel.edge.store.writer import Writer

_PUT: Final = "INSERT INTO device_key VALUES (?, ?, ?) ON CONFLICT(device, name) DO UPDATE SET secret = excluded.secret"
_DROP: Final = "DELETE FROM device_key WHERE device = ? AND name = ?"


class DeviceKeys:
    """One secret for each device and name; see `drivers.base.Keys`. For the event loop."""

    def __init__(self, database: Database, writer: Writer, on_change: Callable[[], None]) -> None:
        self._writer, self._on_change = writer, on_change  # on the writer's thread: a snapshot is due
        try:
            rows = database.reader.execute("SELECT device, name, secret FROM device_key").fetchall()
        except sqlite.Error as error:
            raise StoreError(
                fault_word(error, database.directory), f"the devices' keys can not be read: {error}"
            ) from None
        self._secrets: dict[tuple[str, str], bytes] = {(device, name): secret for device, name, secret in rows}

    def __repr__(self) -> str:
        return f"<DeviceKeys: {len(self._secrets)} secrets>"

    def get(self, device: str, name: str) -> bytes | None:
        """The secret called `name` of a device."""
        return self._secrets.get((device, name))

    async def put(self, device: str, secrets: Mapping[str, bytes | None]) -> None:
        """Keep secrets, or forget those that are None, in one commit. Raises StoreError: nothing was changed then.

        A commit that is on its way goes on when the caller is cancelled: what is stored is what is known.
        """
        await asyncio.shield(asyncio.ensure_future(self._kept(device, dict(secrets))))

    async def _kept(self, device: str, secrets: Mapping[str, bytes | None]) -> None:
        def work(conn: Connection) -> None:
            for name, secret in secrets.items():
                if secret is None:
                    conn.execute(_DROP, (device, name))
                else:
                    conn.execute(_PUT, (device, name, secret))
            self._on_change()

        await self._writer.submit(work, now=True)
        for name, secret in secrets.items():
            if secret is None:
                self._secrets.pop((device, name), None)
            else:
                self._secrets[device, name] = secret
