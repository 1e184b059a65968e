"""What edges say to each other, without I/O: length-prefixed frames on one QUIC stream.

``length (4 octets) | kind (1 octet) | fields``, numbers in network order, texts with a 2-octet length.
An edge closes the link on a frame that it can't read, and ignores kinds that it doesn't know.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass

from edge.sip.flow import Flow

MAX_FRAME = 70_000  # octets: the largest SIP message and its flow
_HEAD = struct.Struct("!IB")


class FrameError(ValueError):
    """The peer sends what isn't a frame."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The client names itself, and the start of its process."""

    edge: str
    boot: str


@dataclass(frozen=True, slots=True)
class Nonce:
    """The server wants a signature over these 32 octets."""

    nonce: bytes


@dataclass(frozen=True, slots=True)
class LinkProof:
    """The signature over (label, SHA-256 of the server's certificate, client's id, nonce)."""

    signature: bytes


@dataclass(frozen=True, slots=True)
class LinkWelcome:
    """The client is who it says; other frames may follow."""


@dataclass(frozen=True, slots=True)
class SendOn:
    """Send ``data`` on ``flow``, whose address you hold, in ``epoch`` as far as I know."""

    flow: Flow
    epoch: int
    ref: str
    data: bytes


@dataclass(frozen=True, slots=True)
class NotSent:
    """The SendOn with this ``ref`` couldn't be: the address isn't held here, or the flow is dead."""

    ref: str


@dataclass(frozen=True, slots=True)
class ReceivedFor:
    """What came in here on ``flow`` belongs to a transaction of yours: a response, or after a handover a request."""

    flow: Flow
    data: bytes


@dataclass(frozen=True, slots=True)
class FindPhones:
    """Where is ``aor`` of ``tenant`` at your addresses? Asked while no control plane answers."""

    ref: str
    aor: str
    tenant: str


@dataclass(frozen=True, slots=True)
class PhonesFound:
    """The answer to the FindPhones with this ``ref``; ``data`` is for the edge's own use."""

    ref: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Announce:
    """I hold ``address`` in ``epoch``, and its packets come to me."""

    address: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Offer:
    """I hand ``address`` over to you; ``consent`` is for the control plane. Keys of open server transactions follow."""

    address: str
    epoch: int
    consent: str


@dataclass(frozen=True, slots=True)
class Decline:
    """I can't take ``address``."""

    address: str
    why: str


@dataclass(frozen=True, slots=True)
class TransactionKeys:
    """What comes in on ``address`` for these server transactions is mine; ``keys`` tell them apart."""

    address: str
    keys: list[tuple[str, ...]]


Frame = (
    Hello
    | Nonce
    | LinkProof
    | LinkWelcome
    | SendOn
    | NotSent
    | ReceivedFor
    | FindPhones
    | PhonesFound
    | Announce
    | Offer
    | Decline
    | TransactionKeys
)


def encode(frame: Frame) -> bytes:
    """The frame as sent."""
    match frame:
        case Hello(edge, boot):
            kind, fields = 1, _text(edge) + _text(boot)
        case Nonce(nonce):
            kind, fields = 2, nonce
        case LinkProof(signature):
            kind, fields = 3, signature
        case LinkWelcome():
            kind, fields = 4, b""
        case SendOn(flow, epoch, ref, data):
            kind, fields = 5, _flow(flow) + struct.pack("!Q", epoch) + _text(ref) + data
        case NotSent(ref):
            kind, fields = 6, ref.encode()
        case ReceivedFor(flow, data):
            kind, fields = 7, _flow(flow) + data
        case FindPhones(ref, aor, tenant):
            kind, fields = 8, _text(ref) + _text(aor) + _text(tenant)
        case PhonesFound(ref, data):
            kind, fields = 9, _text(ref) + data
        case Announce(address, epoch):
            kind, fields = 10, struct.pack("!Q", epoch) + _text(address)
        case Offer(address, epoch, consent):
            kind, fields = 11, struct.pack("!Q", epoch) + _text(address) + _text(consent)
        case Decline(address, why):
            kind, fields = 12, _text(address) + _text(why)
        case TransactionKeys(address, keys):
            kind, fields = 13, _text(address) + _keys(keys)
    return _HEAD.pack(len(fields) + 1, kind) + fields


