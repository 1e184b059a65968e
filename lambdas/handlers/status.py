"""The function that makes the status page, every minute."""

import os
import time
from typing import Any

import boto3

from lambdas.api import status_page
from lambdas.repositories.certificates import CertificateTable
from lambdas.repositories.directory import Directory
from lambdas.repositories.probes import Probes
from lambdas.repositories.vault import Vault

_probes = Probes()
_certificates = CertificateTable(Directory(), Vault())
_s3 = boto3.client("s3")


def handler(_: dict[str, Any], __: object) -> None:
    """Write the page into its bucket."""
    state = status_page.refresh(_probes, time.time(), _certificates.all().values())
    for name, kind, text in (
        ("index.html", "text/html; charset=utf-8", status_page.render(state)),
        ("status.json", "application/json", status_page.as_json(state)),
    ):
        _s3.put_object(
            Bucket=os.environ["STATUS_BUCKET"],
            Key=name,
            Body=text.encode(),
            ContentType=kind,
            CacheControl="public, max-age=30",
        )
