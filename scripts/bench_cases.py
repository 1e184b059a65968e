"""The cases of ``scripts/bench``. Each prints one JSON object: ``{"case", "value", "unit", …}``. CPU time, best of
several rounds, since these machines are noisy."""

from __future__ import annotations

import gc
import hashlib
import json
import platform
import time
import tracemalloc
from typing import Annotated, Any

import typer

from edge import compiled_core
from edge.proxy.core import Core
from edge.proxy.stack.events import Ask, CoreEvent, Decided, FleetChanged, Received, Send
from edge.proxy.stack.fleet import Fleet
from edge.proxy.stack.flow_token import CallReference, TokenKeys
from edge.sip.flow import Flow
from edge.sip.headers import parse_digest
from edge.sip.message import Response
from edge.sip.parser import parse
from edge.sip.places import Places
from lambdas.contract import Accept, Binding, Grant, RegisterQuestion, Route, Target, binding_id
from scripts import (
    bench_cost,
    bench_decisions,
    bench_handshakes,
    bench_kamailio,
    bench_media,
    bench_overload,
    bench_plans,
    bench_providers,
    bench_questions,
    bench_records,
    bench_refresh,
    bench_relay,
    bench_size,
    bench_slow,
    bench_storm,
    bench_versus,
    bench_workers,
)

_MANY = 1_000_000  # the number of the first phone that refreshes, which nobody else has
_REFRESHES = 4  # of each phone
_PHONES = 5000  # enough that tables of Python's own are not what is measured
ADDRESS, DOMAIN = "203.0.113.11", "example.com"
_SDP = (
    "v=0\r\no=- 53655765 2353687637 IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\n"
    "t=0 0\r\nm=audio 20000 RTP/AVP 8 0 101\r\n"
)


class _Ids:
    def __init__(self) -> None:
        self._next = 0

    def token(self) -> str:
        self._next += 1
        return f"{self._next:018x}"

    def salt(self) -> bytes:
        self._next += 1
        return self._next.to_bytes(4, "big")


def _core() -> Core:
    core = Core("edge-a", "0a1b2c3d", _Ids())
    fleet = Fleet(
        epochs={ADDRESS: 1},
        places=Places((ADDRESS, "203.0.113.12")),
        domains={DOMAIN: DOMAIN},
        default_domain=DOMAIN,
        nonce_keys={1: b"k" * 32},
        nonce_key=1,
        tokens=TokenKeys({1: bytes(range(64))}, 1),
        clock=1.8e9,
    )
    core.handle(FleetChanged(fleet), 0.0)
    return core


def _say(case: str, value: float, unit: str, **more: Any) -> None:
    print(json.dumps({"case": case, "value": round(value, 2), "unit": unit, **more}, ensure_ascii=False), flush=True)


def _register(number: int, authorization: str = "") -> bytes:
    user = f"u{number}"
    lines = [
        f"REGISTER sip:{DOMAIN} SIP/2.0",
        f"Via: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK{number}{'a' if authorization else ''};rport",
        "Max-Forwards: 70",
        f"From: <sip:{user}@{DOMAIN}>;tag=as58f4d{number}",
        f"To: <sip:{user}@{DOMAIN}>",
        f"Call-ID: 1f2e3d4c5b6a{number}@10.0.0.9",
        "CSeq: 2 REGISTER",
        f"Contact: <sip:{user}@10.0.0.9:5060>",
        "Expires: 3600",
        "User-Agent: Bench phone 1.0",
        "Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, MESSAGE, INFO",
        "Supported: path, outbound",
    ]
    if authorization:
        lines.insert(6, f"Authorization: {authorization}")
    return ("\r\n".join([*lines, "Content-Length: 0"]) + "\r\n\r\n").encode()


