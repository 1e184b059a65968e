"""An edge as the control plane knows one: it holds an address, asks, and reports. Nobody is behind it."""

from __future__ import annotations

import base64
import http.client
import itertools
import secrets
import time
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel

from edge.control.identity import Identity
from lambdas.contract import (
    HASHES,
    VERSION,
    Accept,
    CallAnswered,
    CallEnded,
    ContactField,
    Credentials,
    Decision,
    DecisionEnvelope,
    Heartbeat,
    HeartbeatReply,
    QuestionEnvelope,
    RegisterQuestion,
    Report,
    ReportEnvelope,
    ReportReceipt,
    Route,
    RouteQuestion,
    Side,
    TriedLeg,
    WireFlow,
    signed_text,
)
from scripts.fleet import DevelopmentFleet
from scripts.fleet_parts import PhoneAccount

_Reply = TypeVar("_Reply", bound=BaseModel)
_ADDRESS = "203.0.113.77"
_CONTACT = "10.0.0.9:5060"
_USER_AGENT = "Phone 1.0"


class AskingEdge:
    """``url`` is that of the control plane it asks, one of ``fleet``'s; questions go one after the other, by one
    connection."""

    def __init__(self, fleet: DevelopmentFleet, name: str, url: str, address: str = _ADDRESS) -> None:
        self._identity = Identity(name, Ed25519PrivateKey.generate())
        self._address = address
        body = {"id": name, "public_key": self._identity.public_key, "addresses": [address]}
        fleet.client.api("POST", "/v1/edges", body)
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        self._numbers = itertools.count(1)
        self._boot = secrets.token_hex(4)
        self._last: HeartbeatReply | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def heartbeat(self) -> HeartbeatReply:
        """The next one, which holds the address; it wants to hear what the last one hasn't told."""
        last = self._last
        known: dict[str, Any] = {}
        if last is not None:
            known = {
                "domains": last.domains_version, "changes_since": last.cursors, "feed": last.feed,
                "bans": last.bans_version, "provider_hosts": last.provider_hosts_version,
                "certificates": last.certificates_version, "public_networks": last.public_networks_version,
            }  # fmt: skip
        beat = Heartbeat(
            version=VERSION,
            boot=self._boot,
            addresses=[self._address],
            mesh=f"{self._address}:5070",
            certificate=base64.b64encode(self._identity.certificate_der).decode(),
            **known,
        )
        self._last = self._post("/edge/heartbeat", beat, HeartbeatReply)
        return self._last

    def register(self, account: PhoneAccount) -> None:
        """A phone that its NAT has given another port."""
        number = next(self._numbers)
        uri = f"sip:{account.username}@{_CONTACT}"
        decision = self._ask(
            RegisterQuestion(
                **self._asked(),
                aor=account.aor,
                credentials=_credentials(account, "REGISTER"),
                contacts=[ContactField(key=uri, uri=uri)],
                call_id=f"{account.username}-1f2e3d4c5b6a",
                cseq=number,
                flow=self._flow(number),
                user_agent=_USER_AGENT,
                grants=True,
                nonce_made=time.time(),
            )
        )
        assert isinstance(decision, Accept), decision

    def call(self, caller: PhoneAccount, called: PhoneAccount) -> None:
        """From the question to the report of its end; each report is delivered by itself."""
        answered = self.invite(caller, called)
        self.report(answered)
        self.report(hung_up(answered))

    def invite(self, caller: PhoneAccount, called: PhoneAccount) -> CallAnswered:
        """A call is decided; what is to be reported once it is answered."""
        name, now = secrets.token_hex(9), time.time()
        decision = self._ask(
            RouteQuestion(
                **self._asked(),
                attempt=name,
                method="INVITE",
                caller=caller.aor,
                called=called.aor,
                credentials=_credentials(caller, "INVITE"),
                call_id=f"{name}@10.0.0.9",
                flow=self._flow(0),
            )
        )
        assert isinstance(decision, Route), decision
        side = Side(
            uri=f"sip:{called.username}@{_CONTACT}",
            sender=f"<sip:{caller.aor}>;tag=a",
            receiver=f"<sip:{called.aor}>;tag=b",
            call_id=f"{name}@10.0.0.9",
            cseq=70_000,
        )
        return CallAnswered(
            tenant=decision.tenant,
            call=name,
            started=int(now),
            call_id=f"{name}@10.0.0.9",
            caller=caller.aor,
            called=called.aor,
            invited=now,
            ringing=now,
            legs=[TriedLeg(to=called.aor, address=self._address, status=200)],
            counted=decision.counted,
            attempt=name,
            answered=now,
            edges=(self._address, self._address),
            sides=[side, side],
            user_agents=(_USER_AGENT, _USER_AGENT),
            codecs=["PCMA/8000"],
        )

    def report(self, *reports: Report) -> None:
        """In one delivery."""
        receipt = self._post("/edge/reports", ReportEnvelope(version=VERSION, reports=list(reports)), ReportReceipt)
        assert receipt.refused == 0

    def _ask(self, question: RegisterQuestion | RouteQuestion) -> Decision:
        return self._post(
            "/edge/decisions", QuestionEnvelope(version=VERSION, question=question), DecisionEnvelope
        ).decision

    def _asked(self) -> dict[str, Any]:
        assert self._last is not None, "it holds nothing before its first heartbeat"
        return {"request": secrets.token_hex(9), "address": self._address, "epoch": self._last.held[0].epoch}

    def _flow(self, number: int) -> WireFlow:
        return self._address, 5060, "udp", "198.51.100.7", 1024 + number % 60_000, 0

    def _post(self, path: str, body: BaseModel, reply: type[_Reply]) -> _Reply:
        data, stamp = body.model_dump_json().encode(), f"{time.time():.3f}"
        signed = signed_text("POST", path, self._identity.edge, stamp, data)
        headers = {
            "content-type": "application/json",
            "x-edge": self._identity.edge,
            "x-edge-time": stamp,
            "x-edge-signature": base64.b64encode(self._identity.key.sign(signed)).decode(),
        }
        try:
            status, text = self._exchange(path, data, headers)
        except (BrokenPipeError, ConnectionResetError):  # closed meanwhile, since it was idle
            self._connection.close()
            status, text = self._exchange(path, data, headers)
        assert status == 200, text
        return reply.model_validate_json(text)

    def _exchange(self, path: str, data: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        self._connection.request("POST", path, data, headers)
        response = self._connection.getresponse()
        return response.status, response.read()


def hung_up(call: CallAnswered) -> CallEnded:
    """The report of its end."""
    return CallEnded(tenant=call.tenant, call=call.call, started=call.started, ended=time.time(), by="caller")


def _credentials(account: PhoneAccount, method: str) -> Credentials:
    digest, realm = HASHES["MD5"], account.aor.rpartition("@")[2]
    nonce, count, cnonce, uri = secrets.token_hex(16), "00000001", "c1", f"sip:{realm}"
    ha1 = digest(f"{account.username}:{realm}:{account.password}".encode()).hexdigest()
    ha2 = digest(f"{method}:{uri}".encode()).hexdigest()
    response = digest(f"{ha1}:{nonce}:{count}:{cnonce}:auth:{ha2}".encode()).hexdigest()
    return Credentials(
        username=account.username, realm=realm, nonce=nonce, uri=uri, response=response, qop="auth", nc=count,
        cnonce=cnonce,
    )  # fmt: skip
