"""The certificate authority (CA), spoken to by ACME (RFC 8555) with the ``acme`` library.

Each method asks one thing, and waits for nothing but the answer: orders take minutes, and what to do next is told by
their state at the CA, whoever has begun them. What the library does by itself about waiting, accounts and finalizing
isn't used: it loses the account after a failed question, swallows that an order isn't ready, and takes dates in
Retry-After for local time.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import requests
from acme import challenges, errors, messages
from acme.client import ClientNetwork, ClientV2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from lambdas.certificates.settings import AcmeSettings

_TIMEOUT = 10  # seconds for the CA to connect, and between two pieces of its answer
_NONCES = 12  # attempts; a CA may refuse nonces at random
_LONGEST = 400  # characters of what a CA says
_ANSWERED = 2.0  # seconds until it is asked again, where it doesn't say
_Result = TypeVar("_Result")


class AuthorityOut(Exception):
    """The CA doesn't answer, or has had enough; the text says which. ``patience`` are the seconds that it asks for."""

    def __init__(self, text: str, patience: float = 0.0) -> None:
        super().__init__(text)
        self.patience = patience


class OrderRefused(Exception):
    """The CA won't do this, now or ever; the text is its reason. ``patience`` as above."""

    def __init__(self, text: str, patience: float = 0.0) -> None:
        super().__init__(text)
        self.patience = patience


@dataclass(frozen=True, slots=True)
class Looked:
    """An order, or an authorization of one, as the CA has it, and in how many seconds to look again."""

    body: Any
    patience: float


