"""What comes to a host by RTP (PCMA), heard at its cable: whatever the phone does with it, at the time when it came."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from array import array
from typing import Self

from scripts.fleet_parts import Host
from scripts.processes import in_namespace

_ALL = 0x0003  # ETH_P_ALL
_PCMA = 8


def _linear(octet: int) -> int:
    """A sample of A-law (G.711) in 16 bits."""
    octet ^= 0x55
    exponent, mantissa = octet >> 4 & 7, octet & 15
    value = (mantissa << 4) + (0x108 if exponent else 8) << max(0, exponent - 1)
    return value if octet & 0x80 else -value


_LINEAR = [_linear(octet) for octet in range(256)]


def rtp_payload(frame: bytes) -> bytes:
    """PCMA in an Ethernet frame, b"" for anything else."""
    kind = frame[12:14]
    if kind == b"\x08\x00":
        start, protocol = 14 + (frame[14] & 15) * 4, frame[23]
    elif kind == b"\x86\xdd":
        start, protocol = 54, frame[20]
    else:
        return b""
    rtp = frame[start + 8 : start + struct.unpack_from("!H", frame, start + 4)[0]] if len(frame) > start + 8 else b""
    if protocol != socket.IPPROTO_UDP or len(rtp) < 12 or rtp[0] >> 6 != 2 or rtp[1] & 127 != _PCMA:
        return b""
    return rtp[12 + 4 * (rtp[0] & 15) :]


class WireEar:
    """Listens from when it is made until ``close``."""

    def __init__(self, host: Host, device: str = "eth0") -> None:
        self._sound = array("h")
        self._lock = threading.Lock()
        self._socket = in_namespace(host.namespace, lambda: _bound(device))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._closing = True
        self._thread.join()
        self._socket.close()

    _closing = False

    def new_sound(self) -> array[int]:
        with self._lock:
            sound, self._sound = self._sound, array("h")
        return sound

    def _run(self) -> None:
        while not self._closing:
            with contextlib.suppress(TimeoutError):
                frame, (_, _, way, _, _) = self._socket.recvfrom(2048)
                payload = rtp_payload(frame) if way != socket.PACKET_OUTGOING else b""
                with self._lock:
                    self._sound.extend(_LINEAR[octet] for octet in payload)


def _bound(device: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
    made.bind((device, 0))
    made.settimeout(0.2)
    return made
