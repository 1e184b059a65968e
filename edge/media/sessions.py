"""What an edge knows of the sessions of one edge address that it holds: who has said what, and whose they are.

Theory of operation. A *leg* is one call of the engine: a call, or one branch of a forked one. The branches of a fork
are legs of their own, so that each gives all its ports back when it loses, and none changes what the caller was told in
another's early dialog. A leg has two ends. To the engine an end has one name for good, whatever tags answer: where one
branch answers with several tags (a provider forks too), they take turns at one end, whose ports they were all told.

An order is turned into commands for the engine (``take``), and the engine's answers into what the core is told
(``took``); the orders of one key come one after the other. A description that says what the same end said last needs no
engine: it gets the same answer. That spares the answer that comes in a 183 and in the 200, and the refreshing of
sessions (RFC 4028); and each command has the engine learn both ends' sources anew, from whoever sends first.

The engine outlives this process, and sessions come with an address that is taken over, so all that can't be done
without is in the engine too: key and branch are the leg's name there, and whose it is its label (``found``).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from edge.media import ng
from edge.media.description import ice_names
from edge.media.destinations import (
    MEDIA_LINES,
    NOWHERE,
    held,
    hosts,
    is_ipv6,
    is_phone,
    is_reachable,
    media_lines,
    named_host,
    rests,
    shares_port,
    strict,
    unreachable,
)
from edge.media.formats import restored, told
from edge.media.ng import Answer, Command
from edge.media.orders import (
    ANSWER,
    DESCRIBE,
    DESCRIPTION,
    DROP,
    DROP_BRANCH,
    ENGINE,
    FULL,
    OFFER,
    RESTORE,
    UNKNOWN,
    MediaOrder,
    MediaReply,
    Needs,
    SideQuality,
)
from edge.media.quality import SessionQuality

LINE_PORTS: Final = 4
"""Two for RTP and RTCP at each end."""
TENANT_SHARE: Final = 0.6
"""Of an address's ports, those that one tenant's sessions may have."""
_OTHER: Final = "="
"""The engine's name of the end that isn't named by its first tag; no tag is like that (RFC 3261 §25.1)."""
_RELAY_LAST: Final = "force-relay"
_AS_BEFORE: Final = Needs()


class Said(NamedTuple):
    """A description, and what became of it."""

    role: str
    order: MediaOrder
    reply: MediaReply


@dataclass(slots=True)
class LegEnd:
    """One end of a leg. ``tags`` are those that it was known by, with what each said last; ``last`` is what was said
    last; ``calls`` are the tags whose dialogs are answered; ``described``: it has told the engine of itself, perhaps
    before this process was started; ``muxes`` is whether RTP and RTCP share a port there, and ``host`` the one that it
    has named, "" if that isn't known."""

    name: str
    tags: dict[str, Said | None] = field(default_factory=dict)
    last: Said | None = None
    calls: set[str] = field(default_factory=set)
    described: bool = False
    muxes: bool = False
    host: str = ""


@dataclass(slots=True)
class MediaLeg:
    """``call`` is the engine's name of it; ``ends`` begins with the one that described itself first; ``offered`` is the
    end whose offer waits for an answer, -1 if none does; ``unsaid`` is that offer if the engine wasn't told, since
    it is as the one before; ``agreed`` is what both ends had said when one answered last, if that is known.
    ``lines`` is the most lines of media that it had; ``joins``: the engine is the last candidate of two ends with
    ICE. ``tenant``, ``began`` and ``report`` name the call in reports, ``counts`` are those to whom it counts;
    ``since`` is when the leg began (Unix time). ``quality`` is what was heard of it, ``lost`` tells that nothing
    was any more, and that this has been said. ``found``: another process began it."""

    call: str
    key: str
    branch: str
    since: float
    ends: tuple[LegEnd, LegEnd]
    tenant: str = ""
    began: int = 0
    report: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    joins: bool = False
    lines: int = 1
    offered: int = -1
    quality: SessionQuality = field(default_factory=SessionQuality)
    lost: bool = False
    found: bool = False
    unsaid: MediaOrder | None = None
    agreed: tuple[Said, Said] | None = None

    def agree(self) -> None:
        """What both ends have said last counts from now on."""
        one, other = self.ends[0].last, self.ends[1].last
        self.agreed = (one, other) if one is not None and other is not None else None

    @property
    def ports(self) -> int:
        return LINE_PORTS * self.lines

    @property
    def label(self) -> str:
        """What the engine keeps of it."""
        return json.dumps([self.tenant, self.began, self.report, dict(self.counts)], separators=(",", ":"))


