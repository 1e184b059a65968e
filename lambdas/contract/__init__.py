"""The contract between edges and the control plane: what crosses the wire, and nothing else. Imports pydantic only.

``VERSION`` counts compatible extensions. Each field says in its description which one it came with:

1. 2026-11-22: REGISTER, route and locate decisions; the heartbeat with leases, fleet, keys, domains, binding changes.
2. 2026-11-22: ``Grant``, the numbered change feed (``Change``), reports (``BindingReport``, ``CallAnswered``,
   ``CallEnded``), takeover and handover of addresses (``Take``, ``HeldAddress.placed``).
3. 2026-11-22: provider accounts: ``ProvidersRequest`` and its reply, ``ProviderReport``, calls in
   (``IncomingQuestion``, ``AccessQuestion``) and out (``ProviderLeg``); ``Stage``.
4. 2026-11-25: dial plans: asking again (``Tried``), ``Target.instead`` and ``diverted``, ``max_duration``, ``Keep``,
   open calls (``OpenCall``, ``Side``). What a ``Route`` of version 3 had in ``otherwise`` is its last stage's ``end``.
5. 2026-11-25: records of calls that nobody took (``CallFailed``) and of every ``TriedLeg``; providers, codecs, user
   agents and reasons in records; who counts a call (``counted``); ``bans``; ``Probe``; Regions (``FleetEdge.region``).
6. 2026-11-26: the edge's own name for each INVITE (``attempt``); the called side and who gave up in ``CallFailed``;
   ``OpenCall.why``; ``ProbeReport.region``.
7. 2026-11-28: requests in a dialog are asked about (``DialogQuestion``, ``Proceed``); limits for calls without a
   decision (``ScopeLimits``, ``ProviderLeg.dark`` and ``rate``); ``LoginsFailed``; proof in an ``AccessQuestion``;
   ``ProviderPlace`` and ``ProviderLeg.registered``; the oldest version in the fleet (``HeartbeatReply.spoken``).
8. 2026-11-28: what awkward phones and providers need: binding keys by all of a Contact (``Binding.key``),
   ``path``, ``doubted_at``, ended flows (``Asked.closed``); calls in by number (``IncomingQuestion.number``,
   ``Route.provider``), reports that name the provider account's Call-ID and version; who withholds a number
   (``withheld``, ``CallOutline.asserted``); redirections and Contacts of phones (``RouteQuestion.redirected_by``,
   ``binding``); calls that edges transfer themselves (``TransferQuestion``, ``CallTransferred``); message summaries
   (``Route.summary``).
9. 2026-11-28: what TLS, WebSocket and IPv6 need: the sides of an edge address (``EdgePlace``), where an edge listens
   (``Heartbeat.listen``), keys of TLS sessions (``FleetKey.ticket``), certificates that the control plane gets
   (``CertificatesRequest``, ``HeartbeatReply.certificates``); flows of one instance (``Target.instance``,
   ``LocateQuestion.failed``), GRUUs (``MeantInstance``), who is to come back (``Reject.absent``), an account's
   algorithms (``Grant.digest``, ``Challenge.algorithms``); phones that are woken (``Push``, ``PushQuestion``,
   ``Target.sleeps``); providers by TLS, with a CA of their own, and by what DNS says (``Server.ca``, ``Server.by_dns``,
   ``Access.server``).
10. 2026-11-28: what relaying media needs: which way they are to take (``Target.media``, ``one_site``; ``Grant.media``,
    ``site``), networks without NAT (``HeartbeatReply.public_networks``), edges with a relay (``FleetEdge.media``), how
    many relayed calls may be at once (``Route.relayed_calls``); what became of it in records (``CallAnswered.media``,
    ``CallEnded.media``, ``event``), with the quality of each side (``MediaQuality``).
10. 2026-11-28: what relaying media needs: which way they are to take (``Target.media``, ``one_site``, ``Grant.media``),
   the echo number (``Target.echo``), calls of which nothing is heard (``CallLost``),
   networks without NAT (``HeartbeatReply.public_networks``), edges with a relay (``FleetEdge.media``), how many relayed
   calls may be at once (``Route.relayed_calls``); what became of it in records (``CallAnswered.media``,
   ``CallEnded.media``, ``event``), with the quality of each side (``MediaQuality``).

Both sides ignore fields they don't know, and have a default for each that came later, so either may be newer. A field
is never removed or given another meaning; a decision of an unknown kind is answered to the phone as 500.
"""

