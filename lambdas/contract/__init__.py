"""The contract between edges and the control plane: what crosses the wire, and nothing else. Imports pydantic only.

``VERSION`` counts compatible extensions, newest last:

1. REGISTER, route and locate decisions; the heartbeat with leases, fleet, keys, domains and binding changes.
2. Grants, the numbered change feed, reports, takeover and handover of addresses.
3. Provider accounts: assignments, registrations, calls in and out, stages.
4. Dial plans: asking again, targets instead of others, diversion, limits of duration, decisions to keep, open calls.
5. Records of calls that nobody took, and of every leg; providers, codecs, user agents and reasons in records;
   who counts a call; networks that are banned; trying other edges out.
6. The edge's own name for each INVITE; the called side and who gave up in records of calls that nobody took; why a
   call is ended; Regions of edges.

Both sides ignore fields they don't know, so either may be newer. A field is never removed or given another meaning;
a decision of an unknown kind is answered to the phone as 500.
"""

from lambdas.contract.decision import (
    NOBODYS_ANSWER,
    OUTCOMES,
    Q_STEP,
    Accept,
    Access,
    Binding,
    Challenge,
    Decision,
    DecisionEnvelope,
    Grant,
    Keep,
    Reject,
    Route,
    Stage,
    Target,
    q_delays,
    stand_in,
)
from lambdas.contract.heartbeat import (
    BindingChange,
    Change,
    FleetEdge,
    FleetKey,
    Heartbeat,
    HeartbeatReply,
    HeldAddress,
    Probe,
    Take,
)
from lambdas.contract.provider import ProviderAccount, ProviderLeg, ProvidersReply, ProvidersRequest, Secret, Server
from lambdas.contract.question import (
    AccessQuestion,
    ContactField,
    Credentials,
    IncomingQuestion,
    LocateQuestion,
    Question,
    QuestionEnvelope,
    RegisterQuestion,
    RouteQuestion,
    WireFlow,
)
from lambdas.contract.report import (
    BindingReport,
    CallAnswered,
    CallEnded,
    CallFailed,
    Leg,
    OpenCall,
    ProbeReport,
    ProviderReport,
    Report,
    ReportEnvelope,
    ReportReceipt,
    Side,
)
from lambdas.contract.shared import HASHES, answers, binding_id, consent_text, signed_text

VERSION = 6

__all__ = [
    "HASHES",
    "NOBODYS_ANSWER",
    "OUTCOMES",
    "Q_STEP",
    "VERSION",
    "Accept",
    "Access",
    "AccessQuestion",
    "Binding",
    "BindingChange",
    "BindingReport",
    "CallAnswered",
    "CallEnded",
    "CallFailed",
    "Challenge",
    "Change",
    "ContactField",
    "Credentials",
    "Decision",
    "DecisionEnvelope",
    "FleetEdge",
    "FleetKey",
    "Grant",
    "Heartbeat",
    "HeartbeatReply",
    "HeldAddress",
    "IncomingQuestion",
    "Keep",
    "Leg",
    "LocateQuestion",
    "OpenCall",
    "Probe",
    "ProbeReport",
    "ProviderAccount",
    "ProviderLeg",
    "ProviderReport",
    "ProvidersReply",
    "ProvidersRequest",
    "Question",
    "QuestionEnvelope",
    "RegisterQuestion",
    "Reject",
    "Report",
    "ReportEnvelope",
    "ReportReceipt",
    "Route",
    "RouteQuestion",
    "Secret",
    "Server",
    "Side",
    "Stage",
    "Take",
    "Target",
    "WireFlow",
    "answers",
    "binding_id",
    "consent_text",
    "q_delays",
    "signed_text",
    "stand_in",
]
