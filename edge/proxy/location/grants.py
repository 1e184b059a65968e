"""Grants: what lets this edge verify an account's credentials by itself.

Theory of operation. The first REGISTER of a phone is decided by the control plane. Its acceptance brings a grant: the
account's HA1 hashes, as of a version of the account. From then on the edge answers refreshes itself, and, while the
control plane can't be reached, lets the account register and call. So a grant must not outlive what it rests on:

- the change feed names accounts that have changed, with their version: a grant of an older version goes. It may not
  have come yet (it was decided in a Region that the change hadn't reached), so revocations are remembered, and a
  grant that is older than the last one for its AOR isn't taken;
- a tenant that is suspended loses all its grants, and gets none for as long as a decision from before may be under
  way;
- where the feed has a gap, all of them go: each phone is decided once more;
- a grant that nobody has used for as long as the edge may go on in the dark is dropped.

Where many go at once they are void from that moment, by their number in the order in which grants were made; they are
taken out bit by bit (``forget_void``), so that nobody waits for that. Until then this isn't ``settled``: the disk has
some of them still.

Whether the control plane has been heard lately enough for a grant to count at all is the stack's to say
(``informed_lately``). On disk a grant is encrypted: its hashes are as good as the password.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge.proxy.location.agenda import Agenda
from lambdas.contract import HASHES, Credentials, Grant, answers

_REVOKED_LIMIT = 10_000
_LOOK = 600.0  # seconds between looks at a grant
_MD5, _ALL = 16, 48  # octets of a hash of MD5, and of both kinds
_UNDER_WAY = 10.0  # seconds in which a grant may come that was decided before a revocation


class HeldGrant:
    """``version`` is the account's, in milliseconds; ``media`` and ``site`` are as in a Grant; ``used_at`` is in the
    core's time. ``age`` is how often many had become void when it was made. In the second ``look_at`` it is looked at
    whether anybody uses it."""

    __slots__ = ("_hashes", "age", "digest", "look_at", "media", "site", "tenant", "used_at", "version")

    def __init__(self, grant: Grant, now: float, age: int, look_at: int) -> None:
        self.tenant = grant.tenant
        self.version = grant.version
        # In one piece: each by itself would take 33 octets more.
        self._hashes = bytes.fromhex(
            f"{grant.ha1_md5}{grant.ha1_sha256}{grant.ha1_md5_qualified}{grant.ha1_sha256_qualified}"
        )
        self.digest = grant.digest
        self.media = grant.media
        self.site = grant.site
        self.used_at = now
        self.age = age
        self.look_at = look_at

    def verifies(self, credentials: Credentials, method: str) -> bool:
        """Whether the credentials, whose nonce has been checked, are the account's."""
        if credentials.algorithm not in HASHES or credentials.qop not in ("", "auth"):
            return False
        if not self.takes(credentials.algorithm):
            return False
        ha1 = self._ha1(credentials.algorithm, credentials.qualified)
        return bool(ha1) and answers(credentials, method, ha1)

    def _ha1(self, algorithm: str, qualified: bool) -> str:
        """In hexadecimal; "" where there is none: both qualified ones may be missing."""
        begin = _ALL if qualified else 0
        if algorithm == "MD5":
            return self._hashes[begin : begin + _MD5].hex()
        return self._hashes[begin + _MD5 : begin + _ALL].hex()

    def takes(self, algorithm: str) -> bool:
        """Whether the account's phones may answer by it."""
        return self.digest != "sha256" or algorithm == "SHA-256"

    def as_grant(self) -> Grant:
        return Grant(
            tenant=self.tenant,
            version=self.version,
            ha1_md5=self._ha1("MD5", False),
            ha1_sha256=self._ha1("SHA-256", False),
            ha1_md5_qualified=self._ha1("MD5", True),
            ha1_sha256_qualified=self._ha1("SHA-256", True),
            digest=self.digest,
            media=self.media,
            site=self.site,
        )


