"""Messages of Bluetooth locks as plain keys and values, for the samples of their profiles. Opened, never sealed."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from lintel.edge.ble import lintel_messages, nuki, nuki_messages, yale
from lintel.edge.ble.words import Move
from lintel.edge.errors import BadFrame


def understand(dialect: str, data: bytes) -> list[Mapping[str, Any]]:
    """What one message says."""
    try:
        if dialect.startswith("nuki"):
            return [_plain(nuki_messages.read(*nuki.unframe(data)))]
        if dialect == "yale":
            return [_plain(yale.read(data))]
        return [_plain(lintel_messages.read(data))]
    except BadFrame as error:
        return [{"bad": str(error)}]


def compose(dialect: str, move: Move, order: Mapping[str, Any]) -> bytes:
    """The message that makes a move; of the order `nonce`, `id` and `app` as hex, `seconds`. Raises ValueError."""
    if dialect == "yale":
        return yale.move_frame(move)
    nonce = _hex(order, "nonce")
    if dialect.startswith("nuki"):
        return nuki_messages.action_frame(move, int.from_bytes(_hex(order, "app"), "little"), nonce)
    return lintel_messages.command(_hex(order, "id"), move, nonce, hold_s=float(order.get("seconds", 0)))


def _hex(order: Mapping[str, Any], key: str) -> bytes:
    try:
        return bytes.fromhex(str(order[key]))
    except (KeyError, ValueError):
        raise ValueError(f"expected {key!r} in the order, as hex") from None


def _plain(message: object) -> dict[str, Any]:
    values = {f.name: getattr(message, f.name) for f in fields(message)}  # type: ignore[arg-type]
    named = {k: v.hex() if isinstance(v, bytes) else v for k, v in values.items()}
    return {"message": type(message).__name__.lower(), **named}
