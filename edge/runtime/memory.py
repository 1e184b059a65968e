"""How the C library hands out memory, where that makes a difference."""

from __future__ import annotations

import ctypes
import gc

_M_MMAP_THRESHOLD = -3  # malloc.h
_LARGE = 128 * 1024  # octets: glibc's own value, to begin with


def take_large_buffers_from_the_system() -> None:
    """The loop gives each TLS connection a buffer of 256 KB, of which few pages are ever used. glibc would have the
    system map such a one by itself only until the first of them is freed; from then on they come out of its heap, where
    their pages are shared with everything else, and a connection that is idle takes twice as much (``scripts/bench
    handshakes``). Other C libraries are left as they are."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)


def collect_seldom() -> None:
    """Garbage in circles is what ends calls leave, some kilobytes each; looking for it every 700 objects, as Python
    does, took a tenth of the time."""
    gc.freeze()
    gc.set_threshold(20_000, 20)
