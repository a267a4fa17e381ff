"""The site that is measured: one allowlist of many credentials in an encrypted store, a few doors with terminals."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

from lintel.edge.digests import Digester
from lintel.edge.model import Method, PersonKind
from lintel.edge.persons import Consent
from lintel.edge.store import CredentialPut, Store, derive, state_key

DOORS = 8
CREDENTIALS = 250_000
SITE = 1


def person(n: int) -> str:
    """Id of the n-th person."""
    return f"per_{n:08}"


def _credentials(digest: Digester, count: int) -> Iterator[CredentialPut]:
    """Everybody has a face at the terminals; one in ten is not allowed at the doors measured."""
    for n in range(count):
        groups = ("elsewhere",) if n % 10 == 9 else ("all", "garage")
        yield CredentialPut(digest(Method.FACE, person(n)), person(n), PersonKind.OWNER, Method.FACE, groups,
                            consent=Consent.GRANTED)  # fmt: skip


def prepare(state: Path, count: int = CREDENTIALS) -> Digester:
    """Fill a state directory with `count` credentials; returns the digester that finds them."""
    state.mkdir(parents=True, exist_ok=True)
    key = state_key(state)
    digest = Digester(derive(key, "digest"))

    async def fill() -> None:
        store = Store.open(state, key)
        try:
            await store.allowlist.apply_checkpoint(_credentials(digest, count), epoch=1, seq=1, synced_at=0.0)
        finally:
            await store.close()

    asyncio.run(fill())
    return digest


def config(folder: Path, port: int) -> Path:
    """The gateway's file: `DOORS` doors, each with a face terminal that opens it."""
    lines = [
        f'state_dir = "{folder / "state"}"', "[site]", f"id = {SITE}", 'timezone = "UTC"', "[clock]",
        'trust = "system"', "[[line]]", 'id = "broker"', 'driver = "mqtt_terminal"', 'host = "127.0.0.1"',
        f"port = {port}", "rate = 100000.0", "burst = 100000",
    ]  # fmt: skip
    for n in range(DOORS):
        lines += ["[[door]]", f'id = "door{n}"', 'groups = ["all"]', f'lock = "face{n}"']
        lines += [
            "[[device]]",
            f'id = "face{n}"',
            'line = "broker"',
            'profile = "mqtt-face"',
            f'address = "{1000 + n}"',
        ]
        lines += [f'door = "door{n}"']
    path = folder / "gateway.toml"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path
