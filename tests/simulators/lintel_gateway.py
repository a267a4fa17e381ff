"""A bare gateway for the Lintel lock over bleak: it can do everything right, and each thing wrong.

Written from the table of the protocol alone; it shares no line with the driver nor with the lock.
"""

import asyncio
import hashlib
import hmac
import os
import struct

from bleak import BleakClient, BleakScanner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

TX, RX, INFO = (f"f95c80c{n}-09dc-48b2-9d77-1ae2a66e1ae8" for n in (2, 3, 1))


class Gone(Exception):
    """The lock has hung up."""


class Gateway:
    """`async with Gateway(air, address, key) as gw: await gw.handshake(lock_public)`"""

    def __init__(self, air, address, key=None, fragment=20):
        self.air, self.address = air, address
        self.key = key or Ed25519PrivateKey.generate()
        self.public = self.key.public_key().public_bytes_raw()
        self.fragment = fragment
        self.messages = asyncio.Queue()
        self.pieces = []
        self.counter = self.heard = 0
        self.sealer = self.opener = None

    async def __aenter__(self):
        found = None
        while found is None:
            found = await BleakScanner.find_device_by_address(self.address, 5, backend=self.air.scanner_backend)
        self.client = BleakClient(
            found, lambda _: self.messages.put_nowait(None), timeout=5, backend=self.air.client_backend
        )
        await self.client.connect()
        await self.client.start_notify(RX, self._notified)
        return self

    async def __aexit__(self, *_):
        await self.client.disconnect()

    def _notified(self, _sender, piece):
        assert piece[0] & 0x7F == len(self.pieces), "fragments in order"
        self.pieces.append(bytes(piece[1:]))
        if piece[0] & 0x80:
            self.messages.put_nowait(b"".join(self.pieces))
            self.pieces = []

    async def send(self, message):
        room = self.fragment - 1
        parts = [message[i : i + room] for i in range(0, len(message), room)]
        for i, part in enumerate(parts):
            head = bytes([i | (0x80 if i == len(parts) - 1 else 0)])
            await self.client.write_gatt_char(TX, head + part, response=True)

    async def receive(self, seconds=5):
        message = await asyncio.wait_for(self.messages.get(), seconds)
        if message is None:
            raise Gone
        return message

    async def hello(self, who=None):
        self.ephemeral = X25519PrivateKey.generate()
        ident = hashlib.sha256(self.public).digest()[:8] if who is None else who
        self.hello_message = b"\x01\x01\x01" + ident + self.ephemeral.public_key().public_bytes_raw()
        await self.send(self.hello_message)
        self.ack = await self.receive()
        return self.ack

    async def handshake(self, lock_public):
        """READY of the lock. Raises what `Ed25519PublicKey.verify` raises for another lock."""
        await self.hello()
        assert self.ack[0] == 2, self.ack.hex()
        th1 = hashlib.sha256(self.hello_message + self.ack[1:33]).digest()
        Ed25519PublicKey.from_public_bytes(lock_public).verify(self.ack[33:], b"lintel-lock/1 lock" + th1)
        th2 = hashlib.sha256(self.hello_message + self.ack).digest()
        await self.send(b"\x03" + self.key.sign(b"lintel-lock/1 gw" + th2))
        shared = self.ephemeral.exchange(X25519PublicKey.from_public_bytes(self.ack[1:33]))
        keys = HKDF(SHA256(), 64, th2, b"lintel-lock/1 keys").derive(shared)
        self.sealer, self.opener = ChaCha20Poly1305(keys[:32]), ChaCha20Poly1305(keys[32:])
        return await self.unsealed()

    async def pair(self, secret):
        ack = await self.hello(bytes(8))
        if ack[0] != 2:
            return ack
        th1 = hashlib.sha256(self.hello_message + ack[1:33]).digest()
        name = b"gw".ljust(16, b"\0")
        proof = hmac.digest(secret, b"lintel-lock/1 pair" + th1 + self.public + name, "sha256")
        await self.send(b"\x05" + self.public + name + proof)
        answer = await self.receive()
        if answer[0] == 6:
            proof = hmac.digest(secret, b"lintel-lock/1 paired" + th1 + answer[1:33], "sha256")
            assert hmac.compare_digest(proof, answer[33:])
        return answer

    def sealed(self, inner, counter=None):
        counter = self.counter if counter is None else counter
        self.counter = counter + 1
        head = b"\x10" + struct.pack("<I", counter)
        return head + self.sealer.encrypt(head[1:] + bytes(8), inner, head)

    async def unsealed(self, seconds=5):
        message = await self.receive(seconds)
        if message[0] != 0x10:
            return message
        assert int.from_bytes(message[1:5], "little") == self.heard, "the lock's counter"
        self.heard += 1
        return self.opener.decrypt(message[1:5] + bytes(8), message[5:], message[:5])

    async def ask(self, inner):
        await self.send(self.sealed(inner))
        return await self.unsealed()

    async def challenge(self):
        answer = await self.ask(b"\x20")
        assert answer[0] == 0x21
        return answer[1:17]

    def order(self, nonce, action=2, ident=None, parameter=0, not_after=0):
        self.ident = ident or os.urandom(16)
        return b"\x22" + self.ident + struct.pack("<BHI", action, parameter, not_after) + nonce

    async def command(self, action=2, **more):
        """(ACCEPTED status, RESULT or None)."""
        answer = await self.ask(self.order(await self.challenge(), action, **more))
        if answer[0] == 0x24:
            return None, answer
        assert answer[0] == 0x23
        return answer[17], await self.unsealed() if answer[17] == 0 else None
