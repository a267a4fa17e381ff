"""The control socket: answers, feeds, and what a client that misbehaves gets."""

import asyncio
import json
import stat

import pytest

from lintel.edge import control
from lintel.edge.errors import ConfigError, LintelError, Mistake, StoreError


async def echo(params):
    return {"got": params}


async def wrong(params):
    raise ConfigError("file.csv", [Mistake("line 3", "expected a date")])


async def damaged(params):
    raise StoreError("db_damaged", "the file is damaged")


async def broken(params):
    raise ZeroDivisionError


async def feed():
    for n in range(3):
        yield n


HANDLERS = {"echo": echo, "wrong": wrong, "damaged": damaged, "broken": broken}


def serving(tmp_path, body):
    async def main():
        async with control.serve(tmp_path, HANDLERS, {"watch": feed}):
            return await body()

    return asyncio.run(main())


def call(tmp_path, *args):
    return serving(tmp_path, lambda: asyncio.to_thread(control.call, tmp_path, *args))


def test_a_call_is_answered(tmp_path):
    assert call(tmp_path, "echo", {"x": "中"}) == {"got": {"x": "中"}}


@pytest.mark.parametrize(
    ("method", "word", "text"),
    [
        ("wrong", "schema_violation", "line 3"),
        ("damaged", "db_damaged", "damaged"),
        ("broken", "internal_error", "its log says why"),
        ("nothing", "bad_request", "known methods"),
    ],
)
def test_errors_come_back_with_their_word(tmp_path, method, word, text):
    with pytest.raises(StoreError, match=text) as caught:
        call(tmp_path, method)
    assert caught.value.word == word


def test_without_a_gateway_the_message_says_what_to_do(tmp_path):
    with pytest.raises(LintelError, match="lintel run"):
        control.call(tmp_path, "echo")


def test_only_the_owner_may_speak_and_the_socket_goes_with_the_gateway(tmp_path):
    async def body():
        return stat.S_IMODE((tmp_path / control.SOCKET).stat().st_mode)

    assert serving(tmp_path, body) == 0o600
    assert not (tmp_path / control.SOCKET).exists()


def test_a_feed_is_answered_line_after_line_and_garbage_is_refused(tmp_path):
    async def body():
        reader, writer = await asyncio.open_unix_connection(tmp_path / control.SOCKET)
        for line in (b"\xff\xfe not json\n", b"[]\n", b'{"method": "watch"}\n'):
            writer.write(line)
        lines = [json.loads(await reader.readline()) for _ in range(5)]
        writer.close()
        await writer.wait_closed()
        return lines

    lines = serving(tmp_path, body)
    assert [line["error"]["word"] for line in lines[:2]] == ["bad_request"] * 2
    assert [line["result"] for line in lines[2:]] == [0, 1, 2]
