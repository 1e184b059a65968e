"""The connections that questions go by."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from edge.control.http import ConnectionEnded, HttpClient, HttpError

pytestmark = pytest.mark.integration
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Says of each request which connection it came by, and answers what ``answer`` gives: "" ends the connection."""

    def __init__(self, answer: Callable[[int], Awaitable[bytes]]) -> None:
        self.requests: list[tuple[int, bytes]] = []
        self._connections = 0
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        connection = self._connections
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append((connection, head + await reader.readexactly(length)))
                answer = await self._answer(len(self.requests))
                writer.write(answer)
                if not answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def with_server(answer, scenario):
    async def run():
        server = Server(answer)
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        client = HttpClient()
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/edge/decisions"
        try:
            await asyncio.wait_for(scenario(client, server, url), 10)
        finally:
            client.close()
            listening.close()

    asyncio.run(run())


async def ok(_):
    return OK


def test_a_connection_is_used_again_and_two_at_once_are_two():
    both = []

    async def answer(number):
        if number in (2, 3):
            both.append(number)
            while len(both) < 2:  # noqa: ASYNC110 - the other one is under way
                await asyncio.sleep(0)
        return OK

    async def scenario(client, server, url):
        sent = []
        assert await client.post(url, {"x-a": "1"}, b"body", lambda: sent.append(1)) == (200, b"ok")
        assert sent == [1]
        await asyncio.gather(*(client.post(url, {}, b"", lambda: None) for _ in range(2)))
        await client.post(url, {}, b"", lambda: None)
        assert [connection for connection, _ in server.requests] == [1, 1, 2, server.requests[3][0]]
        assert server.requests[3][0] in (1, 2)
        head = server.requests[0][1].decode()
        host = url.split("/")[2]
        assert head == (f"POST /edge/decisions HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\nx-a: 1\r\n\r\nbody")

    with_server(answer, scenario)


def test_a_kept_connection_that_has_ended_is_made_anew_once():
    async def answer(number):
        return OK if number in (1, 3) else b""

    async def scenario(client, server, url):
        for _ in range(2):
            assert await client.post(url, {}, b"", lambda: None) == (200, b"ok")
        assert [connection for connection, _ in server.requests] == [1, 1, 2]
        with pytest.raises(ConnectionEnded):  # the kept one, and a new one
            await client.post(url, {}, b"", lambda: None)
        assert len(server.requests) == 5

    with_server(answer, scenario)


def test_whoever_gives_up_leaves_no_answer_for_the_next_one():
    async def answer(number):
        if number == 2:
            await asyncio.sleep(0.05)
            return OK.replace(b"ok", b"no")
        return OK

    async def scenario(client, server, url):
        await client.post(url, {}, b"", lambda: None)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await client.post(url, {}, b"", lambda: None)
        assert await client.post(url, {}, b"", lambda: None) == (200, b"ok")
        assert [connection for connection, _ in server.requests] == [1, 1, 2]

    with_server(answer, scenario)


def test_what_is_no_http_is_an_error_and_its_connection_ends():
    async def answer(number):
        return b"220 mail\r\n\r\n" if number == 1 else OK

    async def scenario(client, server, url):
        with pytest.raises(HttpError, match="220 mail"):
            await client.post(url, {}, b"", lambda: None)
        await client.post(url, {}, b"", lambda: None)
        assert [connection for connection, _ in server.requests] == [1, 2]

    with_server(answer, scenario)


def test_where_nobody_listens_it_is_an_os_error():
    async def scenario():
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await HttpClient().post("http://127.255.254.253:1/x", {}, b"", lambda: None)

    asyncio.run(scenario())