class EngineWork(NamedTuple):
    """``commands`` are for the engine, one after the other; ``reply`` is known already if there are none. ``leg`` is
    what they describe, ``end`` of it in ``role`` by ``order``; ``over`` is one that has ended, ``at`` that time: the
    engine's answer tells how it was."""

    commands: list[Command]
    reply: MediaReply | None = None
    leg: MediaLeg | None = None
    end: int = 0
    role: str = ""
    order: MediaOrder | None = None
    over: MediaLeg | None = None
    at: float = 0.0


_DONE: Final = MediaReply(None)


class Sessions:
    """Of one address, whose engine has ``capacity`` ports. ``near``: it is on loopback, where phones may be then."""

    def __init__(self, capacity: int, near: bool) -> None:
        self.capacity = capacity
        self._near = near
        self._legs: dict[str, dict[str, MediaLeg]] = {}
        self._counts: Counter[str] = Counter()
        self._ports: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many legs there are."""
        return sum(len(legs) for legs in self._legs.values())

    def __iter__(self) -> Iterator[MediaLeg]:
        return iter([leg for legs in self._legs.values() for leg in legs.values()])

    @property
    def ports(self) -> int:
        """How many ports they have."""
        return self._ports.total()

    # Orders

    def take(self, order: MediaOrder, now: float) -> EngineWork:
        """What the engine has to be told for ``order``, given at ``now`` (Unix time)."""
        if order.kind == DESCRIBE:
            return self._describe(order, now)
        if order.kind == RESTORE:
            return self._restore(order)
        if order.kind not in (DROP, DROP_BRANCH):
            return EngineWork([], _DONE)  # of a newer edge
        legs = list(self._legs.get(order.key, {}).values())
        if order.kind == DROP_BRANCH:
            gone = [leg for leg in legs if leg.branch == order.branch]
        elif order.by:
            one = self._leg(order)
            if one is None or not (_may_know(one, order.by) and _may_know(one, order.to)):
                return EngineWork([], _DONE)
            if (rest := self._without(one, order)) is not None:
                return rest
            gone = [one]
        else:
            gone = legs
        for leg in gone:
            self._forget(leg)
        if order.kind == DROP_BRANCH or not order.by:
            return EngineWork([ng.delete(leg.call) for leg in gone], _DONE)
        over = gone[0]
        return EngineWork([ng.delete(over.call, over.ends[0].name)], _DONE, over=over, at=now)

    def _describe(self, order: MediaOrder, now: float) -> EngineWork:
        body = strict(order.body, order.source)
        lines = media_lines(body or b"")
        if body is None or not 0 < lines <= MEDIA_LINES or not self._may_name(body, order.source):
            return EngineWork([], MediaReply(None, DESCRIPTION))
        order = order._replace(body=body)
        leg = self._leg(order)
        if leg is None:
            if order.role == ANSWER:
                return EngineWork([], MediaReply(None, UNKNOWN))
            if order.counts and not self._room(order, lines, order.counts):  # a call for help counts to nobody
                return EngineWork([], MediaReply(None, FULL))
            leg = self._begin(order, lines, now)
        elif lines > leg.lines:
            if not self._room(order, lines - leg.lines, {}):
                return EngineWork([], MediaReply(None, FULL))
            self._ports[leg.tenant] += LINE_PORTS * (lines - leg.lines)
            leg.lines = lines
        leg.report = order.leg or leg.report
        leg.joins = leg.joins or order.for_.ice == _RELAY_LAST
        end = _end_of(leg, order)
        if order.leg:
            leg.ends[end].calls.add(order.by)
        return _say(leg, end, order.role or (ANSWER if leg.offered == 1 - end else OFFER), order)

    def _restore(self, order: MediaOrder) -> EngineWork:
        """Have the engine hear what was agreed last. Before this process was started that isn't known, and what the
        other side has offered meanwhile counts for more."""
        leg = self._leg(order)
        if leg is None or leg.offered < 0 or order.by not in leg.ends[leg.offered].tags:
            return EngineWork([], _DONE)
        end, leg.offered = leg.offered, -1
        if leg.unsaid is not None or leg.agreed is None:
            leg.unsaid = None
            return EngineWork([], _DONE)
        for of, said in zip(leg.ends, leg.agreed, strict=True):
            of.last = of.tags[said.order.by] = said
            of.described = True
            of.muxes, of.host = shares_port(said.order.body), named_host(said.order.body) or of.host
        mine, other = leg.agreed[end], leg.agreed[1 - end]
        return EngineWork([_command(leg, end, OFFER, mine.order), _command(leg, 1 - end, ANSWER, other.order)], _DONE)

    def _may_name(self, body: bytes, source: str) -> bool:
        """Whether media may be sent where ``body`` says. Who comes from elsewhere by the one family names no private
        address of the other one."""
        if not all(is_phone(host, self._near) for host in hosts(body)):
            return False
        elsewhere = bool(source) and is_reachable(source)
        return not elsewhere or all(is_ipv6(host) == is_ipv6(source) for host in unreachable(body))

    def _without(self, leg: MediaLeg, order: MediaOrder) -> EngineWork | None:
        """One of several answered dialogs with one branch is over: what the one that stays has said counts. None if it
        was the last one; of early ones nothing more may be heard."""
        for end, of in enumerate(leg.ends):
            going = [tag for tag in (order.by, order.to) if tag in of.tags]
            if going and of.calls.difference(going):
                of.calls.difference_update(going)
                of.tags = {tag: said for tag, said in of.tags.items() if tag in of.calls}
                said = next(reversed(of.tags.values()))
                if said is None or said is of.last:
                    return EngineWork([], _DONE)
                of.last = said
                leg.agree()
                return EngineWork([_command(leg, end, said.role, said.order)], _DONE)
        return None

    def took(self, work: EngineWork, order: MediaOrder, answers: list[Answer]) -> MediaReply:
        """What has become of ``order``; ``answers`` are the engine's to ``work.commands``, fewer if one got none."""
        if work.over is not None and answers:
            work.over.quality.note(answers[0], work.at)
            return MediaReply(None, quality=_told_of(work.over, order))
        leg = work.leg
        if leg is None or work.order is None or work.reply is not None:
            return work.reply or _DONE
        order = work.order
        reply = ng.reply(answers[-1]) if len(answers) == len(work.commands) else MediaReply(None, ENGINE)
        if reply.body is None:
            if reply.fault == UNKNOWN or not any(end.described for end in leg.ends):
                self._forget(leg)
            return reply
        if work.role == ANSWER:
            reply = reply._replace(body=restored(reply.body, order.body))
        end = leg.ends[work.end]
        end.described, end.muxes = True, shares_port(order.body)
        end.host = named_host(order.body) or end.host
        end.last = end.tags[order.by] = Said(work.role, order, reply)
        leg.offered = work.end if work.role == OFFER else -1
        leg.unsaid = None
        if work.role == ANSWER:
            leg.agree()
        return reply

    # Which

    def _leg(self, order: MediaOrder) -> MediaLeg | None:
        """In a dialog the one that knows both tags, else the one that knows most of them: after a start of this process
        not all are known."""
        legs = self._legs.get(order.key, {})
        if order.branch:
            return next((leg for leg in legs.values() if leg.branch == order.branch), None)

        def known(leg: MediaLeg) -> int:
            return sum(any(tag in end.tags for end in leg.ends) for tag in (order.by, order.to))

        return max(legs.values(), key=known, default=None)

    def _begin(self, order: MediaOrder, lines: int, now: float) -> MediaLeg:
        call = f"{order.key}-{order.branch}" if order.branch else order.key
        leg = MediaLeg(call, order.key, order.branch, now, (LegEnd(order.by), LegEnd(_OTHER)))
        leg.tenant, leg.began, leg.counts, leg.lines = order.tenant, order.began, order.counts, lines
        self._keep(leg)
        return leg

    def _keep(self, leg: MediaLeg) -> None:
        if leg.key not in self._legs:  # the branches of a fork count as one
            self._count(leg, 1)
        self._legs.setdefault(leg.key, {})[leg.call] = leg
        self._ports[leg.tenant] += leg.ports

    def _forget(self, leg: MediaLeg) -> None:
        legs = self._legs.get(leg.key, {})
        if legs.pop(leg.call, None) is None:
            return
        if not legs:
            del self._legs[leg.key]
            self._count(leg, -1)
        self._ports[leg.tenant] -= leg.ports
        if not self._ports[leg.tenant]:
            del self._ports[leg.tenant]

    def _count(self, leg: MediaLeg, sessions: int) -> None:
        for name in leg.counts:
            self._counts[name] += sessions
            if not self._counts[name]:
                del self._counts[name]

    def _room(self, order: MediaOrder, lines: int, counts: Mapping[str, int]) -> bool:
        ports = self._ports[order.tenant] + LINE_PORTS * lines
        if ports > TENANT_SHARE * self.capacity:
            return False
        return order.key in self._legs or all(self._counts[name] < most for name, most in counts.items())

    # What the engine has besides

    def has(self, leg: MediaLeg) -> bool:
        """Whether it is still there."""
        return self._legs.get(leg.key, {}).get(leg.call) is leg

    def unknown(self, calls: list[str]) -> list[str]:
        """Those of the engine's ``calls`` that aren't known here. Legs that it hasn't any more are forgotten."""
        there = set(calls)
        for leg in self:
            if leg.call not in there and any(end.described for end in leg.ends):
                self._forget(leg)
        here = {leg.call for leg in self}
        return [call for call in calls if call not in here]

    def found(self, call: str, answer: Answer) -> bool:
        """The engine has ``call``, and this is what it answers to ``query`` about it. Whether it is a session whose
        both ends are known; others are of no use any more."""
        leg = _read(call, answer)
        if leg is not None:
            self._keep(leg)
        return leg is not None


