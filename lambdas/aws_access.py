"""Where AWS is for commands that people run: the Region found as AWS's own tools find it, and faults in a sentence."""

from __future__ import annotations

import os

from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.session import Session


class NoRegion(Exception):
    """None is set anywhere."""


def take_region(otherwise: str = "") -> str:
    """Have everything in this process go by one Region: AWS_REGION, AWS_DEFAULT_REGION, that of the profile, or
    ``otherwise``. Libraries differ in which of them they read. Raises NoRegion."""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or _of_profile() or otherwise
    if not region:
        raise NoRegion("no Region is set: put it into AWS_REGION, or run aws configure set region REGION")
    os.environ |= {"AWS_REGION": region, "AWS_DEFAULT_REGION": region}
    return region


def _of_profile() -> str:
    try:
        return Session().get_config_variable("region") or ""
    except ProfileNotFound:
        return ""


def in_words(error: Exception) -> str:
    """What is wrong, and what to do; "" for what isn't AWS's fault."""
    causes: list[BaseException] = [error]
    for one in causes:
        for other in (getattr(one, "cause", None), one.__cause__, one.__context__):
            if isinstance(other, BaseException) and other not in causes:
                causes.append(other)
        match one:
            case NoCredentialsError() | PartialCredentialsError() | ProfileNotFound():
                return f"{one}: run aws configure, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            case EndpointConnectionError():
                return f"{one}; is there a network, and is AWS_ENDPOINT_URL meant?"
            case ClientError() if one.response.get("Error", {}).get("Code") == "ResourceNotFoundException":
                table = f"{os.environ.get('TABLE_PREFIX', 'sipwizard')}-…"
                where = os.environ.get("AWS_REGION", "this Region")
                return f"there is no table {table} in {where}: deploy the stack, or set its TABLE_PREFIX and AWS_REGION"
            case ClientError():
                return str(one)
    return ""
