"""The Redis that engines keep their sessions in: nobody gets an answer but who knows an address's password."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import hiredis
import pytest
import uvloop

from edge.media.store import SessionStore
from edge.runtime.media_store_server import MediaStoreServer

pytestmark = pytest.mark.integration

HERE, THERE = "203.0.113.11", "203.0.113.12"


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._replies = hiredis.Reader()

    async def say(self, *words: bytes | str) -> object:
        self._writer.write(hiredis.pack_command(words))
        return await self.reply()

    async def reply(self) -> object:
        while (reply := self._replies.gets()) is False:
            data = await asyncio.wait_for(self._reader.read(65536), 5)
            if not data:
                return "closed"
            self._replies.feed(data)
        return reply

    async def raw(self, data: bytes) -> object:
        self._writer.write(data)
        return await self.reply()

    def close(self) -> None:
        self._writer.close()


def serve(state: Path, work: Callable[[MediaStoreServer, dict[str, SessionStore], list[str]], Awaitable[None]]) -> None:
    async def run() -> None:
        stores = {HERE: SessionStore({}), THERE: SessionStore({"theirs": b"{}"})}
        changed: list[str] = []
        server = MediaStoreServer(state, stores, changed.append)
        await server.open()
        try:
            await work(server, stores, changed)
        finally:
            server.close()
            await asyncio.sleep(0.01)

    uvloop.run(run())


def taken_apart(server: MediaStoreServer, address: str) -> tuple[str, str, int]:
    password, _, rest = server.redis(address).partition("@")
    host, _, port = rest.removesuffix("/0").partition(":")
    return password, host, int(port)


async def client(server: MediaStoreServer, address: str = "") -> Client:
    password, host, port = taken_apart(server, address or HERE)
    made = Client(*await asyncio.open_connection(host, port))
    if address:
        assert await made.say("AUTH", password) == b"OK"
    return made


def test_each_address_has_its_own_sessions(tmp_path):
    async def work(server: MediaStoreServer, stores: dict[str, SessionStore], changed: list[str]) -> None:
        one = await client(server, HERE)
        assert await one.say("SET", "a call\r\n\xff", b"\0\r\n") == b"OK"
        assert await one.say("GET", "a call\r\n\xff") == b"\0\r\n"
        assert await one.say("GET", "theirs") is None
        assert await one.say("DEL", "theirs") == 0
        assert isinstance(await one.say("FLUSHALL"), hiredis.ReplyError)
        two = await client(server, THERE)
        assert await two.say("KEYS", "*") == [b"theirs"]
        assert changed[0] == HERE
        one.close()
        two.close()

    serve(tmp_path, work)


def test_strangers_get_nothing(tmp_path):
    async def work(server: MediaStoreServer, stores: dict[str, SessionStore], changed: list[str]) -> None:
        password, host, _ = taken_apart(server, HERE)
        assert host == "127.0.0.1"
        assert password != taken_apart(server, THERE)[0]
        one = await client(server)
        for words in (("KEYS", "*"), ("AUTH", password[:-1]), ("AUTH", ""), ("AUTH", "default", password), ("PING",)):
            assert isinstance(await one.say(*words), hiredis.ReplyError)
        one.close()
        # Who says much before the password, or what is no command, is cut off.
        for data in (b"*1\r\n$600\r\n" + b"x" * 600, b"?\r\n", b"+OK\r\n", b":1\r\n", b"*1\r\n:1\r\n", b"*0\r\n"):
            one = await client(server)
            with pytest.raises((AssertionError, ConnectionError)):
                assert await one.raw(data) != "closed"
            one.close()
        assert changed == []

    serve(tmp_path, work)


def test_port_and_password_stay(tmp_path):
    """Engines outlive the process, and come back."""
    found: list[str] = []

    async def work(server: MediaStoreServer, stores: dict[str, SessionStore], changed: list[str]) -> None:
        found.append(server.redis(HERE))

    serve(tmp_path, work)
    serve(tmp_path, work)
    assert found[0] == found[1]
    file = tmp_path / "media-store.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert found[0].partition("@")[0] not in file.read_text()
    with socket.create_server(("127.0.0.1", json.loads(file.read_text())["port"])):
        serve(tmp_path, work)
    assert found[2].partition("@")[0] == found[0].partition("@")[0]
    assert found[2] != found[0]
    file.write_text("not JSON")
    serve(tmp_path, work)
    assert found[3].partition("@")[0] != found[0].partition("@")[0]
