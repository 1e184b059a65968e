"""The two Record-Route URIs of a dialog that a request may make (RFC 3261 §16.6 step 4, RFC 5658), and how they are
bound to it.

Theory of operation. The called side's copy is made before it has a tag: it is bound to the caller's. The caller's copy
goes back in the responses, where both tags are known, and is made anew for them (§16.7 step 8). So what one has seen of
a dialog is of use in that dialog only. The called phone hands it back as it spells it, which needn't be as we do."""

from __future__ import annotations

from typing import Protocol

from edge.proxy.forwarding.record_route import record_route
from edge.proxy.stack.flow_token import CallReference
from edge.proxy.stack.stack import Stack
from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.headers import NameAddr, tag_of, value_of, values_of
from edge.sip.incoming import Incoming
from edge.sip.message import Header, Response
from edge.sip.uri import Uri


class CallOf(Protocol):
    """A branch of a call."""

    @property
    def caller(self) -> str: ...

    def references(self) -> tuple[CallReference, CallReference]: ...


class DialogTokens:
    """Of one branch: ``flow`` leads to ``binding`` of the called side."""

    def __init__(
        self, stack: Stack, incoming: Incoming, flow: Flow, binding: str, call: CallOf, withheld: bool
    ) -> None:
        """``withheld``: the called one isn't to see who calls."""
        caller = stack.bindings.on_flow(incoming.flow, call.caller)
        there, back = call.references()
        if stack.fleet.reads_tags:
            subscription = incoming.request.method != "INVITE"
            there = there._replace(to_caller=False, subscription=subscription, withheld=withheld)
            back = back._replace(to_caller=True, subscription=subscription)
        self._fleet = stack.fleet
        self._call_id = incoming.call_id
        self._secure = incoming.secure
        self._ends = ((flow, binding, there), (incoming.flow, caller, back))
        self._tags = (incoming.from_tag,) if stack.fleet.reads_tags else ()
        self._sealed = self._seal(self._tags)
        self._bound: dict[str, list[str]] = {}

    def _seal(self, tags: tuple[str, ...]) -> list[str]:
        return [self._fleet.tokens.seal(flow, binding, self._call_id, call, tags) for flow, binding, call in self._ends]

    def routes(self) -> list[Header]:
        """For the called side."""
        ends = zip(self._ends, self._sealed, strict=True)
        return [record_route(flow, token, self._fleet, self._secure) for (flow, _, _), token in ends]

    def bind(self, answer: Response) -> None:
        """Put the caller's copies into a response that has a To tag."""
        tag = tag_of(answer.get("to") or "")
        if not (self._tags and tag):
            return
        tokens = self._bound.get(tag)
        if tokens is None:
            tokens = self._bound[tag] = self._seal((*self._tags, tag))
        for index, (key, line) in enumerate(answer.headers):
            if key == "record-route":
                line = self._spelled_our_way(line)
                for known, bound in zip(self._sealed, tokens, strict=True):
                    line = line.replace(known, bound)
                answer.headers[index] = (key, line)

    def _spelled_our_way(self, line: str) -> str:
        """``line`` with our own tokens in it unescaped; others' URIs stay as they are."""
        if "%" not in line:
            return line
        for value in values_of(value_of(line)):
            try:
                uri = NameAddr.parse(value).uri
                user = Uri.parse(uri).user
            except ParseError:
                continue
            if user in self._sealed:
                line = line.replace(uri.partition(":")[2].partition("@")[0], user)
        return line
