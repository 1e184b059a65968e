"""One QUIC connection between two edges (aioquic), authenticated both ways.

The client checks the server's certificate against the one that the fleet list has for it. aioquic's server doesn't
verify client certificates, so the client then signs (label, server's certificate hash, its own id, the server's
nonce) with its edge key; until that is verified no other frame is accepted. The nonce is new for each connection, so a
recorded handshake proves nothing.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import ssl
from collections.abc import Callable
from typing import Any

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, QuicEvent, StreamDataReceived
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from edge.mesh.frames import MAX_FRAME, Frame, FrameError, FrameReader, Hello, LinkProof, LinkWelcome, Nonce, encode

IDLE = 2.4  # seconds of silence after which a link is dead; its end is noticed within 3
PING = 0.7
HANDSHAKE = 2.0  # seconds that a stranger has to prove who it is
ALPN = "sipwizard-mesh-1"
_FIRST_FRAMES = 1024  # octets of a frame before the proof
_WINDOW = 64 * 1024  # octets that a client may send before any are read; grows with what it has sent
_LABEL = b"sipwizard mesh 1"


def client_configuration(server: str, certificate: str) -> QuicConfiguration:
    """For a link to edge ``server``, which must show exactly ``certificate`` (base64 DER)."""
    pem = x509.load_der_x509_certificate(base64.b64decode(certificate)).public_bytes(Encoding.PEM)
    return QuicConfiguration(
        is_client=True,
        alpn_protocols=[ALPN],
        server_name=server,
        cadata=pem,
        verify_mode=ssl.CERT_REQUIRED,
        idle_timeout=IDLE,
    )


def server_configuration(certificate: x509.Certificate, key: Ed25519PrivateKey) -> QuicConfiguration:
    return QuicConfiguration(
        is_client=False,
        alpn_protocols=[ALPN],
        certificate=certificate,
        private_key=key,
        idle_timeout=IDLE,
        max_data=_WINDOW,
        max_stream_data=_WINDOW,
    )


def signed_proof(server_certificate: bytes, client: str, nonce: bytes) -> bytes:
    """What the client signs; the parts have fixed lengths but the last."""
    return _LABEL + hashlib.sha256(server_certificate).digest() + nonce + client.encode()


class Link(QuicConnectionProtocol):
    """What both ends share: frames on stream 0, and the link's end."""

    def __init__(self, quic: QuicConnection, *args: Any, **kwargs: Any) -> None:
        super().__init__(quic, *args, **kwargs)
        self._reader = FrameReader(_FIRST_FRAMES)
        self.up = False
        self.ended = asyncio.get_running_loop().create_future()

    def send(self, frame: Frame) -> None:
        """Queue a frame; it leaves with the next packet."""
        self._quic.send_stream_data(0, encode(frame))
        self.transmit()

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived) and event.stream_id == 0:
            try:
                for frame in self._reader.feed(event.data):
                    self.frame_received(frame)
            except FrameError as error:
                self.refuse(str(error))
        elif isinstance(event, ConnectionTerminated):
            self.up = False
            if not self.ended.done():
                self.ended.set_result(event.reason_phrase or "no word for too long")

    def frame_received(self, frame: Frame) -> None:
        raise NotImplementedError

    def _proven(self) -> None:
        """From now on all frames are taken."""
        self.up = True
        self._reader.most = MAX_FRAME

    def refuse(self, why: str) -> None:
        """End the link."""
        self.up = False
        self.close(error_code=1, reason_phrase=why)
        if not self.ended.done():
            self.ended.set_result(why)


class ClientLink(Link):
    """Our link to a peer: we send requests on it, and get NotSent back."""

    def __init__(
        self,
        quic: QuicConnection,
        edge: str,
        boot: str,
        key: Ed25519PrivateKey,
        certificate: bytes,
        on_frame: Callable[[Frame], None],
    ) -> None:
        super().__init__(quic)
        self._edge = edge
        self._boot = boot
        self._key = key
        self._certificate = certificate
        self._on_frame = on_frame
        self.welcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, HandshakeCompleted):
            self.send(Hello(self._edge, self._boot))
        super().quic_event_received(event)

    def frame_received(self, frame: Frame) -> None:
        if self.up:
            self._on_frame(frame)
        elif isinstance(frame, Nonce):
            self.send(LinkProof(self._key.sign(signed_proof(self._certificate, self._edge, frame.nonce))))
        elif isinstance(frame, LinkWelcome):
            self._proven()
            if not self.welcome.done():
                self.welcome.set_result(None)

    async def keep(self) -> str:
        """Ping until the link ends; why it did."""
        while not self.ended.done():
            self._quic.send_ping(secrets.randbits(31))
            self.transmit()
            await asyncio.wait([self.ended], timeout=PING)
        return str(self.ended.result())


class ServerLink(Link):
    """A peer's link to us: it sends requests on it once it has proven who it is."""

    def __init__(
        self,
        quic: QuicConnection,
        *,
        certificate: bytes,
        key_of: Callable[[str], Ed25519PublicKey | None],
        on_up: Callable[[ServerLink], None],
        on_frame: Callable[[ServerLink, Frame], None],
        note: Callable[[str, str, object], None],
    ) -> None:
        super().__init__(quic)
        self._certificate = certificate
        self._key_of = key_of
        self._on_up = on_up
        self._on_frame = on_frame
        self._note = note
        self._nonce = b""
        self.peer = self.boot = ""
        self._deadline = asyncio.get_running_loop().call_later(HANDSHAKE, self._too_late)

    def _too_late(self) -> None:
        if not self.up and not self.ended.done():
            self._note("mesh_unproven", "a link that claims to be edge %r proves nothing in time", self.peer)
            self.refuse("not proven who you are in time")

    def frame_received(self, frame: Frame) -> None:
        if self.up:
            self._on_frame(self, frame)
        elif isinstance(frame, Hello) and not self._nonce:
            self.peer, self.boot = frame.edge, frame.boot
            self._nonce = secrets.token_bytes(32)
            self.send(Nonce(self._nonce))
        elif isinstance(frame, LinkProof) and self._nonce and self._is_proof(frame.signature):
            self._proven()
            self._deadline.cancel()
            self.send(LinkWelcome())
            self._on_up(self)
        else:
            self._note("mesh_unproven", "a link that claims to be edge %r can't prove it", self.peer)
            self._deadline.cancel()
            self.refuse("not proven who you are")

    def _is_proof(self, signature: bytes) -> bool:
        key = self._key_of(self.peer)
        if key is None:
            return False
        try:
            key.verify(signature, signed_proof(self._certificate, self.peer, self._nonce))
        except InvalidSignature:
            return False
        return True
