"""Certificates that edges ask for, with their private keys."""

from __future__ import annotations

import logging

from lambdas.api.edges.route import edge_route
from lambdas.api.problems import Problem
from lambdas.contract import VERSION, CertificatesReply, CertificatesRequest, EdgeCertificate
from lambdas.repositories.events import StoredEvent
from lambdas.repositories.models import EdgeItem
from lambdas.repositories.vault import Unsealed
from lambdas.services.services import Services

log = logging.getLogger(__name__)


def certificates(asked: CertificatesRequest, edge: EdgeItem, services: Services) -> CertificatesReply:
    """Give an edge what it may have, and note that. It has to live: who has only its key, and sends no heartbeats, is
    told nothing, and who does send them is seen."""
    if not services.fleet.lives(edge.id, asked.boot):
        raise Problem(409, f"Edge {edge.id} hasn't been heard of since boot {asked.boot[:40]!r}.")
    if not services.quotas.certificates.take(edge.id):
        raise Problem(429, f"Edge {edge.id} asks for too many certificates; wait a minute.", {"Retry-After": "60"})
    try:
        found = services.certificates.bundles(edge, asked.names)
    except Unsealed as error:
        log.error("%s", error)
        raise Problem(503, f"Certificates can't be opened: {error}") from error
    if found:
        text = f"edge {edge.id} was given the certificates and keys of {', '.join(one.name for one in found)}"
        services.tables.events.add("", StoredEvent("audit", services.clock(), text, edge.id))
    return CertificatesReply(
        version=VERSION,
        certificates=[
            EdgeCertificate(name=one.name, version=one.version, chain=one.chain, key=one.key) for one in found
        ],
    )


ROUTE = edge_route("/edge/certificates", CertificatesRequest, certificates)
