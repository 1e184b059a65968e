"""Several sockets on one port, a process's each, and the kernel's choice among them (socket(7), SO_REUSEPORT).

By itself the kernel goes by a hash of both ends, in which a response is another flow than the request, and which gives
everybody else another socket as soon as one is closed. So the sockets get a program that computes what
``edge.sip.partition`` does, and are kept open by the process that has opened them, whoever reads them: while a process
is started anew what comes for it waits in its socket.
"""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Sequence

from edge.sip.partition import CUSTOMER, MULTIPLIER, SHIFT

_SO_ATTACH_REUSEPORT_CBPF = 51  # socket(7)
_NETWORK = 0xFFF00000  # SKF_NET_OFF: offsets from here on are into the IP header
_SOURCE, _SOURCE6 = _NETWORK + 12, _NETWORK + 8
# Of linux/bpf_common.h: class, size or operation, and mode or source
_LOAD, _TO_X, _AND, _ADD_X, _MULTIPLY, _SHIFT, _MODULO, _RETURN = 0x20, 0x07, 0x54, 0x0C, 0x24, 0x74, 0x94, 0x16

Step = tuple[int, int]
"""An instruction and its operand."""


class _Instruction(ctypes.Structure):
    """``struct sock_filter`` of linux/filter.h."""

    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


def attach(sock: socket.socket, option: int, steps: Sequence[Step]) -> None:
    """Give ``sock`` a classic BPF program; ``option`` says what it is for. Raises OSError."""
    instructions = (_Instruction * len(steps))(*[_Instruction(code, 0, 0, operand) for code, operand in steps])
    program = _Program(len(steps), ctypes.cast(instructions, ctypes.POINTER(_Instruction)))
    sock.setsockopt(socket.SOL_SOCKET, option, bytes(program))


def steer(sock: socket.socket, count: int) -> None:
    """Have the kernel choose by source in the group of ``sock``, ``count`` sockets in the order of their processes. IP
    options don't matter, since the source stands before them. Raises OSError."""
    if sock.family == socket.AF_INET6:
        word = [
            (_LOAD, _SOURCE6), (_MULTIPLY, MULTIPLIER), (_TO_X, 0),
            (_LOAD, _SOURCE6 + 4), (_AND, CUSTOMER), (_ADD_X, 0),
        ]  # fmt: skip
    else:
        word = [(_LOAD, _SOURCE)]
    choice = [(_MULTIPLY, MULTIPLIER), (_SHIFT, SHIFT), (_MODULO, count), (_RETURN, 0)]
    attach(sock, _SO_ATTACH_REUSEPORT_CBPF, [*word, *choice])
