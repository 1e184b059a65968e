"""Checking a Digest response (RFC 7616 §3.4.1) against stored HA1 values."""

from __future__ import annotations

from lambdas.contract import HASHES, Challenge, Credentials, Reject, answers
from lambdas.decisions.values import StoredAccount

WRONG = Reject(status=403, reason="Forbidden: wrong user name or password")
_NOBODY = StoredAccount(aor="", tenant="", ha1_md5="0" * 32, ha1_sha256="0" * 64)


def ha1(algorithm: str, username: str, realm: str, password: str) -> str:
    """A hash that is stored instead of the password. ``algorithm`` is MD5 or SHA-256, ``username`` as the phone has
    it."""
    return HASHES[algorithm](f"{username}:{realm}:{password}".encode()).hexdigest()


def hashes(aor: str, password: str) -> dict[str, str]:
    """All that are kept of a password, by the names that StoredAccount has for them."""
    username, _, realm = aor.rpartition("@")
    return {
        "ha1_md5": ha1("MD5", username, realm, password),
        "ha1_sha256": ha1("SHA-256", username, realm, password),
        "ha1_md5_qualified": ha1("MD5", aor, realm, password),
        "ha1_sha256_qualified": ha1("SHA-256", aor, realm, password),
    }


def verify(credentials: Credentials, method: str, account: StoredAccount | None) -> bool:
    """Whether ``credentials``, which must be ``checkable``, answer their nonce for ``account``.

    Takes as long where there is no such account.
    """
    stored = account or _NOBODY
    if credentials.qualified:
        secret = stored.ha1_md5_qualified if credentials.algorithm == "MD5" else stored.ha1_sha256_qualified
    else:
        secret = stored.ha1_md5 if credentials.algorithm == "MD5" else stored.ha1_sha256
    matches = answers(credentials, method, secret)
    return matches and bool(secret) and account is not None


def checkable(credentials: Credentials) -> bool:
    """Whether they use an algorithm and a quality of protection that we know."""
    return credentials.algorithm in HASHES and credentials.qop in ("", "auth")


def refuse(
    credentials: Credentials, method: str, account: StoredAccount | None, aor: str, emergency: bool = False
) -> Challenge | Reject | None:
    """Why ``account``, which ``credentials`` name, may not act as ``aor``; None if it may. In an ``emergency`` it needs
    to be right only, not in good standing."""
    if not checkable(credentials):
        return Challenge()
    if not verify(credentials, method, account) or account is None:
        return WRONG
    if account.digest == "sha256" and credentials.algorithm != "SHA-256":
        return Challenge(algorithms=["SHA-256"])
    barred = None if emergency else bar(account)
    if barred is not None:
        return barred
    if account.aor != aor:
        return Reject(status=403, reason="Forbidden: the credentials are another account's")
    return None


def bar(account: StoredAccount) -> Reject | None:
    """Why ``account`` may do nothing; None if it may."""
    if account.suspended:
        return Reject(status=403, reason="Forbidden: suspended; ask whoever runs the service")
    if not account.enabled:
        return Reject(status=403, reason="Forbidden: the account is disabled")
    return None
