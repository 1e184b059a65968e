"""Which names should have a certificate."""

from __future__ import annotations

from lambdas.repositories.directory import Directory


def wanted(directory: Directory) -> dict[str, str]:
    """All domains and aliases with whose they are, and the edges' names, each with "": phones check the name that they
    were given (RFC 5922). What is both is an edge's, and no other edge's business."""
    names, _, owners = directory.domains()
    edges = {item.name: "" for item in directory.all("edge-places") if item.name}
    return {name: owners[canonical] for name, canonical in names.items()} | edges
