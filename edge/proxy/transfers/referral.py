"""What a REFER asks for (RFC 3515 §2.1), and whether it wants to hear of it."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote

from edge.proxy.stack.fleet import Fleet
from edge.proxy.stack.gruu import Gruu, gruu_of
from edge.proxy.stack.validation import check_text
from edge.sip.errors import ParseError
from edge.sip.headers import NameAddr
from edge.sip.incoming import Fault, Incoming
from edge.sip.telephone import name_of
from edge.sip.uri import Uri, escaped


class Referral(NamedTuple):
    """``uri`` is whom to call (by TLS all the way if it is sips:), ``called`` their AOR, ``contact`` the URI again
    if that is at no domain of ours and so perhaps a phone's own, else ""; ``replaces`` is a value of Replaces
    (RFC 3891), "" for a call of its own; ``subscribes``: the sender is to be told what becomes of it (RFC 4488); ``by``
    is a value of Referred-By (RFC 3892), "" if it gave none; ``gruu`` is what ``uri`` was, if that was one of ours."""

    uri: str
    called: str
    contact: str
    replaces: str
    subscribes: bool
    by: str
    gruu: Gruu | None = None

    @property
    def secure(self) -> bool:
        """Whether the call is to go by TLS all the way."""
        return self.uri.startswith("sips:")

    @classmethod
    def of(cls, incoming: Incoming, fleet: Fleet) -> Referral:
        """Raises Fault."""
        request = incoming.request
        try:
            values = request.split_values("refer-to")
            text = NameAddr.parse(values[0]).uri if len(values) == 1 else ""
            uri = Uri.parse(text)
        except ParseError as error:
            raise Fault(400, f"Bad Request: {error}") from error
        if uri.scheme not in ("sip", "sips", "tel") or not uri.user:
            raise Fault(400, "Bad Request: one Refer-To is needed, with somebody who can be called")
        if (uri.param("method") or "INVITE").upper() != "INVITE":
            raise Fault(403, "Forbidden: only calls can be transferred")
        check_text(incoming, uri)
        gruu = gruu_of(uri, text.partition("?")[0], fleet)
        name = name_of(uri) if gruu is None else gruu.aor.rpartition("@")[0]
        host = (fleet.canonical(uri.host) or uri.host) if uri.host else fleet.default_domain
        port = f":{uri.port}" if uri.port and host == uri.host else ""
        return cls(
            uri=f"{'sips' if uri.scheme == 'sips' else 'sip'}:{escaped(name)}@{host}{port}",
            called=f"{name}@{host}",
            contact="" if not uri.host or fleet.canonical(uri.host) is not None else text.partition("?")[0],
            replaces=_replaces(uri),
            subscribes=(request.get("refer-sub") or "").partition(";")[0].strip().lower() != "false",
            by=request.get("referred-by") or "",
            gruu=gruu,
        )


def _replaces(uri: Uri) -> str:
    """RFC 3891 §6.1: it stands escaped in the URI. Raises Fault."""
    for part in uri.headers.split("&"):
        name, _, value = part.partition("=")
        if name.lower() == "replaces":
            found = unquote(value)
            if not found.isprintable():
                raise Fault(400, "Bad Request: a Replaces that can't be one")
            return found
    return ""
