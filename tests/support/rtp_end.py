"""An end of RTP that counts: it sends 50 packets a second and says which of the other side's have come, and when.

With keys it speaks SRTP (RFC 3711, AES_CM_128_HMAC_SHA1_80), as RFC 4568 agrees on them."""

from __future__ import annotations

import base64
import hmac
import os
import select
import socket
import struct
import threading
import time
from typing import Self

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

INTERVAL = 0.02  # seconds between packets
_SILENCE = b"\xff" * 160  # 20 ms of G.711 μ-law
_TAG = 10  # octets of the authentication tag
_HEADER = 12


def _keystream(key: bytes, iv: bytes, octets: int) -> bytes:
    cipher = Cipher(AES(key), CTR(iv)).encryptor()
    return cipher.update(bytes(octets)) + cipher.finalize()


class SrtpContext:
    """The keys of one direction; ``keys`` are the 30 octets that an ``a=crypto`` line carries in base64."""

    def __init__(self, keys: bytes) -> None:
        self.master, self.salt = keys[:16], keys[16:]
        self._cipher = self._derive(0, 16)
        self._authentication = self._derive(1, 20)
        self._session_salt = self._derive(2, 14)

    def _derive(self, label: int, octets: int) -> bytes:
        """RFC 3711 §4.3.1, with a key derivation rate of 0."""
        salt = int.from_bytes(self.salt) ^ (label << 48)
        return _keystream(self.master, salt.to_bytes(14) + b"\0\0", octets)

    def _crypt(self, packet: bytes, index: int) -> bytes:
        ssrc = int.from_bytes(packet[8:12])
        iv = (int.from_bytes(self._session_salt) << 16) ^ (ssrc << 64) ^ (index << 16)
        stream = _keystream(self._cipher, iv.to_bytes(16), len(packet) - _HEADER)
        return packet[:_HEADER] + bytes(a ^ b for a, b in zip(packet[_HEADER:], stream, strict=True))

    def _tag(self, packet: bytes, index: int) -> bytes:
        return hmac.digest(self._authentication, packet + (index >> 16).to_bytes(4), "sha1")[:_TAG]

    def protect(self, packet: bytes, index: int) -> bytes:
        """``index``: roll-over counter and sequence number, 48 bits."""
        sealed = self._crypt(packet, index)
        return sealed + self._tag(sealed, index)

    def open(self, data: bytes, roll_over: int) -> bytes | None:
        """The packet; None if it isn't authentic with this roll-over counter."""
        sealed, tag = data[:-_TAG], data[-_TAG:]
        index = (roll_over << 16) | int.from_bytes(data[2:4])
        if not hmac.compare_digest(tag, self._tag(sealed, index)):
            return None
        return self._crypt(sealed, index)


class RtpEnd:
    """One socket. ``index`` is the next packet's roll-over counter and sequence number."""

    def __init__(self, host: str, port: int = 0, keys: bytes = b"", index: int = 1) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, port))
        self.keys = keys
        self.index = index
        self.ssrc = int.from_bytes(os.urandom(4))
        self.to: tuple[str, int] = ("", 0)
        self.sent = 0
        self.came: list[float] = []
        self.unreadable = 0
        self._ours = SrtpContext(keys) if keys else None
        self._theirs: SrtpContext | None = None
        self._highest: int | None = None
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)]

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def sdp(self, extra: str = "") -> str:
        """A description of this end."""
        host = self._socket.getsockname()[0]
        profile, crypto = "RTP/AVP", ""
        if self.keys:
            profile = "RTP/SAVP"
            crypto = f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{base64.b64encode(self.keys).decode()}\r\n"
        return (
            f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
            f"m=audio {self.port} {profile} 0\r\n{crypto}{extra}a=sendrecv\r\n"
        )

    def learn(self, sdp: str) -> None:
        """Send to where the other side's description says, with the keys in it."""
        host, port = "", 0
        for line in sdp.splitlines():
            if line.startswith("c="):
                host = line.split()[2]
            elif line.startswith("m="):
                port = int(line.split()[1])
            elif line.startswith("a=crypto:") and "AES_CM_128_HMAC_SHA1_80" in line and self._theirs is None:
                self._theirs = SrtpContext(base64.b64decode(line.partition("inline:")[2].split("|")[0].split()[0]))
        self.to = (host, port)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(2)
        self._socket.close()

    def send_one(self) -> None:
        """The next packet."""
        header = struct.pack("!BBHII", 0x80, 0, self.index & 0xFFFF, self.index * 160 & 0xFFFFFFFF, self.ssrc)
        packet = header + _SILENCE
        data = self._ours.protect(packet, self.index) if self._ours is not None else packet
        self.index += 1
        try:
            self._socket.sendto(data, self.to)
        except OSError:
            return  # an ICMP error of a port that is closed for a moment
        self.sent += 1

    def _send(self) -> None:
        due = time.monotonic()
        while not self._ending.is_set():
            if self.to[1]:
                self.send_one()
            due = max(due + INTERVAL, time.monotonic() - 1)
            self._ending.wait(max(0.0, due - time.monotonic()))

    def _receive(self) -> None:
        while not self._ending.is_set():
            if select.select([self._socket], [], [], 0.1)[0]:
                try:
                    data = self._socket.recv(2048)
                except OSError:
                    continue
                if self._readable(data):
                    self.came.append(time.monotonic())
                else:
                    self.unreadable += 1

    def _readable(self, data: bytes) -> bool:
        if self._theirs is None:
            return len(data) > _HEADER
        return self._theirs.open(data, self._roll_over(int.from_bytes(data[2:4]))) is not None

    def _roll_over(self, sequence: int) -> int:
        """RFC 3711 §3.3.1: as an end does that has heard all packets before."""
        if self._highest is None:
            self._highest = sequence
        highest, low = divmod(self._highest, 0x10000)[0], self._highest & 0xFFFF
        if low < 0x8000:
            guess = highest - 1 if sequence - low > 0x8000 and highest else highest
        else:
            guess = highest + 1 if low - 0x8000 > sequence else highest
        self._highest = max(self._highest, (guess << 16) | sequence)
        return guess

    def hears(self, seconds: float = 2.0, packets: int = 10) -> float:
        """Wait until ``packets`` more have come; the seconds to the first of them. Raises AssertionError."""
        before, begun = len(self.came), time.monotonic()
        while len(self.came) < before + packets:
            assert time.monotonic() < begun + seconds, (
                f"{len(self.came) - before} packets within {seconds} s, {self.unreadable} unreadable"
            )
            time.sleep(0.005)
        return self.came[before] - begun
