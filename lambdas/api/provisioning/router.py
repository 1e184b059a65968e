"""The routes of the provisioning API."""

from __future__ import annotations

from fastapi import APIRouter

from lambdas.api.problems import responses
from lambdas.api.provisioning import (
    accounts,
    attempts,
    bans,
    bulk,
    calls,
    certificates,
    domains,
    edges,
    events,
    hooks,
    keys,
    members,
    plans,
    providers,
    public_networks,
    push,
    signup,
    store,
    tenants,
)

router = APIRouter(prefix="/v1", responses=responses(400, 401, 413, 415, 422, 429, 503))
for module in (
    tenants, members, domains, certificates, bulk, accounts, providers, plans, store, edges, bans, public_networks,
    attempts, keys, calls, events, hooks, push, signup,
):  # fmt: skip
    router.include_router(module.router)
router.include_router(members.login)
