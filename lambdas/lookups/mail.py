"""Mail to people, by SES."""

from __future__ import annotations

import logging
import os
from functools import cached_property
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from lambdas.lookups.errors import MailError

if TYPE_CHECKING:
    from types_boto3_sesv2 import SESV2Client


log = logging.getLogger(__name__)


class Mail:
    """``MAIL_FROM`` is the sender, an address that SES has verified; without one no mail is sent."""

    def __init__(self) -> None:
        self._sender = os.environ.get("MAIL_FROM", "")

    @property
    def available(self) -> bool:
        return bool(self._sender)

    def send(self, to: str, subject: str, text: str) -> None:
        """Plain text. Raises MailError."""
        try:
            self._ses.send_email(
                FromEmailAddress=self._sender,
                Destination={"ToAddresses": [to]},
                Content={"Simple": {"Subject": {"Data": subject}, "Body": {"Text": {"Data": text}}}},
            )
        except (ClientError, BotoCoreError) as error:
            log.error("SES takes no mail from %s: %s", self._sender, error)
            raise MailError from error

    @cached_property
    def _ses(self) -> SESV2Client:
        return boto3.client(
            "sesv2", config=Config(connect_timeout=2, read_timeout=4, retries={"total_max_attempts": 1})
        )
