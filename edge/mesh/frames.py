"""What edges say to each other, without I/O: length-prefixed frames on one QUIC stream.

``length (4 octets) | kind (1 octet) | fields``, numbers in network order, texts with a 2-octet length.
An edge closes the link on a frame that it can't read, and ignores kinds that it doesn't know.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from edge.sip.flow import Flow

MAX_FRAME = 70_000  # octets: the largest SIP message and its flow
_HEAD = struct.Struct("!IB")
_EPOCH = struct.Struct("!Q")
_REFRESHED = struct.Struct("!QI")


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
    """Where is ``aor`` of ``tenant`` at your addresses? Asked while no control plane answers, and about who has
    subscribed. A URI is a Contact, of
    which edges of before have none."""

    ref: str
    aor: str
    tenant: str


@dataclass(frozen=True, slots=True)
class PhonesFound:
    """The answer to the FindPhones with this ``ref``; ``data`` is for the edge's own use."""

    ref: str
    data: bytes


@dataclass(frozen=True, slots=True)
class CountUse:
    """What do you know to be used of these accounts' and tenants' limits? Asked while no control plane answers."""

    ref: str
    scopes: list[str]


@dataclass(frozen=True, slots=True)
class UseCounted:
    """The answer to the CountUse with this ``ref``; ``data`` is for the edge's own use."""

    ref: str
    data: bytes


@dataclass(frozen=True, slots=True)
class CallOver:
    """An answered call has ended, as was seen here; one of you has begun it."""

    call: str


@dataclass(frozen=True, slots=True)
class SessionRefreshed:
    """A call of ``tenant`` that was ``started`` then, and whose caller is at ``address``, was refreshed here (RFC
    4028): it is good for ``seconds`` more; 0: nobody says for how long."""

    address: str
    tenant: str
    call: str
    started: int
    seconds: int


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """A connection here has ended, on which ``aors`` were registered, or on which somebody of you may have sent."""

    flow: Flow
    aors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EndOfStreams:
    """I end all connections of ``address``, which another edge is to take: their phones will be back in a moment."""

    address: str


@dataclass(frozen=True, slots=True)
class SummaryChanged:
    """What waits for ``aor`` of ``tenant`` (RFC 3842): tell its phones that have subscribed at your addresses."""

    aor: str
    tenant: str
    summary: str


@dataclass(frozen=True, slots=True)
class PhoneAwake:
    """A phone that may sleep has registered here, and one of you may wait for it; ``data`` is for the edge's own
    use."""

    data: bytes


@dataclass(frozen=True, slots=True)
class TrustCa:
    """Servers' certificates may be signed by ``ca`` (PEM), where a flow's server says so: of a SendOn that follows."""

    ca: str


@dataclass(frozen=True, slots=True)
class SessionCopied:
    """A media session ``name`` of ``address``, which I held in ``epoch``, packed; without ``data`` it is over. The name
    "": what follows is all, whatever was told before."""

    address: str
    epoch: int
    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class SessionsLeft:
    """I tell others of the media sessions of ``address`` from now on: what you have of them grows old."""

    address: str


@dataclass(frozen=True, slots=True)
class SessionsWanted:
    """``address`` has come to me: which media sessions of it do you know of?"""

    address: str


@dataclass(frozen=True, slots=True)
class SessionsTold:
    """The answer to a SessionsWanted, after as many SessionCopied: that is all, and of ``epoch``; 0: of none."""

    address: str
    epoch: int


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


@dataclass(frozen=True, slots=True)
class MediaAsked:
    """An order for the media engine of ``address``, which you hold; ``data`` is for the edge's own use. Without ``ref``
    nobody waits for the answer."""

    ref: str
    address: str
    data: bytes


@dataclass(frozen=True, slots=True)
class MediaAnswered:
    """What has become of the MediaAsked with this ``ref``; ``data`` is for the edge's own use."""

    ref: str
    data: bytes


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
    | CountUse
    | UseCounted
    | CallOver
    | StreamClosed
    | EndOfStreams
    | SummaryChanged
    | PhoneAwake
    | TrustCa
    | SessionCopied
    | SessionsLeft
    | SessionsWanted
    | SessionsTold
    | MediaAsked
    | MediaAnswered
    | SessionRefreshed
)


def encode(frame: Frame) -> bytes:
    """The frame as sent."""
    kind = _KINDS[type(frame)]
    fields = _CODECS[kind].write(frame)
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
    codec = _CODECS.get(kind)
    if codec is None:
        return None
    try:
        return codec.read(fields)
    except (struct.error, ValueError, TypeError, AttributeError, IndexError, OSError) as error:
        raise FrameError(f"a frame of kind {kind} that can't be read") from error


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


# How each kind is written and read


def _read_texts(data: bytes, count: int) -> list[str]:
    texts = []
    for _ in range(count):
        text, data = _read_text(data)
        texts.append(text)
    return texts


def _write_send_on(frame: SendOn) -> bytes:
    return _flow(frame.flow) + _EPOCH.pack(frame.epoch) + _text(frame.ref) + frame.data


def _read_send_on(data: bytes) -> SendOn:
    flow, rest = _read_flow(data)
    (epoch,) = _EPOCH.unpack_from(rest)
    ref, data = _read_text(rest[_EPOCH.size :])
    return SendOn(flow, epoch, ref, data)


def _read_announce(data: bytes) -> Announce:
    (epoch,) = _EPOCH.unpack_from(data)
    return Announce(_read_text(data[_EPOCH.size :])[0], epoch)


def _write_session(frame: SessionCopied) -> bytes:
    return _EPOCH.pack(frame.epoch) + _text(frame.address) + _text(frame.name) + frame.data


