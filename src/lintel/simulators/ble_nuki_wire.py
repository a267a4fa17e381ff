"""Frames and numbers of Nuki's Bluetooth interface, as the vendor publishes them."""

import os
import struct
from binascii import crc_hqx
from datetime import UTC, datetime

from nacl.secret import SecretBox

_UUID = "a92ee{}-5501-11e4-916c-0800200c9a66"
PAIRING, PAIRING_IO = _UUID.format(100), _UUID.format(101)
ULTRA, ULTRA_IO = _UUID.format(300), _UUID.format(301)
KEYTURNER, USER_IO = _UUID.format(200), _UUID.format(202)
NOT_PAIRING, BAD_PROOF, BAD_PIN, BAD_NONCE, BAD_PARAMETER, DISABLED = 0x10, 0x11, 0x21, 0x22, 0x23, 0x25
MOTOR_BLOCKED, BUSY, LOW_VOLTAGE, BAD_CRC, BAD_LENGTH = 0x42, 0x45, 0x49, 0xFD, 0xFE
REQUEST_DATA, PUBLIC_KEY, CHALLENGE, AUTHENTICATOR, AUTHORIZATION = 1, 3, 4, 5, 6
AUTHORIZATION_ID, STATES, ACTION, STATUS, BATTERY, ERROR, CONFIRMATION = 7, 0xC, 0xD, 0xE, 0x11, 0x12, 0x1E
REQUEST_CONFIG, CONFIG, VERIFY_PIN, UPDATE_TIME, REQUEST_LOG, LOG_ENTRY = 0x14, 0x15, 0x20, 0x21, 0x31, 0x32

AUTHORIZATION_INFO = 0x4C
SIZES = {REQUEST_DATA: (2,), ACTION: (38, 58), REQUEST_CONFIG: (32,), VERIFY_PIN: (34,), UPDATE_TIME: (41,),
         REQUEST_LOG: (42,)}  # fmt: skip
"""Lengths that a payload may have; a name's suffix may be in an order. A PIN is of 2 bytes, of an Ultra 4."""


def frame(command: int, payload: bytes, head: bytes = b"") -> bytes:
    """Head, command, payload and the checksum over all of it."""
    body = head + command.to_bytes(2, "little") + payload
    return body + crc_hqx(body, 0xFFFF).to_bytes(2, "little")


def unframe(data: bytes, head: int = 0) -> tuple[bytes, int, bytes] | None:
    """Head, command and payload; None where the checksum is wrong."""
    if len(data) < head + 4 or crc_hqx(data[:-2], 0xFFFF) != int.from_bytes(data[-2:], "little"):
        return None
    return data[:head], int.from_bytes(data[head : head + 2], "little"), data[head + 2 : -2]


def nuki_time(at: datetime | None = None) -> bytes:
    """Seven bytes: year, month, day, hour, minute, second."""
    at = at or datetime.now(UTC)
    return struct.pack("<HBBBBB", at.year, at.month, at.day, at.hour, at.minute, at.second)


def seal(key: bytes, user: bytes, command: int, payload: bytes) -> bytes:
    """A sealed frame: nonce, user, length, box."""
    nonce = os.urandom(24)
    box = SecretBox(key).encrypt(frame(command, payload, user), nonce).ciphertext
    return nonce + user + len(box).to_bytes(2, "little") + box
