"""AWS Signature Version 4 for Function URLs with AWS_IAM, with whatever credentials botocore finds on the machine."""

from __future__ import annotations

from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.session import Session


class Sigv4:
    """Signs requests. The Region is read from the host, ``ID.lambda-url.REGION.on.aws``."""

    def __init__(self) -> None:
        credentials = Session().get_credentials()
        if credentials is None:
            raise ValueError("control_auth: aws_iam needs AWS credentials: an instance role, or an access key")
        self._credentials = credentials

    def sign(self, url: str, headers: dict[str, str], body: bytes) -> dict[str, str]:
        """``headers`` and those that prove who calls."""
        request = AWSRequest(method="POST", url=url, data=body, headers=headers)
        region = (urlsplit(url).hostname or "").split(".")[2:3] or ["us-east-1"]
        SigV4Auth(self._credentials.get_frozen_credentials(), "lambda", region[0]).add_auth(request)
        return dict(request.headers.items())
