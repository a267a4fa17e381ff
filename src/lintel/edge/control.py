"""The local control socket: how the command line talks to the running daemon.

One request a line, one answer a line, JSON: `{"method": ..., "params": {...}}` -> `{"result": ...}` or
`{"error": {"word": ..., "message": ...}}`. The socket lies in the state directory with mode 0600: who may open the
state may speak here.
"""

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from lintel.edge.errors import ConfigError, LintelError, StoreError

log = logging.getLogger(__name__)

SOCKET = "control.sock"
LIMIT = 64 * 1024 * 1024
"""Longest request in bytes: a community's whole allowlist fits."""

Handler = Callable[[dict[str, Any]], Awaitable[object]]
Feed = Callable[[], AsyncIterator[object]]


@contextlib.asynccontextmanager
async def serve(state: Path, handlers: Mapping[str, Handler], feeds: Mapping[str, Feed]) -> AsyncIterator[None]:
    """Answer requests until the block is left. A request named in `feeds` is answered line after line, without end.

    Where the socket can not be made (a read-only disk) there is none: doors decide without a command line.
    """
    path = state / SOCKET
    talks: set[asyncio.Task[Any]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  asyncio runs this as a task
        talks.add(task)
        try:
            while line := await reader.readline():
                async for answer in _answers(handlers, feeds, line):
                    writer.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
                    await writer.drain()
        except (ValueError, ConnectionError) as e:  # over-long request or a client that left
            log.info("control: closed: %s", type(e).__name__)
        except asyncio.CancelledError:  # the daemon stops; asyncio before 3.12 logs a cancelled handler as an error
            log.debug("control: closed")
        finally:
            talks.discard(task)
            writer.close()

    try:
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(talk, path, limit=LIMIT)
        path.chmod(0o600)
    except OSError as e:
        log.error("no control socket, so no status and no import: %s", e)  # noqa: TRY400  the reason says it all
        yield
        return
    try:
        yield
    finally:
        server.close()
        for task in list(talks):
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        path.unlink(missing_ok=True)


async def _answers(
    handlers: Mapping[str, Handler], feeds: Mapping[str, Feed], line: bytes
) -> AsyncIterator[dict[str, object]]:
    try:
        request = json.loads(line)
        method = request["method"]
        params = dict(request.get("params") or {})
        if method in feeds:
            async for item in feeds[method]():
                yield {"result": item}
            return
        handler = handlers[method]
    except (ValueError, KeyError, TypeError):
        yield _error("bad_request", "a request is {'method': one of the known methods, 'params': {...}}")
        return
    yield await _answer(method, handler, params)


async def _answer(method: str, handler: Handler, params: dict[str, Any]) -> dict[str, object]:
    try:
        return {"result": await handler(params)}
    except StoreError as e:
        return _error(e.word, str(e))
    except ConfigError as e:
        return _error("schema_violation", str(e))
    except LintelError as e:
        return _error("refused", str(e))
    except Exception:  # a bug in one answer must not close the door's control socket
        log.exception("control: %s failed", method)
        return _error("internal_error", "the daemon could not answer; its log says why")


def _error(word: str, message: str) -> dict[str, object]:
    return {"error": {"word": word, "message": message}}


def call(state_dir: Path, method: str, params: Mapping[str, object] | None = None) -> Any:  # noqa: ANN401  JSON
    """Ask the running daemon something. Raises LintelError when none runs, or with its own message."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(60)
            s.connect(str(state_dir / SOCKET))
            s.sendall(json.dumps({"method": method, "params": dict(params or {})}).encode() + b"\n")
            with s.makefile("rb") as f:
                answer = json.loads(f.readline() or b"{}")
    except (FileNotFoundError, ConnectionRefusedError) as e:
        raise LintelError(f"no gateway is running on {state_dir}; start it with: lintel run --config FILE") from e
    except OSError as e:
        raise LintelError(f"the gateway on {state_dir} does not answer: {e}") from e
    if "result" in answer:
        return answer["result"]
    error = answer.get("error", {})
    raise StoreError(error.get("word", "internal_error"), error.get("message", "the gateway closed the connection"))
