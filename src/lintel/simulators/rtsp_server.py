"""The far end of RTSP (RFC 2326): DESCRIBE, SETUP over the same TCP connection, PLAY, with Digest login (RFC 2617)."""

import asyncio
import contextlib
import hashlib
import hmac
import re
import secrets
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from lintel.simulators.rtp_jpeg import CLOCK, PAYLOAD_TYPE, Packets, Picture

_MAX_REQUEST: Final = 8192
_REALM: Final = "camera"
_STATUS: Final = {
    200: "OK",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    461: "Unsupported Transport",
}
_METHODS: Final = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER"


@dataclass(frozen=True, slots=True)
class Request:
    """One request: header names are in lower case."""

    method: str
    url: str
    headers: Mapping[str, str]


def read_request(head: bytes) -> Request:
    """The lines before the empty one. Raises ValueError."""
    first, *lines = head.decode("utf-8").split("\r\n")
    method, url, version = first.split(" ")
    if version != "RTSP/1.0":
        raise ValueError  # whoever speaks something else is left
    pairs = (line.partition(":") for line in lines if line)
    return Request(method, url, {name.strip().lower(): value.strip() for name, _, value in pairs})


def digest(username: str, realm: str, password: str, *, nonce: str, method: str, url: str) -> str:
    """The `response` of RFC 2617 without qop: MD5 is the protocol's own."""

    def md5(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    return md5(f"{md5(f'{username}:{realm}:{password}')}:{nonce}:{md5(f'{method}:{url}')}")


@dataclass(slots=True)
class RtspServer:
    """Serves one path. `picture` is asked for each frame; None: nothing is sent, as of a camera that hangs.

    `username` of "": no login. `deaf`: connections are taken and never answered.
    """

    picture: Callable[[], Picture | None]
    path: str = "/live"
    fps: float = 10.0
    username: str = ""
    password: str = field(default="", repr=False)
    deaf: bool = False
    requests: list[str] = field(default_factory=list)
    """Methods that were asked for, with `401` behind those that were refused."""
    _server: asyncio.Server | None = field(default=None, init=False)
    _open: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port (0 chooses one)."""
        self._server = await asyncio.start_server(self._connected, host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close the port and every connection, as if the cable was pulled."""
        if self._server is not None:
            self._server.close()
            self._server = None
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = _Session(self, writer)
        try:
            while True:
                if self.deaf:
                    await reader.read(_MAX_REQUEST)
                    await asyncio.sleep(0.05)
                    continue
                first = await reader.readexactly(1)
                if first == b"$":  # RTCP of the client, on its own channel
                    _, size = struct.unpack(">BH", await reader.readexactly(3))
                    await reader.readexactly(size)
                    continue
                head = first + await reader.readuntil(b"\r\n\r\n")
                request = read_request(head[:-4])
                await reader.readexactly(int(request.headers.get("content-length", 0)))
                if not await session.answer(request):
                    return
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            pass
        finally:
            session.close()
            writer.transport.abort()


class _Session:
    """One client."""

    def __init__(self, server: RtspServer, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._writer = writer
        self._nonce = secrets.token_hex(16)
        self._id = secrets.token_hex(4)
        self._channel = 0
        self._playing: asyncio.Task[None] | None = None

    def close(self) -> None:
        """End the stream."""
        if self._playing is not None:
            self._playing.cancel()

    async def answer(self, request: Request) -> bool:
        """Answer one request; False when the client takes leave."""
        server = self._server
        if request.method != "OPTIONS" and not self._may(request):
            server.requests.append(f"{request.method} 401")
            login = f'Digest realm="{_REALM}", nonce="{self._nonce}"'
            return await self._say(request, 401, {"WWW-Authenticate": login})
        server.requests.append(request.method)
        match request.method:
            case "OPTIONS":
                return await self._say(request, 200, {"Public": _METHODS})
            case "GET_PARAMETER":
                return await self._say(request, 200, {"Session": self._id})
            case "DESCRIBE":
                return await self._describe(request)
            case "SETUP":
                return await self._set_up(request)
            case "PLAY":
                await self._say(request, 200, {"Session": self._id, "Range": "npt=0.000-"})
                self._playing = asyncio.get_running_loop().create_task(self._play())
                return True
            case "TEARDOWN":
                await self._say(request, 200, {"Session": self._id})
                return False
            case _:
                return await self._say(request, 405, {"Allow": _METHODS})

    def _may(self, request: Request) -> bool:
        server = self._server
        if not server.username:
            return True
        given = dict(re.findall(r'(\w+)="([^"]*)"', request.headers.get("authorization", "")))
        wanted = digest(
            server.username, _REALM, server.password,
            nonce=self._nonce, method=request.method, url=given.get("uri", ""),
        )  # fmt: skip
        return given.get("nonce") == self._nonce and hmac.compare_digest(given.get("response", ""), wanted)

    async def _describe(self, request: Request) -> bool:
        if not request.url.split("?")[0].rstrip("/").endswith(self._server.path):
            return await self._say(request, 404)
        sdp = (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\n"
            f"m=video 0 RTP/AVP {PAYLOAD_TYPE}\r\na=rtpmap:{PAYLOAD_TYPE} JPEG/{CLOCK}\r\n"
            f"a=framerate:{self._server.fps:g}\r\na=control:track1\r\n"
        )
        base = request.url.rstrip("/") + "/"
        return await self._say(request, 200, {"Content-Base": base, "Content-Type": "application/sdp"}, sdp)

    async def _set_up(self, request: Request) -> bool:
        transport = request.headers.get("transport", "")
        found = re.search(r"RTP/AVP/TCP;.*interleaved=(\d+)-\d+", transport)
        if found is None:
            return await self._say(request, 461)
        self._channel = int(found[1]) & 0xFF
        said = f"RTP/AVP/TCP;unicast;interleaved={self._channel}-{self._channel + 1};ssrc=00000001"
        return await self._say(request, 200, {"Transport": said, "Session": f"{self._id};timeout=60"})

    async def _say(
        self, request: Request, status: int, headers: Mapping[str, str] | None = None, body: str = ""
    ) -> bool:
        lines = [f"RTSP/1.0 {status} {_STATUS[status]}", f"CSeq: {request.headers.get('cseq', '0')}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self._writer.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        await self._writer.drain()
        return True

    async def _play(self) -> None:
        packets, loop = Packets(ssrc=1), asyncio.get_running_loop()
        start = due = loop.time()
        with contextlib.suppress(OSError):
            while True:
                picture = self._server.picture()
                if picture is not None:
                    for packet in packets.of(picture, int((loop.time() - start) * CLOCK)):
                        self._writer.write(struct.pack(">cBH", b"$", self._channel, len(packet)) + packet)
                    await self._writer.drain()
                due = max(due + 1 / self._server.fps, loop.time())
                await asyncio.sleep(due - loop.time())