def _end_of(leg: MediaLeg, order: MediaOrder) -> int:
    """Which end describes itself. A tag that is new is at the end where the other isn't."""
    end = 0
    for one in (0, 1):
        if order.by in leg.ends[one].tags or order.to in leg.ends[1 - one].tags:
            end = one
            break
    leg.ends[end].tags.setdefault(order.by, None)
    if order.to:
        leg.ends[1 - end].tags.setdefault(order.to, None)
    return end


def _told_of(leg: MediaLeg, order: MediaOrder) -> tuple[SideQuality, SideQuality]:
    """How well the side ``order.by`` has heard, and the other one."""
    end = 0 if order.by in leg.ends[0].tags or order.to in leg.ends[1].tags else 1
    mine, other = leg.ends[end], leg.ends[1 - end]
    return leg.quality.of(mine.name), leg.quality.of(other.name)


def _may_know(leg: MediaLeg, tag: str) -> bool:
    """Whether the dialog with ``tag`` may be one of the leg's; of an end without tags it isn't known."""
    return any(tag in end.tags or not end.tags for end in leg.ends)


def _say(leg: MediaLeg, end: int, role: str, order: MediaOrder) -> EngineWork:
    """Tell the engine, unless it knows."""
    last = leg.ends[end].last
    unsaid = leg.unsaid if role == ANSWER else None
    # An answer that the engine has had answers either the offer before, or the same offer again.
    known = role == OFFER or unsaid is not None or leg.offered == -1
    if known and last is not None and _says_again(last, role, order):
        leg.unsaid = order if role == OFFER else None
        leg.offered = end if role == OFFER else -1
        return EngineWork([], last.reply)
    before = [_command(leg, 1 - end, OFFER, unsaid)] if unsaid is not None else []
    if role == OFFER and _begins_anew(leg, end, order):
        before = [ng.delete(leg.call)]
        for one in leg.ends:
            one.described = False
    return EngineWork([*before, _command(leg, end, role, order)], None, leg, end, role, order)


