"""Which names should have a certificate."""

from __future__ import annotations

from lambdas.repositories.directory import Directory


def wanted(directory: Directory) -> dict[str, str]:
    """The edges' names, each with "", and all domains and aliases with whose they are: phones check the name that they
    were given (RFC 5922)."""
    names, _, owners = directory.domains()
    edges = {item.name: "" for item in directory.all("edge-places") if item.name}
    return edges | {name: owners[canonical] for name, canonical in names.items()}
