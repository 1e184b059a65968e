"""rtpengine's ng protocol in JSON, without I/O: what it is asked, and what it answers. Seen with version 10.5.3.5.

A datagram is ``cookie SPACE object``; the answer has the same cookie. A cookie seen before gets the answer of then, so
a command may be sent again. Octets of a description stand for the characters of the same numbers (Latin-1).
"""

from __future__ import annotations

import json
from typing import Any, Final

from edge.media.destinations import is_ipv6, is_reachable, unreachable
from edge.media.orders import DESCRIPTION, ENGINE, FULL, UNKNOWN, MediaOrder, MediaReply, Needs

Command = dict[str, object]
Answer = dict[str, Any]

PING: Final[Command] = {"command": "ping"}
STATISTICS: Final[Command] = {"command": "statistics"}
LIST: Final[Command] = {"command": "list", "limit": 1_000_000}

IMMEDIATE: Final = "immediate"
DELAYED: Final = "delayed"
NOTHING: Final = ""
_REPLACED = ["origin", "session-connection", "zero-address"]
_FLAGS = ["strict-source", "port-latching"]
"""``strict-source``: who has been heard once is heard alone. ``port-latching``: a side that names another address
leaves the other side's ports as they are; otherwise each such description takes new ones, and keeps the old ones."""
_WEAK = ["F8_128_HMAC_SHA1_80", "F8_128_HMAC_SHA1_32", "NULL_HMAC_SHA1_80", "NULL_HMAC_SHA1_32"]
_NOT_OFFERED = [f"no-{suite}" for suite in (*_WEAK, "AES_192_CM_HMAC_SHA1_80", "AES_192_CM_HMAC_SHA1_32")]
"""The engine would offer suites that don't encrypt, or that nobody has; what is left fits into a packet."""
_FAULTS = {
    "Ran out of ports": FULL,
    "Unknown call-id": UNKNOWN,
    "Failed to parse SDP": DESCRIPTION,
    "Incomplete SDP specification": DESCRIPTION,
}


def write(cookie: str, command: Command) -> bytes:
    return f"{cookie} {json.dumps(command, separators=(',', ':'))}".encode()


def read(data: bytes) -> tuple[str, Answer]:
    """The cookie and what is answered. Raises ValueError."""
    cookie, _, text = data.partition(b" ")
    answer = json.loads(text)
    if not isinstance(answer, dict):
        raise ValueError("not an object")
    return cookie.decode("ascii"), answer


def describe(
    call: str, role: str, offerer: str, answerer: str, order: MediaOrder, needs: Needs, learning: str, label: str
) -> Command:
    """Have the engine write ``order.body`` anew for the other side, as that ``needs`` it. ``call``, ``offerer`` and
    ``answerer`` are the engine's names of the session and its sides; ``label`` is kept with the describing side, and
    told in ``query``.

    ``learning``: where media come from, the engine learns from the first packet after a description (IMMEDIATE): it
    may be behind a NAT. From a side that may name another address than before it learns for 3 s (DELAYED): if it goes
    on sending from where it was, IMMEDIATE would hear it no more. NOTHING: what was learnt before stays.
    """
    flags = [*_FLAGS, "trust-address"]
    command: Command = {
        "command": role,
        "call-id": call,
        "from-tag": offerer,
        "to-tag": answerer,
        "sdp": order.body.decode("latin-1"),
        "replace": _REPLACED,
        "flags": flags,
        "endpoint-learning": learning or DELAYED,
        "SDES": ["off"] if needs.sdes == "off" else _NOT_OFFERED,
        "label": label,
    }
    if _is_behind_nat(order):
        flags[-1] = "SIP-source-address"
        command["received-from"] = ["IP6" if is_ipv6(order.source) else "IP4", order.source]
    if not learning:
        flags.append("asymmetric")  # "endpoint-learning": "off" has it learn all the same
    if needs.profile:
        command["transport-protocol"] = needs.profile
    if needs.ice:
        command["ICE"] = needs.ice
    if needs.family:
        command["address-family"] = needs.family
    if needs.dtls:
        command["DTLS"] = needs.dtls
    if needs.rtcp_mux:
        command["rtcp-mux"] = [needs.rtcp_mux]
    return command


def _is_behind_nat(order: MediaOrder) -> bool:
    """Whether the description came over the Internet, and has an address that doesn't lead there: media go to where it
    came from until the engine has heard the side, and never to a machine of this network with such an address."""
    return bool(order.source) and is_reachable(order.source) and bool(unreachable(order.body))


def query(call: str) -> Command:
    return {"command": "query", "call-id": call}


def delete(call: str, told_of: str = "") -> Command:
    """``told_of`` is the name of one of its sides: the answer is as that to ``query`` then."""
    command: Command = {"command": "delete", "call-id": call, "delete-delay": 0}
    return {**command, "from-tag": told_of} if told_of else command


def reply(answer: Answer) -> MediaReply:
    """What ``describe`` came to."""
    body = answer.get("sdp")
    if answer.get("result") == "ok" and isinstance(body, str):
        return MediaReply(body.encode("latin-1", "replace"))
    if answer.get("result") == "load limit":
        return MediaReply(None, FULL)
    return MediaReply(None, _FAULTS.get(str(answer.get("error-reason", "")), ENGINE))
