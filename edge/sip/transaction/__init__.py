"""The four transaction machines of RFC 3261 §17 as corrected by RFC 6026, and their matching (§17.1.3, §17.2.3)."""

from edge.sip.transaction.client import ClientTransaction, InviteClient, NonInviteClient
from edge.sip.transaction.machine import Machine, TransactionState, TransactionUser
from edge.sip.transaction.matching import BRANCH_COOKIE, server_key
from edge.sip.transaction.server import InviteServer, NonInviteServer, ServerTransaction

__all__ = [
    "BRANCH_COOKIE",
    "ClientTransaction",
    "InviteClient",
    "InviteServer",
    "Machine",
    "NonInviteClient",
    "NonInviteServer",
    "ServerTransaction",
    "TransactionState",
    "TransactionUser",
    "server_key",
]