class FrameReader:
    """Feed it bytes as they come; it gives back frames, of at most ``most`` octets each."""

    def __init__(self, most: int = MAX_FRAME) -> None:
        self.most = most
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that ``data`` completes. Raises FrameError."""
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        while len(buffer) >= _HEAD.size:
            size, kind = _HEAD.unpack_from(buffer)
            if not 0 < size <= self.most:
                raise FrameError(f"a frame of {size} octets")
            if len(buffer) < 4 + size:
                break
            fields = bytes(buffer[_HEAD.size : 4 + size])
            del buffer[: 4 + size]
            frame = _decode(kind, fields)
            if frame is not None:
                frames.append(frame)
        return frames


def _decode(kind: int, fields: bytes) -> Frame | None:
    try:
        match kind:
            case 1:
                edge, rest = _read_text(fields)
                return Hello(edge, _read_text(rest)[0])
            case 2:
                return Nonce(fields)
            case 3:
                return LinkProof(fields)
            case 4:
                return LinkWelcome()
            case 5:
                flow, rest = _read_flow(fields)
                (epoch,) = struct.unpack_from("!Q", rest)
                ref, data = _read_text(rest[8:])
                return SendOn(flow, epoch, ref, data)
            case 6:
                return NotSent(fields.decode())
            case 7:
                flow, data = _read_flow(fields)
                return ReceivedFor(flow, data)
            case 8:
                ref, rest = _read_text(fields)
                aor, rest = _read_text(rest)
                return FindPhones(ref, aor, _read_text(rest)[0])
            case 9:
                ref, data = _read_text(fields)
                return PhonesFound(ref, data)
            case 10:
                (epoch,) = struct.unpack_from("!Q", fields)
                return Announce(_read_text(fields[8:])[0], epoch)
            case 11:
                (epoch,) = struct.unpack_from("!Q", fields)
                address, rest = _read_text(fields[8:])
                return Offer(address, epoch, _read_text(rest)[0])
            case 12:
                address, rest = _read_text(fields)
                return Decline(address, _read_text(rest)[0])
            case 13:
                address, data = _read_text(fields)
                return TransactionKeys(address, _read_keys(data))
    except (struct.error, ValueError, TypeError, AttributeError, IndexError, OSError) as error:
        raise FrameError(f"a frame of kind {kind} that can't be read") from error
    return None


def _text(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    return struct.pack("!H", len(raw)) + raw


def _read_text(data: bytes) -> tuple[str, bytes]:
    (size,) = struct.unpack_from("!H", data)
    if len(data) < 2 + size:
        raise ValueError("cut short")
    return data[2 : 2 + size].decode("utf-8", "surrogateescape"), data[2 + size :]


def _flow(flow: Flow) -> bytes:
    return _text(flow.address) + struct.pack("!H", flow.port) + flow.pack_remote()


def _read_flow(data: bytes) -> tuple[Flow, bytes]:
    address, rest = _read_text(data)
    (port,) = struct.unpack_from("!H", rest)
    return Flow.unpack_remote(rest[2:], address, port)


def _keys(keys: list[tuple[str, ...]]) -> bytes:
    """A transaction's key has octets of strangers, which need not be UTF-8."""
    texts = [[part.encode("utf-8", "surrogateescape").decode("latin-1") for part in key] for key in keys]
    return json.dumps(texts).encode()


def _read_keys(data: bytes) -> list[tuple[str, ...]]:
    return [
        tuple(part.encode("latin-1").decode("utf-8", "surrogateescape") for part in key) for key in json.loads(data)
    ]