def _challenged(core: Core, flow: Flow, number: int, uses: int = 1) -> list[bytes]:
    """The REGISTERs with credentials that answer this core's challenge, so many of them."""
    (action,) = [item for item in core.handle(Received(flow, _register(number)), 1.0) if isinstance(item, Send)]
    challenge = parse(action.data)
    assert isinstance(challenge, Response)
    params = parse_digest(challenge.get("www-authenticate") or "") or {}

    def digest(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()  # noqa: S324 - what SIP has

    ha1, ha2 = digest(f"u{number}:{DOMAIN}:pw"), digest(f"REGISTER:sip:{DOMAIN}")
    found = []
    for use in range(1, uses + 1):
        response = digest(f"{ha1}:{params['nonce']}:{use:08x}:c1:auth:{ha2}")
        wire = _register(
            number,
            f'Digest username="u{number}", realm="{DOMAIN}", nonce="{params["nonce"]}", uri="sip:{DOMAIN}", '
            f'response="{response}", algorithm=MD5, qop=auth, nc={use:08x}, cnonce="c1"',
        )
        wire = wire.replace(b"CSeq: 2 ", f"CSeq: {use + 1} ".encode()).replace(b"z9hG4bK", f"z9hG4bK{use}x".encode())
        found.append(wire)
    return found


def _flow(number: int) -> Flow:
    return Flow(ADDRESS, 5060, "udp", f"198.51.{number // 250 % 250}.{number % 250}", 1024 + number % 60000)


def _accept(question: RegisterQuestion) -> Accept:
    contact = question.contacts[0].uri
    identity = binding_id(question.aor, question.contacts[0].key)
    binding = Binding(id=identity, aor=question.aor, contact=contact, expires=3600, flow=question.flow)
    ha1 = hashlib.md5(f"{question.aor.partition('@')[0]}:{DOMAIN}:pw".encode()).hexdigest()  # noqa: S324
    return Accept(bindings=[binding], grant=Grant(tenant="t00112233aabb", version=1, ha1_md5=ha1, ha1_sha256="0" * 64))


def _take(core: Core, event: CoreEvent) -> list[Any]:
    return core.handle(event, 1.0)


def core_register(count: int, rounds: int) -> None:
    """An authenticated REGISTER: parse to Ask, then Accept to a serialized 200."""

    def round_() -> float:
        core = _core()
        wires = [(_flow(n), _challenged(core, _flow(n), n)[0]) for n in range(count)]
        core.stack.transactions.servers.clear()
        gc.collect()
        begun = time.process_time()
        asks = [_take(core, Received(flow, wire))[0] for flow, wire in wires]
        spent = time.process_time() - begun
        decisions = [(ask.ask, _accept(ask.question)) for ask in asks]  # JSON parsing makes them in real life
        gc.collect()
        begun = time.process_time()
        for ask, decision in decisions:
            _take(core, Decided(ask, decision))
        return (spent + time.process_time() - begun) / count * 1e6

    _say("core register", min(round_() for _ in range(rounds)), "µs CPU", operations=count, goal=60)


def _refresh_cost(core: Core, count: int) -> float:
    """Seconds of CPU for a REGISTER that refreshes, with a known nonce: nobody is asked. Of ``count`` phones."""
    phones = []
    for n in range(_MANY, _MANY + count):
        first, *more = _challenged(core, _flow(n), n, 1 + _REFRESHES)
        (ask,) = [item for item in _take(core, Received(_flow(n), first)) if isinstance(item, Ask)]
        assert isinstance(ask.question, RegisterQuestion)
        _take(core, Decided(ask.ask, _accept(ask.question)))
        phones.append((_flow(n), more))
    gc.collect()
    refreshes = core.stack.counters["refreshes"]
    begun = time.process_time()
    for flow, more in phones:
        for wire in more:
            _take(core, Received(flow, wire))
    spent = time.process_time() - begun
    assert core.stack.counters["refreshes"] == refreshes + count * _REFRESHES
    return spent / count / _REFRESHES


def core_refresh(count: int, rounds: int) -> None:
    """``_refresh_cost`` of a core with nobody else."""
    best = min(_refresh_cost(_core(), count) for _ in range(rounds))
    _say("core refresh", best * 1e6, "µs CPU", operations=count * _REFRESHES)


def core_options(count: int, rounds: int) -> None:
    """An OPTIONS for the edge itself, and its 200."""

    def round_() -> float:
        core = _core()
        # By TCP, where strangers' answers aren't counted.
        wires = [
            (_flow(n)._replace(transport="tcp", connection=1 + n), _register(n).replace(b"REGISTER", b"OPTIONS"))
            for n in range(count)
        ]
        gc.collect()
        begun = time.process_time()
        for flow, wire in wires:
            (answer,) = _take(core, Received(flow, wire))
        spent = time.process_time() - begun
        assert answer.data.startswith(b"SIP/2.0 200")
        return spent / count * 1e6

    _say("core options", min(round_() for _ in range(rounds)), "µs CPU", operations=count)


def _in_dialog(core: Core, number: int, method: str, caller: Flow, callee: Flow) -> bytes:
    tokens, places = core.stack.fleet.tokens, core.stack.fleet.places
    call_id = f"call{number}@10.0.0.9"
    call = CallReference("t00112233aabb", 1_800_000_000, False)
    tags = ("as58f4d", "b71ea")
    back = tokens.seal(caller, "", call_id, call._replace(to_caller=True), tags)
    forth = tokens.seal(callee, "", call_id, call, tags)
    lines = [
        f"{method} sip:bob@10.0.0.8:5060 SIP/2.0",
        f"Via: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKd{number};rport",
        f"Route: <sip:{back}@{places.sent_by(caller)};lr>",
        f"Route: <sip:{forth}@{places.sent_by(callee)};lr>",
        "Max-Forwards: 70",
        f"From: <sip:alice@{DOMAIN}>;tag=as58f4d",
        f"To: <sip:bob@{DOMAIN}>;tag=b71ea",
        f"Call-ID: {call_id}",
        "CSeq: 102 " + method,
        "Contact: <sip:alice@10.0.0.9:5060>",
        "User-Agent: Bench phone 1.0",
        "Content-Type: application/sdp",
    ]
    return ("\r\n".join([*lines, f"Content-Length: {len(_SDP)}"]) + "\r\n\r\n" + _SDP).encode()


def core_proxied(count: int, rounds: int) -> None:
    """A proxied message: the mean of a request in a dialog, with SDP, and of its response."""

    def round_() -> float:
        core = _core()
        pairs = [(_flow(2 * n), _flow(2 * n + 1)) for n in range(count)]
        wires = [_in_dialog(core, n, "UPDATE", *pair) for n, pair in enumerate(pairs)]
        gc.collect()
        begun = time.process_time()
        outs = [_take(core, Received(pair[0], wire))[0] for pair, wire in zip(pairs, wires, strict=True)]
        spent = time.process_time() - begun
        answers = []
        for out in outs:
            request = parse(out.data)
            kept = [line for key, line in request.headers if key in ("via", "from", "to", "call-id", "cseq")]
            head = "\r\n".join(["SIP/2.0 200 OK", *kept, "Contact: <sip:bob@10.0.0.8>", "Content-Length: 0"])
            answers.append((out.flow, head.encode() + b"\r\n\r\n"))
        gc.collect()
        begun = time.process_time()
        for flow, answer in answers:
            _take(core, Received(flow, answer))
        spent += time.process_time() - begun
        return spent / (2 * count) * 1e6

    _say("core proxied message", min(round_() for _ in range(rounds)), "µs CPU", operations=count, goal=80)


def _call_cost(core: Core, count: int) -> float:
    """Seconds of CPU for an INVITE with credentials: parse to Ask, then Route to the forwarded request."""
    wires = []
    for n in range(count):
        wire = _in_dialog(core, n, "INVITE", _flow(n), _flow(n + count))
        head = wire.replace(b";tag=b71ea", b"")
        plain = b"\r\n".join(line for line in head.split(b"\r\n") if not line.startswith(b"Route"))
        plain = plain.replace(b"sip:bob@10.0.0.8:5060 SIP", f"sip:bob@{DOMAIN} SIP".encode(), 1)
        out = _take(core, Received(_flow(n), plain))[-1]
        params = parse_digest(parse(out.data).get("proxy-authenticate") or "") or {}
        line = (
            f'Proxy-Authorization: Digest username="alice", realm="{DOMAIN}", nonce="{params["nonce"]}", '
            f'uri="sip:bob@{DOMAIN}", response="{"0" * 32}", algorithm=MD5, qop=auth, nc=00000001, cnonce="c"\r\n'
        )
        wires.append(plain.replace(b"Max-Forwards", line.encode() + b"Max-Forwards").replace(b"z9hG4bKd", b"z9hG4bKe"))
    target = Target(uri="sip:bob@10.0.0.8:5060", flow=_flow(7).wire, binding="AAAAAAAAAAA")
    gc.collect()
    begun = time.process_time()
    asks = [_take(core, Received(_flow(n), wire))[-1] for n, wire in enumerate(wires)]
    for ask in asks:
        assert isinstance(ask, Ask)
        _take(core, Decided(ask.ask, Route(targets=[target])))
    return (time.process_time() - begun) / count


def core_call(count: int, rounds: int) -> None:
    """``_call_cost`` of a core with nobody."""
    best = min(_call_cost(_core(), count) for _ in range(rounds))
    _say("core call set-up", best * 1e6, "µs CPU", operations=count)


def core_memory(count: int, _: int) -> None:
    """Memory for each registered UDP phone at the edge, its spent nonce included, once its transactions are over."""
    count = max(count, _PHONES)
    core = _core()
    wires = [(_flow(n), n) for n in range(count)]
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for flow, n in wires:
        (ask,) = _take(core, Received(Flow(*flow), _challenged(core, flow, n)[0]))
        # As it comes off the wire: strings of its own.
        decision = Accept.model_validate_json(_accept(ask.question).model_dump_json())
        _take(core, Decided(ask.ask, decision))
    core.stack.timers.fire(2.0 + 64)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    _say("core memory", held / count / 1024, "KB a registered UDP phone", phones=len(core.stack.bindings), goal=2)


def core(
    count: Annotated[int, typer.Option(help="Operations in a round.")] = 200,
    rounds: Annotated[int, typer.Option(help="Rounds, of which the best counts.")] = 60,
) -> None:
    """The core alone: no sockets, no control plane."""
    about = {"python": platform.python_version(), "machine": platform.machine(), "compiled": not compiled_core.FAULT}
    print(json.dumps(about))
    for case in (core_register, core_refresh, core_options, core_proxied, core_call, core_memory):
        case(count, rounds)


app = typer.Typer(help=__doc__, add_completion=False)
app.command()(core)


@app.command()
def refresh(
    phones: Annotated[int, typer.Option(help="Phones.")] = 50,
    refreshes: Annotated[int, typer.Option(help="Refreshes, all phones together.")] = 1000,
) -> None:
    """Refreshes through a real edge: decisions, reads and writes, and CPU."""
    bench_refresh.refresh(_say, phones, refreshes)


@app.command()
def questions(count: Annotated[int, typer.Option(help="Questions one by one.")] = 150) -> None:
    """Questions to the control plane: what each takes of the edge."""
    bench_questions.questions(_say, count)


@app.command()
def workers(
    phones: Annotated[int, typer.Option(help="Phones of each edge, in fours, each at its own address.")] = 32,
    refreshes: Annotated[int, typer.Option(help="Refreshes in a round.")] = 600,
    calls: Annotated[int, typer.Option(help="Calls in a round, INVITE to BYE; half of them between processes.")] = 60,
    rounds: Annotated[int, typer.Option(help="Rounds, the two edges in turn.")] = 3,
) -> None:
    """An edge of two processes beside one of one: CPU, and how it is divided."""
    bench_workers.workers(_say, phones, refreshes, calls, rounds)


@app.command()
def providers(accounts: Annotated[int, typer.Option(help="Provider accounts on one edge.")] = 10_000) -> None:
    """The registration agent alone: no sockets, no control plane."""
    bench_providers.providers(_say, _core(), accounts)


@app.command()
def plans(
    rules: Annotated[int, typer.Option(help="Rules in the plan.")] = 50,
    calls: Annotated[int, typer.Option(help="Calls of each kind.")] = 200,
) -> None:
    """What dial plans add to a decision."""
    bench_plans.plans(_say, rules, calls)


@app.command()
def cost(save: Annotated[bool, typer.Option(help="For scripts/cost to reckon with.")] = False) -> None:
    """What each kind of event asks of AWS."""
    bench_cost.cost(_say, save)


@app.command()
def decisions(
    times: Annotated[int, typer.Option(help="REGISTERs, and calls, of each round.")] = 100,
    rounds: Annotated[int, typer.Option(help="Rounds.")] = 3,
    beside: Annotated[list[str] | None, typer.Option(help="An older commit, whose control plane has its turn.")] = None,
) -> None:
    """The control plane's CPU and requests to DynamoDB for what edges ask most."""
    bench_decisions.decisions(_say, times, rounds, beside or ())


@app.command()
def records(number: Annotated[int, typer.Option(help="Calls.")] = 10_000_000) -> None:
    """SQL over many records, and who stands out."""
    bench_records.records(_say, number)


@app.command()
def handshakes(
    rounds: Annotated[int, typer.Option(help="Handshakes of each kind.")] = 300,
    idle: Annotated[int, typer.Option(help="Idle connections by each transport.")] = 1000,
    phones: Annotated[int, typer.Option(help="Phones that come back.")] = 10_000,
) -> None:
    """TLS handshakes and idle connections at an edge's sockets."""
    bench_handshakes.handshakes(_say, rounds, idle, phones)


@app.command()
def relay(
    rate: Annotated[int, typer.Option(help="Requests a second; each is two messages.")] = 300,
    seconds: Annotated[float, typer.Option(help="Of each round.")] = 5.0,
    rounds: Annotated[int, typer.Option(help="Rounds for each server and transport, in turn.")] = 3,
    pairs: Annotated[int, typer.Option(help="Calls under way.")] = 20,
    idle: Annotated[int, typer.Option(help="Idle connections, for their memory.")] = 1000,
) -> None:
    """Messages relayed and idle connections, by transport, beside Kamailio's."""
    bench_relay.relay(_say, rate, seconds, rounds, pairs, idle)


@app.command()
def media(
    pairs: Annotated[int, typer.Option(help="Calls at once.")] = 100,
    seconds: Annotated[float, typer.Option(help="Of each round.")] = 10.0,
    rate: Annotated[int, typer.Option(help="Calls a second that are set up and ended.")] = 20,
    rounds: Annotated[int, typer.Option(help="Rounds for each server, in turn.")] = 3,
) -> None:
    """Relayed media and the calls they are of, beside Kamailio with rtpengine."""
    bench_media.media(_say, pairs, seconds, rate, rounds)


@app.command()
def kamailio(
    cases: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(bench_kamailio.CASES)}; all if none.")
    ] = None,
    transport: Annotated[list[str] | None, typer.Option(help="udp, tls or wss, again for more; all if none.")] = None,
    fast: Annotated[int, typer.Option(help="Refreshes and OPTIONS a second.")] = 3000,
    slow: Annotated[int, typer.Option(help="Decided REGISTERs and calls a second.")] = 30,
    seconds: Annotated[float, typer.Option(help="Of each round.")] = 10.0,
    rounds: Annotated[int, typer.Option(help="Rounds for each server, in turn.")] = 3,
    phones: Annotated[int, typer.Option(help="Phones, for their memory.")] = 50_000,
    settle: Annotated[float, typer.Option(help="Seconds before their memory is read: transactions last 32.")] = 35.0,
) -> None:
    """Registrations, calls and memory beside Kamailio's."""
    numbers = bench_kamailio.Numbers(fast, slow, seconds, rounds, phones, settle)
    bench_kamailio.kamailio(_say, cases or bench_kamailio.CASES, transport or bench_kamailio.TRANSPORTS, numbers)