def _begins_anew(leg: MediaLeg, end: int, order: MediaOrder) -> bool:
    """Whether an offer needs a session of its own: it was refused, and is tried otherwise, and the engine would keep
    what the other end was said to need; or two ends restart ICE (RFC 8445 §9) that the engine is the last candidate of.
    They check from new ports, and send from the old ones until that has succeeded, and it hears one of either."""
    last, both = leg.ends[end].last, leg.ends[1 - end].described
    if both:
        return leg.joins and (last is None or ice_names(last.order.body) != ice_names(order.body))
    return last is not None and last.order.for_ != order.for_


def _command(leg: MediaLeg, end: int, role: str, order: MediaOrder) -> Command:
    """The engine remembers what each end needs, but for two things: that it is to join ICE as the last candidate, and
    that RTP and RTCP don't share a port. Offered that again, a phone's refusal would end it for the browser too."""
    mine, other = leg.ends[end], leg.ends[1 - end]
    needs = order.for_
    if leg.joins:
        needs = needs._replace(ice=_RELAY_LAST)
    if role == OFFER and other.described and not other.muxes and not needs.rtcp_mux:
        needs = needs._replace(rtcp_mux="demux")
    body = held(order.body, mine.host or order.source)
    if role == ANSWER and other.last is not None:
        body = told(body, other.last.order.body)
    order = order._replace(body=body)
    offerer, answerer = (mine, other) if role == OFFER else (other, mine)
    learning = ng.DELAYED if mine.described else ng.IMMEDIATE
    if mine.described and mine.last is not None and rests(order.body, held(mine.last.order.body, mine.host)):
        learning = ng.NOTHING
    return ng.describe(leg.call, role, offerer.name, answerer.name, order, needs, learning, leg.label)


