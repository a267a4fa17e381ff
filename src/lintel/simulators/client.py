"""Drive a simulator process from asyncio: start it, command it, wait for its events, end it without a trace."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from lintel.simulators.parts import JsonMap, SimulatorError

OURS = (sys.executable, "-m", "lintel.simulators")


class Simulator:
    """A simulator process. `async with Simulator("relay", "--id", "door-1", ...) as sim:`

    Leaving the block ends the process (stdin closed, then SIGKILL after 3 s) and reaps it.
    """

    def __init__(
        self, *arguments: str, ready: bool = True, timeout: float = 10.0, program: Sequence[str | Path] = OURS
    ) -> None:
        """`arguments` as for `python -m lintel.simulators`; `ready`: wait at the start until every part is ready.

        `program`: another one that speaks the same lines.
        """
        self._command = (*program, *arguments)
        self._wait_ready = ready
        self._timeout = timeout
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._refs = 0
        self._answers: dict[int, asyncio.Future[JsonMap]] = {}
        self._changed = asyncio.Condition()
        self._ended = False
        self.events: list[JsonMap] = []
        """Events not yet taken by `event`, oldest first."""

    @classmethod
    def fleet(cls, parts: Sequence[JsonMap], *, ready: bool = True, timeout: float = 10.0, **defaults: object) -> Self:
        """Several devices in one process; `defaults` apply to every device that has such an option."""
        text = json.dumps({"defaults": defaults, "parts": list(parts)})
        return cls("fleet", text, ready=ready, timeout=timeout)

    @property
    def pid(self) -> int:
        """Process id. Only while started."""
        if self._process is None:
            raise SimulatorError("the simulator is not started")
        return self._process.pid

    async def start(self) -> Self:
        """Start the process. Raises SimulatorError when it refuses its options, TimeoutError when it is not ready."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 24, start_new_session=True,
        )  # fmt: skip
        self._reader = asyncio.create_task(self._read())
        try:
            started = await self.event("started", self._timeout)
            for part in started["parts"] if self._wait_ready else ():
                await self.event("ready", self._timeout, id=part)
        except BaseException:
            await self.stop()
            raise
        return self

    async def stop(self) -> None:
        """End the process and reap it. May be called twice."""
        process = self._process
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 3)
        except TimeoutError:
            process.kill()
            await process.wait()
        if self._reader is not None:
            await self._reader
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await process.stdin.wait_closed()
        self._process = None

    async def kill(self) -> None:
        """SIGKILL: the device loses power in the middle of whatever it does."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await self.stop()

    async def __aenter__(self) -> Self:
        """Start."""
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        await self.stop()

    async def command(self, command: str | JsonMap, timeout: float = 10.0, **arguments: object) -> JsonMap:  # noqa: ASYNC109
        """Execute `command("scan", text="...")` or `command({"cmd": "scan", "text": "..."})`; returns the answer.

        Raises SimulatorError when the device does not know it or the process has ended, TimeoutError after `timeout` s.
        """
        if self._process is None or self._process.stdin is None or self._ended:
            raise SimulatorError("the simulator is not running")
        self._refs = ref = self._refs + 1
        message = ({"cmd": command} if isinstance(command, str) else command) | arguments | {"ref": ref}
        answer: asyncio.Future[JsonMap] = asyncio.get_running_loop().create_future()
        self._answers[ref] = answer
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            await self._process.stdin.drain()
            got = await asyncio.wait_for(answer, timeout)
        finally:
            self._answers.pop(ref, None)
        if got["event"] == "failed":
            raise SimulatorError(str(got["error"]))
        return got

    async def event(self, name: str, timeout: float = 5.0, **match: object) -> JsonMap:  # noqa: ASYNC109
        """Take the oldest event `name` whose fields equal `match`, waiting for it. Raises TimeoutError.

        Each event is handed out once.
        """
        async with asyncio.timeout(timeout), self._changed:
            while True:
                for event in self.events:
                    if event["event"] == name and all(event.get(k) == v for k, v in match.items()):
                        self.events.remove(event)
                        return event
                if self._ended:
                    failed = [e["error"] for e in self.events if e["event"] in ("failed", "broken")]
                    raise SimulatorError(f"the simulator ended before {name!r}: {'; '.join(failed) or 'no reason'}")
                await self._changed.wait()

    async def _read(self) -> None:
        if self._process is None or self._process.stdout is None:
            return
        while line := await self._process.stdout.readline():
            event: JsonMap = json.loads(line)
            answer = self._answers.get(event.get("ref") or 0)
            if event["event"] in ("done", "failed") and answer is not None:
                if not answer.done():
                    answer.set_result(event)
                continue
            async with self._changed:
                self.events.append(event)
                del self.events[:-10_000]
                self._changed.notify_all()
        async with self._changed:
            self._ended = True
            self._changed.notify_all()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(SimulatorError("the simulator ended"))