@app.command()
def size(rounds: Annotated[int, typer.Option(help="Rounds for each size, in turn.")] = 3) -> None:
    """Refreshes, calls and pauses with 1,000, 10,000 and 100,000 bindings at one edge."""
    bench_size.size(_say, _core, {"refresh": _refresh_cost, "call": _call_cost}, rounds)


@app.command()
def slow() -> None:
    """Registrations and calls while the control plane takes its time."""
    bench_slow.slow(_say)


@app.command()
def storm(
    phones: Annotated[int, typer.Option(help="Phones that come.")] = 10_000,
    transport: Annotated[str, typer.Option(help="udp, tcp, tls or wss.")] = "udp",
    delay: Annotated[float, typer.Option(help="Seconds that the emulated control plane takes.")] = 0.02,
    over: Annotated[float, typer.Option(help="Seconds within which they come.")] = 2.0,
    real: Annotated[int, typer.Option(help="Phones that come to the real control plane, ten a second.")] = 300,
) -> None:
    """Everybody registers at an edge that knows nobody."""
    bench_storm.storm(_say, phones, transport, delay, over, real)


@app.command()
def overload(
    seconds: Annotated[float, typer.Option(help="Of each step, in the phones' time.")] = 6.0,
    pairs: Annotated[int, typer.Option(help="Pairs of phones.")] = 500,
    picture: Annotated[bool, typer.Option(help="Draw docs/overload.svg.")] = False,
) -> None:
    """What is done in time when more is offered than an edge can do."""
    bench_overload.overload(_say, seconds, pairs, picture)


@app.command()
def versus(
    rev: Annotated[str, typer.Argument(help="The older commit.")],
    cases: Annotated[
        list[str] | None, typer.Argument(help="Cases, with their options in quotes; core if none.")
    ] = None,
) -> None:
    """Other cases here and on an older commit in turn: is this tree as fast?"""
    bench_versus.versus(rev, cases or ["core"])


if __name__ == "__main__":
    app()
