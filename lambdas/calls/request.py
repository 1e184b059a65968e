"""The request that is routed, and the call as a plan is asked about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from lambdas.calls.cache_key import KeyedDecision
from lambdas.calls.media import MediaEnd
from lambdas.contract import CallQuestion
from lambdas.decisions.provider import TenantSettings
from lambdas.decisions.values import StoredAccount
from lambdas.decisions.wizard import DialledCall, Step


@dataclass(frozen=True, slots=True)
class CallRequest:
    """``payer`` is whose call it is, ``caller`` what plans see of the caller, ``called`` an AOR, or what a provider has
    asked for; ``settings`` are the tenant's, ``now`` is Unix time, ``end`` is where the caller's media are."""

    question: CallQuestion
    payer: StoredAccount
    caller: str
    called: str
    settings: TenantSettings
    now: float
    end: MediaEnd

    @property
    def is_call(self) -> bool:
        return self.question.method == "INVITE"

    def payer_of(self, step: Step) -> StoredAccount:
        """The payer, with the caller ID that the plan sets."""
        return replace(self.payer, caller_id=step.caller_id or self.payer.caller_id)


@dataclass(frozen=True, slots=True)
class PlanCall:
    """A call that ``plan`` decides. ``owner`` is the account whose calls it decides ("" if it isn't one account's),
    ``diverted`` the URI that was called, for whoever the call goes to instead; ``as_dialled`` is where the call goes if
    the plan says that it goes as dialled."""

    plan: str
    call: DialledCall
    as_dialled: Callable[[Step], KeyedDecision]
    owner: str = ""
    diverted: str = ""
    transfers: bool = False
