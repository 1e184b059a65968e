"""What is right for each message of RFC 4475, RFC 5118, and some more: its answers, and why.

The messages are the RFCs' own, but that the second one of dblreq has the length that its body has, and mpart01 another
binary part. They come from somebody who hasn't shown who he is, to an edge that serves example.com. So what is valid is answered as
such a request is (401 or 407 to who claims to be an account, 403 to who doesn't, 404 or 481 where nothing is), and what
isn't, before that. What a phone with an account gets of the valid ones is in test_torture.py.
"""

from __future__ import annotations

from typing import NamedTuple

MALFORMED = "malformed"
"""Dropped, and counted as that: responses, and an ACK, are never answered."""
RELAYED = "relayed"
"""A response to a request of some other process, which may be there or not."""


class Case(NamedTuple):
    """``answers`` over UDP and streams; ``stream``: over streams, where that is something else; ``closes``: the stream
    can't be read on."""

    name: str
    answers: list[int] | str
    why: str
    stream: list[int] | str | None = None
    closes: bool = False


CASES = [
    # RFC 4475 §3.1.1: valid
    Case("rfc4475/wsinv", [481], "all of it is well-formed; To has a tag, of a dialog that nobody knows"),
    Case("rfc4475/intmeth", [407], "the method, NUL in quotes and a URI with a password are well-formed"),
    Case("rfc4475/esc01", [403], "escapes stay as they are; the caller is of another domain"),
    Case("rfc4475/escnull", [401], "an escaped NUL is a character as any other"),
    Case("rfc4475/esc02", [501], "there are no escapes in methods and names: no REGISTER, no Contact"),
    Case("rfc4475/lwsdisp", [407], "no space needs to stand before <"),
    Case("rfc4475/longreq", [407], "long, and well-formed"),
    Case("rfc4475/dblreq", [401], "what follows in a datagram is none of ours; on a stream it is", [401, 407]),
    Case("rfc4475/semiuri", [407], "a user part with a semicolon"),
    Case("rfc4475/transports", [407], "others' transports are theirs"),
    Case("rfc4475/mpart01", [403], "a body of any octets, and a Route to somebody else"),
    Case("rfc4475/unreason", RELAYED, "a reason phrase of any characters"),
    Case("rfc4475/noreason", RELAYED, "an empty reason phrase"),
    # §3.1.2: invalid
    Case("rfc4475/badinv01", [400], "empty values in Via"),
    Case("rfc4475/clerr", [400], "the datagram ends before the body; on a stream the rest may come", []),
    Case("rfc4475/ncl", [400], "a negative Content-Length", closes=True),
    Case("rfc4475/scalar02", [400], "a CSeq number of more than 31 bits"),
    Case("rfc4475/scalarlg", MALFORMED, "the same in a response"),
    Case("rfc4475/quotbal", [400], "To has an open quote"),
    Case("rfc4475/ltgtruri", [400], "a Request-URI has no brackets"),
    Case("rfc4475/lwsruri", [400], "a Request-URI has no white space"),
    Case("rfc4475/lwsstart", [400], "one space, not two: others might read an empty URI"),
    Case("rfc4475/trws", [400], "spaces at the end of the request line"),
    Case("rfc4475/escruri", [400], "a Request-URI has no header fields"),
    Case("rfc4475/baddate", [407], "nobody here reads Date"),
    Case("rfc4475/regbadct", [401], "who asks comes first; the Contact is 400 then"),
    Case("rfc4475/badaspec", [407], "white space around a URI in brackets has one meaning"),
    Case("rfc4475/baddn", [407], "so has a comma in the display name of a field that has one value"),
    Case("rfc4475/badvers", [505], "another version, in Via, too"),
    Case("rfc4475/mismatch01", [400], "CSeq has another method"),
    Case("rfc4475/mismatch02", [400], "the same with a method that nobody knows"),
    Case("rfc4475/bigcode", MALFORMED, "a status has three digits"),
    # §3.2 to §3.4
    Case("rfc4475/badbranch", [407], "a branch of nothing but the cookie is matched as RFC 2543's are"),
    Case("rfc4475/insuf", [400], "no Call-ID, From and To"),
    Case("rfc4475/unkscm", [416], "a scheme that nobody knows"),
    Case("rfc4475/novelsc", [416], "a scheme that isn't SIP's"),
    Case("rfc4475/unksm2", [400], "an address-of-record is a SIP URI (RFC 3261 §10.2)"),
    Case("rfc4475/bext01", [420], "Proxy-Require names what isn't known here"),
    Case("rfc4475/invut", [407], "a body's type is for the other phone to refuse"),
    Case("rfc4475/regaut01", [401], "credentials of a scheme that nobody knows count as none"),
    Case("rfc4475/multi01", [400], "several From, To, Call-ID, CSeq, Max-Forwards"),
    Case("rfc4475/mcl01", [400], "two lengths", closes=True),
    Case("rfc4475/bcast", RELAYED, "it goes by its top Via; nothing is sent to what the second one says"),
    Case("rfc4475/zeromf", [483], "no hop more"),
    Case("rfc4475/cparam01", [401], "a parameter of the Contact"),
    Case("rfc4475/cparam02", [401], "a parameter of the URI"),
    Case("rfc4475/regescrt", [401], "header fields in a Contact's URI"),
    Case("rfc4475/sdp01", [407], "what may be accepted is for the other phone"),
    Case("rfc4475/inv2543", [407], "no tag, no branch, no length: as in RFC 2543; streams need a length", [400], True),
    # RFC 5118
    Case("rfc5118/ipv6-good", [404], "well-formed; not a domain of ours"),
    Case("rfc5118/ipv6-bad", [400], "an IPv6 address stands in brackets"),
    Case("rfc5118/port-ambiguous", [404], "all in brackets is the address"),
    Case("rfc5118/port-unambiguous", [404], "a port after the brackets"),
    Case("rfc5118/via-received-param-with-delim", [481], "received in brackets"),
    Case("rfc5118/via-received-param-no-delim", [407], "received without"),
    Case("rfc5118/ipv6-in-sdp", [407], "bodies aren't read; who asks comes first"),
    Case("rfc5118/mult-ip-in-header", [481], "addresses of both kinds in Via"),
    Case("rfc5118/mult-ip-in-sdp", [407], "and in a body"),
    Case("rfc5118/ipv4-mapped-ipv6", [407], "mapped addresses are as written"),
    Case("rfc5118/ipv6-bug-abnf-3-colons", [407], "a wrong rule of RFC 3261's that has to be borne"),
    Case("rfc5118/ipv6-correct-abnf-2-colons", [407], "the right one"),
    # What awkward phones, and people, send besides
    Case("more/bare-cr", [400], "a CR that some take for a line's end", closes=True),
    Case("more/bare-lf", [400], "so with an LF", closes=True),
    Case("more/only-lf", [400], "lines without CR, and so without an end", []),
    Case("more/no-colon", [400], "a line that is no header field"),
    Case("more/no-blank-line", [400], "it isn't whole; on a stream the rest may come", []),
    Case("more/nul", [400], "a NUL outside quotes"),
    Case("more/nul-after-quote", [400], "a backslash outside quotes escapes nothing"),
    Case("more/quoted-nul", [200], "a NUL in quotes, after a backslash"),
    Case("more/double-backslash-nul", [400], "that backslash is itself escaped"),
    Case("more/small-version", [200], "the version in small letters (RFC 3261 §7.1)"),
    Case("more/version-3", [505], "another version"),
    Case("more/no-version", [400], "RFC 2543 had none such either"),
    Case("more/tab-in-start-line", [400], "white space that isn't a space"),
    Case("more/uri-with-tab", [400], "and in the URI"),
    Case("more/bad-method", [400], "a method is a token"),
    Case("more/no-method", [400], "nothing before the space"),
    Case("more/zeros", [200], "zeros before numbers mean nothing"),
    Case("more/many-zeros", [200], "however many"),
    Case("more/final-dot", [200], "a name may be written to its end"),
    Case("more/latin-1", [200], "octets that are no UTF-8, in what isn't read"),
    Case("more/utf-8", [407], "and UTF-8"),
    Case("more/tag-with-space", [481], "a tag among white space"),
    Case("more/tag-in-quotes", [407], "something like a tag in another parameter's quotes"),
    Case("more/scheme", [416], "a scheme may have + - and dots"),
    Case("more/scheme-of-digits", [400], "but begins with a letter"),
    Case("more/malformed-response", MALFORMED, "responses aren't answered"),
    Case("more/hidden-response", MALFORMED, "nor what might be one"),
    Case("more/small-response", RELAYED, "a response's version in small letters"),
    Case("more/malformed-ack", MALFORMED, "nor is an ACK"),
    Case("more/folded-blank", [200], "lines that are nothing but folded white space"),
    Case("more/comma-in-via", [200], "two Vias in one field, with commas and semicolons in quotes"),
    Case("more/unknown-method", [501], "nobody here knows it"),
    Case("more/known-method", [405], "known, but nothing for an edge"),
    Case("more/no-hops", [200], "it isn't forwarded"),
    Case("more/required", [420], "Require, for the edge itself"),
]
