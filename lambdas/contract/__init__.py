"""The contract between edges and the control plane: what crosses the wire, and nothing else. Imports pydantic only.

``VERSION`` counts compatible extensions, newest last:

1. REGISTER, route and locate decisions; the heartbeat with leases, fleet, keys, domains and binding changes.

Both sides ignore fields they don't know, so either may be newer. A field is never removed or given another meaning;
a decision of an unknown kind is answered to the phone as 500.
"""

from lambdas.contract.decision import (
    Accept,
    Binding,
    Challenge,
    Decision,
    DecisionEnvelope,
    Reject,
    Route,
    Target,
)
from lambdas.contract.heartbeat import (
    BindingChange,
    FleetEdge,
    FleetKey,
    Heartbeat,
    HeartbeatReply,
    HeldAddress,
)
from lambdas.contract.question import (
    ContactField,
    Credentials,
    LocateQuestion,
    Question,
    QuestionEnvelope,
    RegisterQuestion,
    RouteQuestion,
    WireFlow,
)

VERSION = 1

__all__ = [
    "VERSION",
    "Accept",
    "Binding",
    "BindingChange",
    "Challenge",
    "ContactField",
    "Credentials",
    "Decision",
    "DecisionEnvelope",
    "FleetEdge",
    "FleetKey",
    "Heartbeat",
    "HeartbeatReply",
    "HeldAddress",
    "LocateQuestion",
    "Question",
    "QuestionEnvelope",
    "RegisterQuestion",
    "Reject",
    "Route",
    "RouteQuestion",
    "Target",
    "WireFlow",
]