def _read_session(data: bytes) -> SessionCopied:
    (epoch,) = _EPOCH.unpack_from(data)
    address, rest = _read_text(data[_EPOCH.size :])
    name, saved = _read_text(rest)
    return SessionCopied(address, epoch, name, saved)


def _read_told(data: bytes) -> SessionsTold:
    (epoch,) = _EPOCH.unpack_from(data)
    return SessionsTold(_read_text(data[_EPOCH.size :])[0], epoch)


def _read_offer(data: bytes) -> Offer:
    (epoch,) = _EPOCH.unpack_from(data)
    address, consent = _read_texts(data[_EPOCH.size :], 2)
    return Offer(address, epoch, consent)


def _read_keys_frame(data: bytes) -> TransactionKeys:
    address, rest = _read_text(data)
    return TransactionKeys(address, _read_keys(rest))


def _read_count(data: bytes) -> CountUse:
    ref, rest = _read_text(data)
    return CountUse(ref, [str(scope) for scope in json.loads(rest)])


def _read_media(data: bytes) -> MediaAsked:
    ref, rest = _read_text(data)
    address, order = _read_text(rest)
    return MediaAsked(ref, address, order)


def _write_refreshed(frame: SessionRefreshed) -> bytes:
    return _REFRESHED.pack(frame.started, frame.seconds) + b"".join(
        map(_text, (frame.address, frame.tenant, frame.call))
    )


def _read_refreshed(data: bytes) -> SessionRefreshed:
    started, seconds = _REFRESHED.unpack_from(data)
    address, tenant, call = _read_texts(data[_REFRESHED.size :], 3)
    return SessionRefreshed(address, tenant, call, started, seconds)


def _read_closed(data: bytes) -> StreamClosed:
    flow, rest = _read_flow(data)
    return StreamClosed(flow, tuple(str(aor) for aor in json.loads(rest)))


class _Codec(NamedTuple):
    frame: type[Frame]
    write: Callable[[Any], bytes]
    read: Callable[[bytes], Frame]


_CODECS: dict[int, _Codec] = {
    1: _Codec(Hello, lambda f: _text(f.edge) + _text(f.boot), lambda data: Hello(*_read_texts(data, 2))),
    2: _Codec(Nonce, lambda f: f.nonce, Nonce),
    3: _Codec(LinkProof, lambda f: f.signature, LinkProof),
    4: _Codec(LinkWelcome, lambda f: b"", lambda data: LinkWelcome()),
    5: _Codec(SendOn, _write_send_on, _read_send_on),
    6: _Codec(NotSent, lambda f: f.ref.encode(), lambda data: NotSent(data.decode())),
    7: _Codec(ReceivedFor, lambda f: _flow(f.flow) + f.data, lambda data: ReceivedFor(*_read_flow(data))),
    8: _Codec(
        FindPhones,
        lambda f: _text(f.ref) + _text(f.aor) + _text(f.tenant),
        lambda data: FindPhones(*_read_texts(data, 3)),
    ),
    9: _Codec(PhonesFound, lambda f: _text(f.ref) + f.data, lambda data: PhonesFound(*_read_text(data))),
    10: _Codec(Announce, lambda f: _EPOCH.pack(f.epoch) + _text(f.address), _read_announce),
    11: _Codec(Offer, lambda f: _EPOCH.pack(f.epoch) + _text(f.address) + _text(f.consent), _read_offer),
    12: _Codec(Decline, lambda f: _text(f.address) + _text(f.why), lambda data: Decline(*_read_texts(data, 2))),
    13: _Codec(TransactionKeys, lambda f: _text(f.address) + _keys(f.keys), _read_keys_frame),
    14: _Codec(CountUse, lambda f: _text(f.ref) + json.dumps(f.scopes).encode(), _read_count),
    15: _Codec(UseCounted, lambda f: _text(f.ref) + f.data, lambda data: UseCounted(*_read_text(data))),
    16: _Codec(CallOver, lambda f: _text(f.call), lambda data: CallOver(*_read_texts(data, 1))),
    17: _Codec(StreamClosed, lambda f: _flow(f.flow) + json.dumps(f.aors).encode(), _read_closed),
    18: _Codec(EndOfStreams, lambda f: _text(f.address), lambda data: EndOfStreams(*_read_texts(data, 1))),
    19: _Codec(
        SummaryChanged,
        lambda f: _text(f.aor) + _text(f.tenant) + _text(f.summary),
        lambda data: SummaryChanged(*_read_texts(data, 3)),
    ),
    20: _Codec(PhoneAwake, lambda f: f.data, PhoneAwake),
    21: _Codec(TrustCa, lambda f: _text(f.ca), lambda data: TrustCa(*_read_texts(data, 1))),
    24: _Codec(SessionCopied, _write_session, _read_session),
    25: _Codec(SessionsWanted, lambda f: _text(f.address), lambda data: SessionsWanted(*_read_texts(data, 1))),
    26: _Codec(SessionsTold, lambda f: _EPOCH.pack(f.epoch) + _text(f.address), _read_told),
    27: _Codec(SessionsLeft, lambda f: _text(f.address), lambda data: SessionsLeft(*_read_texts(data, 1))),
    22: _Codec(MediaAsked, lambda f: _text(f.ref) + _text(f.address) + f.data, _read_media),
    23: _Codec(MediaAnswered, lambda f: _text(f.ref) + f.data, lambda data: MediaAnswered(*_read_text(data))),
    30: _Codec(SessionRefreshed, _write_refreshed, _read_refreshed),
}
"""A kind's number is never given to another."""
_KINDS = {codec.frame: kind for kind, codec in _CODECS.items()}
