"""How what the core wants kept stands on the edge's disk, as JSON. Edges of other versions read it too: fields may be
added with a default, and none changes its meaning."""

from __future__ import annotations

from edge.providers.host import AccountKept
from edge.proxy.location.bindings import ContactParams
from edge.proxy.stack.records import AccountRecord, BindingRecord, KeptRoute, RouteKey
from edge.sip.flow import Flow
from lambdas.contract import Grant, ProviderAccount, Push, Route, Wire, WireFlow


class _Binding(Wire):
    contact: str
    flow: WireFlow
    durable: float
    call_id: str
    tenant: str
    extras: tuple[int, str, int]
    path: tuple[str, ...] = ()
    key: str = ""
    push: Push | None = None


class _Account(Wire):
    grant: Grant | None
    bindings: list[_Binding]
    at: float


class _Route(Wire):
    route: Route
    until: float


class _ProviderAccount(Wire):
    """``hashes`` are (realm, algorithm, HA1)."""

    account: ProviderAccount
    address: str
    epoch: int
    hashes: list[tuple[str, str, str]]


def write_account(record: AccountRecord | None) -> bytes:
    """b"" for one that isn't kept any more."""
    if record is None:
        return b""
    bindings = [
        _Binding(
            contact=kept.contact,
            flow=kept.flow.wire,
            durable=kept.durable,
            call_id=kept.call_id,
            tenant=kept.tenant,
            extras=tuple(kept.params),
            path=kept.path,
            key=kept.key,
            push=kept.push,
        )
        for kept in record.bindings
    ]
    return _Account(grant=record.grant, bindings=bindings, at=record.at).model_dump_json(exclude_defaults=True).encode()


def read_account(data: bytes) -> AccountRecord:
    """Raises ValueError for what no version of ours wrote."""
    account = _Account.model_validate_json(data)
    if account.grant is None:
        raise ValueError("a record without a grant")
    bindings = [
        BindingRecord(
            kept.contact,
            Flow(*kept.flow),
            kept.durable,
            kept.call_id,
            kept.tenant,
            ContactParams(*kept.extras),
            kept.path,
            kept.key,
            kept.push,
        )
        for kept in account.bindings
    ]
    return AccountRecord(account.grant, bindings, account.at)


def write_route(kept: KeptRoute | None) -> bytes:
    """b"" for one that isn't kept any more."""
    return b"" if kept is None else _Route(route=kept.route, until=kept.until).model_dump_json().encode()


def read_route(data: bytes) -> KeptRoute:
    """Raises ValueError for what no version of ours wrote."""
    kept = _Route.model_validate_json(data)
    return KeptRoute(kept.route, kept.until)


def write_provider(kept: AccountKept | None) -> bytes:
    """b"" for one that isn't kept any more."""
    if kept is None:
        return b""
    hashes = [(realm, algorithm, ha1) for (realm, algorithm), ha1 in kept.hashes.items()]
    record = _ProviderAccount(account=kept.account, address=kept.address, epoch=kept.epoch, hashes=hashes)
    return record.model_dump_json().encode()


def read_provider(data: bytes) -> AccountKept:
    """Raises ValueError for what no version of ours wrote."""
    kept = _ProviderAccount.model_validate_json(data)
    hashes = {(realm, algorithm): ha1 for realm, algorithm, ha1 in kept.hashes}
    return AccountKept(kept.account, kept.address, kept.epoch, hashes)


def route_name(key: RouteKey) -> str:
    return " ".join(key)


def route_key(name: str) -> RouteKey:
    """What ``route_name`` made a name of. A blank within is taken for the called side's: the owner has none."""
    owner, _, rest = name.partition(" ")
    called, _, caller = rest.rpartition(" ")
    return RouteKey(owner, called, caller)
