"""What the core asks of others, and who waits for the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from edge.providers.host import Address, Resolved
from edge.proxy.stack.events import Action, Ask, Find, Ids, Journal, Resolve
from edge.proxy.stack.fleet import Fleet
from edge.sip.flow import Flow
from lambdas.contract import Decision, LocateQuestion, Question, Report, Server, Target

MAX_QUESTIONS = 2000
"""Questions under way at once; past that requests are answered 503 at once instead of all being answered late."""

Continuation = Callable[[Decision | None, float], None]
MakeQuestion = Callable[[str, str, int], Question]


class Asking:
    """What the core has of it: questions to the control plane and to peers, and reports."""

    counters: Counter[str]
    fleet_now: Fleet

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._actions: list[Action] = []
        self._questions: dict[str, Continuation] = {}
        self._finding: dict[str, Callable[[list[Target], float], None]] = {}
        self._writing: dict[str, Callable[[float], None]] = {}
        self._resolving: dict[str, Resolved] = {}

    @property
    def questions(self) -> int:
        """How many are under way."""
        return len(self._questions)

    def ask(self, make: MakeQuestion, flow: Flow, continuation: Continuation, now: float) -> None:
        """Put the question that ``make(ask, address, epoch)`` gives."""
        token = self._ids.token()
        self.put_question(token, make(token, flow.address, self.fleet_now.epoch(flow.address)), continuation, now)

    def locate(self, binding: str, flow: Flow, continuation: Continuation, now: float) -> None:
        """Where is ``binding`` now?"""
        self.ask(
            lambda ask, address, epoch: LocateQuestion(request=ask, address=address, epoch=epoch, binding=binding),
            flow,
            continuation,
            now,
        )

    def put_question(self, ask: str, question: Question, continuation: Continuation, now: float) -> None:
        if len(self._questions) >= MAX_QUESTIONS:
            self.counters["overload"] += 1
            continuation(None, now)
            return
        self._questions[ask] = continuation
        self._actions.append(Ask(ask, question))

    def decided(self, ask: str, decision: Decision | None, now: float) -> None:
        continuation = self._questions.pop(ask, None)
        if continuation is not None:
            continuation(decision, now)

    def journal(self, report: Report, then: Callable[[float], None] | None = None) -> None:
        """Report to the control plane some time; ``then`` is called once the report can't be lost."""
        ref = ""
        if then is not None:
            ref = self._ids.token()
            self._writing[ref] = then
        self._actions.append(Journal(report, ref))

    def written(self, ref: str, now: float) -> None:
        then = self._writing.pop(ref, None)
        if then is not None:
            then(now)

    def find(self, aor: str, tenant: str, then: Callable[[list[Target], float], None]) -> None:
        """Ask the other edges where ``aor`` is."""
        ask = self._ids.token()
        self._finding[ask] = then
        self._actions.append(Find(ask, aor, tenant))

    def found(self, ask: str, targets: list[Target], now: float) -> None:
        then = self._finding.pop(ask, None)
        if then is not None:
            then(targets, now)

    def resolve(self, server: Server, then: Resolved) -> None:
        """Find a provider's server."""
        ref = self._ids.token()
        self._resolving[ref] = then
        self._actions.append(Resolve(ref, server))

    def resolved(self, ref: str, addresses: list[Address], fault: str, now: float) -> None:
        then = self._resolving.pop(ref, None)
        if then is None:
            return
        # A call that came back to us as a new one could go out again, and again.
        others = [address for address in addresses if address[1] not in self.fleet_now.addresses]
        then(others, fault if others or not addresses else "that is this service itself", now)
