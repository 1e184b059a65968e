"""The kernel gives a source to the process that ``edge.sip.partition`` says, whatever becomes of the processes."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from edge.sip.partition import process_of
from edge.transport.steering import steer

HOSTS = [f"127.{x % 5}.{x * 7 % 250}.{1 + x % 200}" for x in range(40)]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def group(stack: ExitStack, kind: socket.SocketKind, count: int, family=socket.AF_INET) -> list[socket.socket]:
    """Sockets on one port, in the order of their processes."""
    host, port = "127.0.0.1" if family == socket.AF_INET else "::1", 0
    made = []
    for index in range(count):
        sock = stack.enter_context(socket.socket(family, kind))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        port = sock.getsockname()[1]
        if kind == socket.SOCK_STREAM:
            sock.listen(100)
        if not index:
            steer(sock, count)
        made.append(sock)
    return made


def sent_to(sockets: list[socket.socket], host: str) -> int:
    """Send from ``host``; the index of the socket that got it."""
    kind = sockets[0].type
    with socket.socket(sockets[0].family, kind) as sender:
        sender.bind((host, 0))
        sender.connect(sockets[0].getsockname())
        if kind == socket.SOCK_DGRAM:
            sender.send(b"x")
        readable, _, _ = select.select(sockets, [], [], 5)
    assert len(readable) == 1
    if kind == socket.SOCK_DGRAM:
        readable[0].recv(10)
    else:
        readable[0].accept()[0].close()
    return sockets.index(readable[0])


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
@pytest.mark.parametrize("count", [2, 3])
def test_the_kernel_chooses_as_the_partition_says(stack, kind, count):
    sockets = group(stack, kind, count)
    found = [sent_to(sockets, host) for host in HOSTS]
    assert found == [process_of(host, count) for host in HOSTS]
    assert set(found) == set(range(count))


def test_the_same_by_ipv6(stack):
    sockets = group(stack, socket.SOCK_DGRAM, 4, socket.AF_INET6)
    assert sent_to(sockets, "::1") == process_of("::1", 4)


def test_a_socket_of_a_process_that_has_died_keeps_its_place_and_what_has_come(stack):
    sockets = group(stack, socket.SOCK_DGRAM, 2)
    child = os.fork()
    if not child:
        signal.pause()
        os._exit(0)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert [sent_to(sockets, host) for host in HOSTS] == [process_of(host, 2) for host in HOSTS]