def _says_again(last: Said, role: str, order: MediaOrder) -> bool:
    """Whether it has been said. Offered again what was an answer, or the other way round, is the same but for keys and
    who begins with them (RFC 4145 §4, RFC 4568 §5.1). In a dialog no needs are those of before."""
    before = last.order
    return (
        before.body == order.body
        and (before.by, before.source) == (order.by, order.source)
        and (last.role == role or not any(word in order.body for word in (b"a=setup:", b"a=crypto:")))
        and order.for_ in (before.for_, _AS_BEFORE)
    )


def _read(call: str, answer: Answer) -> MediaLeg | None:
    """A leg, from what the engine says of it; None if it isn't one of an edge's, or has one end only."""
    tags = answer.get("tags")
    if not isinstance(tags, dict) or len(tags) != 2 or _OTHER not in tags:
        return None
    key, _, branch = call.partition("-")
    first = next(tag for tag in tags if tag != _OTHER)
    ends = _read_end(first, tags[first]), _read_end(_OTHER, tags[_OTHER])
    ends[0].tags[first] = None
    if not (ends[0].described and ends[1].described):
        return None
    leg = MediaLeg(call, key, branch, answer["created"], ends, found=True)
    # The one that was written last has the call's name in reports.
    label = max((monologue.get("label", "") for monologue in tags.values()), key=len)
    if label:
        leg.tenant, leg.began, leg.report, leg.counts = json.loads(label)
    leg.lines = max(1, *(len(monologue["medias"]) for monologue in tags.values()))
    leg.joins = any("passthrough" in media["flags"] for media in tags[first]["medias"])
    return leg


def _read_end(name: str, monologue: Any) -> LegEnd:
    medias = monologue["medias"]
    return LegEnd(
        name,
        described=any("filled" in stream["flags"] for media in medias for stream in media["streams"]),
        muxes=any("rtcp-mux" in media["flags"] for media in medias),
        host=next((host for media in medias for host in _named(media) if host != NOWHERE), ""),
    )


def _named(media: Any) -> list[str]:
    return [stream.get("advertised endpoint", {}).get("address", NOWHERE) for stream in media["streams"]]
