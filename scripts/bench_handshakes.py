"""``scripts/bench handshakes``: what TLS handshakes take at an edge's sockets, in full and taken up again, what idle
connections weigh there, and how long many phones need to come back. Sockets only: no SIP behind them."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edge.runtime.memory import take_large_buffers_from_the_system
from edge.sip.flow import Flow
from edge.transport.certificates import Certificate, Certificates
from edge.transport.session_tickets import KEY, SessionTickets
from edge.transport.sockets import Listener, Sockets
from edge.transport.streams import StreamLimits
from tests.support.socket_phone import WebSocketClient

_HOST, _PORTS = "127.77.0.1", {"tcp": 5060, "tls": 5061, "ws": 8080, "wss": 8443}
_MESSAGE = b"OPTIONS sip:edge SIP/2.0\r\nContent-Length: 0\r\n\r\n"
_ANSWER = b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"
_TURN = 20  # connections
_THREADS = 8  # of clients
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

Connection = tuple[socket.socket, ssl.SSLSession | None]


class _Everybody:
    """A StreamUser who knows everybody."""

    def __init__(self, certificates: Certificates) -> None:
        limits = StreamLimits(streams=40_000, of_source=40_000, handshakes=40_000, handshake=600.0)
        self.sockets = Sockets(self, lambda *_: None, limits=limits, certificates=certificates)

    def message(self, flow: Flow, data: bytes) -> None:
        self.sockets.send(flow, _ANSWER)

    def closed(self, flow: Flow, why: str = "") -> None: ...

    def kept(self, flow: Flow) -> bool:
        return True

    def proven(self, flow: Flow) -> bool:
        return True

    def may_answer(self, flow: Flow) -> bool:
        return True


def _serve(certificate: Certificate) -> None:
    async def run() -> None:
        tickets = SessionTickets()
        tickets.replace({1: bytes(range(KEY))}, 1)
        certificates = Certificates(tickets.use_in)
        certificates.replace([certificate])
        user = _Everybody(certificates)
        await user.sockets.open([Listener(kind, _HOST, port, _HOST) for kind, port in _PORTS.items()])
        await asyncio.Event().wait()

    _raise_file_limit()
    take_large_buffers_from_the_system()
    uvloop.run(run())


@contextlib.contextmanager
def _server(certificate: Certificate) -> Iterator[int]:
    """Its process id."""
    process = get_context("spawn").Process(target=_serve, args=(certificate,), daemon=True)
    process.start()
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection((_HOST, _PORTS["wss"]), 1):
                break
            time.sleep(0.05)
        yield process.pid or 0
    finally:
        process.kill()
        process.join()


def handshakes(say: Callable[..., None], rounds: int, idle: int, phones: int) -> None:
    _raise_file_limit()
    for kind in ("ec", "rsa"):
        certificate = _certificate(kind)
        with _server(certificate) as pid:
            for version in _VERSIONS:
                client = _client(certificate, version)
                session = _connect("tls", client)[1]
                plain, full, again = _spent(
                    pid,
                    rounds,
                    partial(_connect, "tcp"),
                    partial(_connect, "tls", client),
                    partial(_connect, "tls", client, session),
                )
                what = {"key": {"ec": "P-256", "rsa": "RSA-2048"}[kind], "version": version, "rounds": rounds}
                say("handshake", (full - plain) * 1000, "ms of CPU", **what)
                say("handshake taken up", (again - plain) * 1000, "ms of CPU", **what)
    certificate = _certificate("ec")
    for transport in (*_PORTS, "half open"):
        with _server(certificate) as pid:
            client, before = _client(certificate, "1.3"), _resident(pid)
            kept = [
                _half_open(client) if transport == "half open" else _connect(transport, client) for _ in range(idle)
            ]
            time.sleep(0.5)
            say("idle connection", (_resident(pid) - before) / idle / 1024, "KB", transport=transport, number=idle)
            _close(kept)
    client = _client(certificate, "1.3")
    for taken_up in (False, True):
        with _server(certificate) as pid:
            session = _connect("tls", client)[1] if taken_up else None
            cpu, begun = _cpu(pid), time.monotonic()
            _close(_many(phones, partial(_connect, "tls", client, session)))
            seconds = time.monotonic() - begun
            say("phones back by TLS", seconds, "s", phones=phones, taken_up=taken_up, cpu=round(_cpu(pid) - cpu, 1))


def _connect(transport: str, client: ssl.SSLContext | None = None, session: ssl.SSLSession | None = None) -> Connection:
    """A connection with a message there and an answer back, which brings the ticket."""
    made: socket.socket = socket.create_connection((_HOST, _PORTS[transport]))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if client is not None and transport in ("tls", "wss"):
        made = client.wrap_socket(made, session=session)
    message = _MESSAGE
    if transport in ("ws", "wss"):
        framer = WebSocketClient()
        made.sendall(framer.ask())
        while not framer.ready:
            framer.feed(made.recv(65536))
        message = framer.wrap(message)
    made.sendall(message)
    made.recv(65536)
    return made, made.session if isinstance(made, ssl.SSLSocket) else None


def _half_open(client: ssl.SSLContext) -> Connection:
    """A ClientHello, and nothing after it."""
    made = socket.create_connection((_HOST, _PORTS["tls"]))
    hello = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        client.wrap_bio(ssl.MemoryBIO(), hello).do_handshake()
    made.sendall(hello.read())
    return made, None


def _many(number: int, connect: Callable[[], Connection]) -> list[Connection]:
    """By several clients at once."""
    made: list[Connection] = []

    def work() -> None:
        for _ in range(number // _THREADS):
            made.append(connect())

    threads = [threading.Thread(target=work) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return made


def _spent(pid: int, rounds: int, *kinds: Callable[[], Connection]) -> list[float]:
    """Seconds of the server's CPU for one of each kind; in turns, of which the best counts."""
    best = [float("inf")] * len(kinds)
    for _ in range(rounds // _TURN):
        for number, connect in enumerate(kinds):
            before = _cpu(pid)
            for _ in range(_TURN):
                _close([connect()])
            best[number] = min(best[number], (_cpu(pid) - before) / _TURN)
    return best


def _close(connections: list[Connection]) -> None:
    for made, _ in connections:
        made.close()


def _cpu(pid: int) -> float:
    """Seconds so far, to the nanosecond."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _resident(pid: int) -> int:
    """Octets."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def _client(certificate: Certificate, version: str) -> ssl.SSLContext:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(cadata=certificate.chain)
    client.minimum_version = client.maximum_version = _VERSIONS[version]
    return client


def _certificate(kind: str) -> Certificate:
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    key = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Certificate(made.public_bytes(Encoding.PEM).decode(), private.decode(), ("bench",))


def _raise_file_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
