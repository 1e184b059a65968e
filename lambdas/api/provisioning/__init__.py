"""The provisioning API under /v1, one module for each kind of thing."""

from fastapi import APIRouter

from lambdas.api.problems import responses
from lambdas.api.provisioning import (
    accounts,
    attempts,
    bans,
    bulk,
    calls,
    domains,
    edges,
    events,
    hooks,
    keys,
    plans,
    providers,
    store,
    tenants,
)

router = APIRouter(prefix="/v1", responses=responses(400, 401, 422))
for module in (
    tenants,
    domains,
    bulk,
    accounts,
    providers,
    plans,
    store,
    edges,
    bans,
    attempts,
    keys,
    calls,
    events,
    hooks,
):
    router.include_router(module.router)
