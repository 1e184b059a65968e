"""A NAT in user space, of the kind that RFC 4787 §4.3 (REQ-6) allows: only packets from inside keep a mapping open, and
only the address that was sent to gets in."""

from __future__ import annotations

import select
import socket
import threading
import time


class UserSpaceNat:
    """One phone inside (it sends to ``inside``), one edge outside. ``timeout`` in seconds since the last packet out."""

    def __init__(self, address: str, edge: tuple[str, int], timeout: float) -> None:
        self._edge = edge
        self._timeout = timeout
        self._inner = self._bound(address)
        self._outer = self._bound(address)
        self.inside: tuple[str, int] = self._inner.getsockname()
        self.dropped = 0
        self._phone: tuple[str, int] | None = None
        self._open_until = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @staticmethod
    def _bound(address: str) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((address, 0))
        return made

    def __enter__(self) -> UserSpaceNat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._inner.close()
        self._outer.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            for ready in select.select([self._inner, self._outer], [], [], 0.05)[0]:
                data, source = ready.recvfrom(65536)
                if ready is self._inner:
                    self._phone = source
                    self._open_until = time.monotonic() + self._timeout
                    self._outer.sendto(data, self._edge)
                elif source == self._edge and self._phone and time.monotonic() < self._open_until:
                    self._inner.sendto(data, self._phone)
                else:
                    self.dropped += 1
