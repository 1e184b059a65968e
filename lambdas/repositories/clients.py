"""Clients of AWS's services that take no longer to make than they must: boto3 would bring its resources along."""

from __future__ import annotations

from functools import cache
from typing import Any

from botocore.config import Config
from botocore.session import Session


@cache
def session() -> Session:
    """One for all: the credentials that were found, and the models that one client has read, needn't be read again."""
    return Session()


def client(service: str, config: Config | None = None, endpoint: str | None = None, region: str | None = None) -> Any:
    """For ``service``, as boto3 makes it; the environment says where and by which credentials unless it is said
    here. Not to be made by several threads at once."""
    return session().create_client(service, config=config, endpoint_url=endpoint, region_name=region)