class AcmeAuthority:
    """``key`` is the account's, PKCS #8 in PEM; ``account`` its URL, "" where that isn't known. Raises AuthorityOut."""

    def __init__(self, settings: AcmeSettings, key: str, account: str, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        loaded = serialization.load_pem_private_key(key.encode(), None)
        self._key = JWKEC(key=loaded)
        self._net = ClientNetwork(self._key, alg=ES256, user_agent="sipwizard", timeout=_TIMEOUT)
        self._last: requests.Response | None = None
        self._net.session.hooks["response"].append(self._note)
        self._directory = self._needed(lambda: ClientV2.get_directory(settings.directory, self._net))
        self._client = ClientV2(self._directory, self._net)
        if account:
            self._use(account)
        else:
            self._register()

    @property
    def account(self) -> str:
        """Its URL, also where the CA has forgotten it and has made it anew; "" where it couldn't."""
        return str(self._net.account.uri) if self._net.account is not None else ""

    def close(self) -> None:
        self._net.session.close()

    def begin(self, name: str) -> str:
        """A new order's URL."""
        identifier = messages.Identifier(typ=messages.IDENTIFIER_FQDN, value=name)
        response = self._post(self._directory["newOrder"], messages.NewOrder(identifiers=(identifier,)))
        return str(response.headers["Location"])

    def order(self, url: str) -> Looked:
        return self._look(url, messages.Order)

    def authorization(self, url: str) -> Looked:
        return self._look(url, messages.Authorization)

    def validation(self, challenge: messages.ChallengeBody) -> str:
        """What the challenge's TXT record has to say."""
        assert isinstance(challenge.chall, challenges.DNS01)
        return challenge.chall.validation(self._key)

    def answer(self, challenge: messages.ChallengeBody) -> None:
        """Have the CA look at the record."""
        self._post(challenge.uri, challenge.response(self._key))

    def finalize(self, order: messages.Order, request: x509.CertificateSigningRequest) -> None:
        """Have it make the certificate."""
        self._post(order.finalize, messages.CertificateRequest(csr=request))

    def chain(self, url: str) -> str:
        """The certificate in PEM, and after it those that lead to the CA's root."""
        return str(self._post(url).text)

    def _register(self) -> None:
        """Make the account, or find the one that the CA has for our key."""
        binding = None
        if self._settings.eab_id:
            binding = messages.ExternalAccountBinding.from_data(
                self._key.public_key(), self._settings.eab_id, self._settings.eab_key, self._directory
            )
        account = messages.NewRegistration.from_data(
            email=self._settings.mail or None, terms_of_service_agreed=True, external_account_binding=binding
        )

        def made() -> str:
            try:
                return str(self._client.new_account(account).uri)
            except errors.ConflictError as error:
                return str(error.location)

        self._net.account = None
        self._use(self._needed(made))

    def _look(self, url: str, kind: type[messages.Order | messages.Authorization]) -> Looked:
        response = self._post(url)
        try:
            body = kind.from_json(response.json())
        except (JoseError, ValueError, TypeError) as error:
            raise AuthorityOut(f"its answer can't be read: {error}"[:_LONGEST]) from error
        if body.status is None:
            raise AuthorityOut("its answer tells no status")
        return Looked(body, self._patience(response))

    def _use(self, account: str) -> None:
        self._net.account = messages.RegistrationResource(uri=account, body=messages.Registration())

    def _post(self, url: str, body: Any = None) -> requests.Response:
        """Raises OrderRefused, AuthorityOut. Where the CA has forgotten our account it is made anew, once."""
        send = self._net.post
        try:
            return self._asked(lambda: send(url, body, new_nonce_url=self._directory["newNonce"]))
        except _NoAccount:
            self._register()
        try:
            return self._asked(lambda: send(url, body, new_nonce_url=self._directory["newNonce"]))
        except _NoAccount as error:
            raise AuthorityOut(str(error)) from error

    def _needed(self, ask: Callable[[], _Result]) -> _Result:
        """What nothing can be had without, for whatever name. Raises AuthorityOut."""
        try:
            return self._asked(ask)
        except (OrderRefused, _NoAccount) as error:
            raise AuthorityOut(f"it gives us no account: {error}", getattr(error, "patience", 0.0)) from error

    def _asked(self, ask: Callable[[], _Result]) -> _Result:
        for _ in range(_NONCES):
            try:
                return ask()
            except messages.Error as error:
                if error.code != "badNonce":
                    raise self._said(error.code or "", said(error)) from error
            except errors.ClientError as error:  # the answer isn't ACME's
                raise self._said("", f"{type(error).__name__}: {error}"[:_LONGEST]) from error
            except (errors.Error, JoseError, requests.RequestException, ValueError, KeyError) as error:
                raise AuthorityOut(f"{type(error).__name__}: {error}"[:_LONGEST]) from error
        raise AuthorityOut(f"it has refused {_NONCES} nonces of its own")

    def _said(self, code: str, text: str) -> Exception:
        """What an error that the CA has answered with means."""
        status = self._last.status_code if self._last is not None else 0
        patience = self._patience(self._last, 0.0) if self._last is not None else 0.0
        if code == "accountDoesNotExist":
            return _NoAccount(text)
        if code == "rateLimited" or status == 429:
            return RateLimited(text, patience)
        if code == "serverInternal" or not 400 <= status < 500:
            return AuthorityOut(text, patience)
        return OrderRefused(text, patience)

    def _patience(self, response: requests.Response, otherwise: float = _ANSWERED) -> float:
        """Retry-After in seconds (RFC 9110 §10.2.3): a number, or a date in GMT."""
        text = response.headers.get("Retry-After", "").strip()
        if text.isdecimal():
            return float(text)
        try:
            when = parsedate_to_datetime(text)
        except ValueError:
            return otherwise
        return max(0.0, when.replace(tzinfo=when.tzinfo or datetime.UTC).timestamp() - self._clock())

    def _note(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self._last = response


class RateLimited(OrderRefused):
    """As OrderRefused, since there were too many (RFC 8555 §6.6)."""


class _NoAccount(Exception):
    """The CA doesn't know our account (any more)."""


def said(error: messages.Error) -> str:
    """A problem document in words; exceptions of the library may have none."""
    parts = [str(error.code or error.typ), str(error.detail or "")]
    parts += [said(one) for one in error.subproblems or ()]
    return ": ".join(part for part in parts if part)[:_LONGEST]


def new_key() -> str:
    """A P-256 key, PKCS #8 in PEM."""
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem.decode()


def signing_request(key: str, name: str) -> x509.CertificateSigningRequest:
    """For ``name`` alone, where clients look for it (RFC 6125): the subject's own has no room for long ones."""
    loaded = serialization.load_pem_private_key(key.encode(), None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    names = x509.SubjectAlternativeName([x509.DNSName(name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(names, critical=False)
    return builder.sign(loaded, hashes.SHA256())