class Grants:
    """By AOR. A revocation that comes before the grant that it is about (from another Region) counts as well. ``age``
    is how often many have become void."""

    def __init__(self) -> None:
        self._by_aor: dict[str, HeldGrant] = {}
        self._revoked: dict[str, int] = {}
        self._tenants: dict[str, float] = {}  # until when nothing is granted to them
        self.agenda: Agenda[str] = Agenda()
        self.age = 0
        self._void: dict[str, int] = {}  # tenant, or "" for all -> its grants that are younger are good
        self._maybe_void: list[str] = []

    def keep(self, aor: str, grant: Grant, now: float) -> None:
        if self._revoked.get(aor, -1) > grant.version or now < self._tenants.get(grant.tenant, 0.0):
            return
        before = self._by_aor.get(aor)
        look_at = before.look_at if before is not None else self.agenda.put(aor, now + _LOOK)
        self._by_aor[aor] = HeldGrant(grant, now, self.age, look_at)

    def get(self, aor: str, credentials: Credentials, method: str, now: float) -> HeldGrant | None:
        """The grant of ``aor`` if the credentials are that account's own."""
        grant = self.known(aor)
        if grant is None or f"{credentials.username}@{credentials.realm}" != aor:
            return None
        if not grant.verifies(credentials, method):
            return None
        grant.used_at = now
        return grant

    def holds(self, aor: str, grant: HeldGrant) -> bool:
        """Whether ``grant`` is good yet."""
        return self.known(aor) is grant

    def known(self, aor: str) -> HeldGrant | None:
        """The grant of ``aor``, whoever asks."""
        grant = self._by_aor.get(aor)
        return None if grant is None or (self._void and self._is_void(grant)) else grant

    def _is_void(self, grant: HeldGrant) -> bool:
        return grant.age < self._void.get(grant.tenant, 0) or grant.age < self._void.get("", 0)

    def revoke(self, aor: str, version: int) -> None:
        """The account has changed: what was granted before is void."""
        self._revoked.pop(aor, None)
        self._revoked[aor] = version
        if len(self._revoked) > _REVOKED_LIMIT:
            del self._revoked[next(iter(self._revoked))]
        grant = self._by_aor.get(aor)
        if grant is not None and grant.version < version:
            del self._by_aor[aor]

    def revoke_tenant(self, tenant: str, now: float) -> None:
        """All of its grants are void."""
        self._tenants = {name: until for name, until in self._tenants.items() if until > now}
        self._tenants[tenant] = now + _UNDER_WAY
        self._make_void(tenant)

    def void_all(self) -> None:
        self._make_void("")

    def _make_void(self, whose: str) -> None:
        self.age += 1
        self._void[whose] = self.age
        self._maybe_void = list(self._by_aor)

    def forget_void(self, most: int, gone: set[str]) -> bool:
        """Look at ``most`` grants that may be void, and add to ``gone`` whose were; whether more are to be looked
        at."""
        for _ in range(min(most, len(self._maybe_void))):
            aor = self._maybe_void.pop()
            grant = self._by_aor.get(aor)
            if grant is not None and self._is_void(grant):
                del self._by_aor[aor]
                gone.add(aor)
        if not self._maybe_void:
            self._void.clear()
        return bool(self._maybe_void)

    @property
    def settled(self) -> bool:
        """Whether all that are void have been named (``forget_void``)."""
        return not self._void

    def unused_since(self, then: float, now: float, most: int) -> Iterator[str]:
        """Look at up to ``most`` grants whose turn it is; drop those that nobody has used since ``then``, and name
        them."""
        for second, aor in self.agenda.due(now, most):
            grant = self._by_aor.get(aor)
            if grant is None or grant.look_at != second:
                continue
            if grant.used_at < then:
                del self._by_aor[aor]
                yield aor
            else:
                grant.look_at = self.agenda.put(aor, now + _LOOK)

    def __len__(self) -> int:
        return len(self._by_aor)