from lambdas.contract.binding import ContactBinding, Push
from lambdas.contract.certificate import (
    MOST_CERTIFICATES,
    CertificatesReply,
    CertificatesRequest,
    CertificateVersion,
    EdgeCertificate,
)
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
    Proceed,
    Reject,
    Route,
    ScopeLimits,
    Stage,
    Target,
    q_delays,
    stand_in,
)
from lambdas.contract.heartbeat import (
    BindingChange,
    Change,
    EdgePlace,
    FleetEdge,
    FleetKey,
    Heartbeat,
    HeartbeatReply,
    HeldAddress,
    Probe,
    Take,
)
from lambdas.contract.media import (
    RELAYED_OF_ACCOUNT,
    RELAYED_OF_TENANT,
    MediaPolicy,
    MediaQuality,
    MediaWay,
    combined,
)
from lambdas.contract.provider import (
    ProviderAccount,
    ProviderLeg,
    ProviderPlace,
    ProvidersReply,
    ProvidersRequest,
    Secret,
    Server,
    Transport,
)
from lambdas.contract.question import (
    AccessQuestion,
    CallQuestion,
    ContactField,
    Credentials,
    DialogQuestion,
    IncomingQuestion,
    LocateQuestion,
    MeantInstance,
    PushQuestion,
    Question,
    QuestionEnvelope,
    RegisterQuestion,
    RouteQuestion,
    TransferQuestion,
)
from lambdas.contract.registration import MOST_CONTACTS, SHORTEST, Order, refusal, stalest, wanted
from lambdas.contract.report import (
    BindingReport,
    CallAnswered,
    CallEnded,
    CallFailed,
    CallLost,
    CallName,
    CallOutline,
    CallTransferred,
    LoginsFailed,
    OpenCall,
    ProbeReport,
    ProviderReport,
    Report,
    ReportEnvelope,
    ReportReceipt,
    Side,
    TriedLeg,
)
from lambdas.contract.shared import (
    HASHES,
    answers,
    binding_id,
    called_number,
    consent_text,
    may_be_sip,
    short_name,
    signed_text,
    way_sealed_for,
    without_push,
)
from lambdas.contract.wire import Wire, WireFlow
from lambdas.contract.withheld import known_as, withheld

VERSION = 10

__all__ = [
    "HASHES",
    "MOST_CERTIFICATES",
    "MOST_CONTACTS",
    "NOBODYS_ANSWER",
    "OUTCOMES",
    "Q_STEP",
    "RELAYED_OF_ACCOUNT",
    "RELAYED_OF_TENANT",
    "SHORTEST",
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
    "CallLost",
    "CallName",
    "CallOutline",
    "CallQuestion",
    "CallTransferred",
    "CertificateVersion",
    "CertificatesReply",
    "CertificatesRequest",
    "Challenge",
    "Change",
    "ContactBinding",
    "ContactField",
    "Credentials",
    "Decision",
    "DecisionEnvelope",
    "DialogQuestion",
    "EdgeCertificate",
    "EdgePlace",
    "FleetEdge",
    "FleetKey",
    "Grant",
    "Heartbeat",
    "HeartbeatReply",
    "HeldAddress",
    "IncomingQuestion",
    "Keep",
    "LocateQuestion",
    "LoginsFailed",
    "MeantInstance",
    "MediaPolicy",
    "MediaQuality",
    "MediaWay",
    "OpenCall",
    "Order",
    "Probe",
    "ProbeReport",
    "Proceed",
    "ProviderAccount",
    "ProviderLeg",
    "ProviderPlace",
    "ProviderReport",
    "ProvidersReply",
    "ProvidersRequest",
    "Push",
    "PushQuestion",
    "Question",
    "QuestionEnvelope",
    "RegisterQuestion",
    "Reject",
    "Report",
    "ReportEnvelope",
    "ReportReceipt",
    "Route",
    "RouteQuestion",
    "ScopeLimits",
    "Secret",
    "Server",
    "Side",
    "Stage",
    "Take",
    "Target",
    "TransferQuestion",
    "Transport",
    "TriedLeg",
    "Wire",
    "WireFlow",
    "answers",
    "binding_id",
    "called_number",
    "combined",
    "consent_text",
    "known_as",
    "may_be_sip",
    "q_delays",
    "refusal",
    "short_name",
    "signed_text",
    "stalest",
    "stand_in",
    "wanted",
    "way_sealed_for",
    "withheld",
    "without_push",
]
