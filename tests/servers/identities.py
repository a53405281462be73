"""Users of a running SeaweedFS that may do what one policy says, made by its IAM API as Amazon's would be."""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.servers.s3 import S3Server


@contextlib.contextmanager
def user(server: S3Server, policy: Mapping[str, Any]) -> Iterator[S3Server]:
    """The same server, with the keys of a new user who has `policy` and nothing else."""
    name = f"user-{secrets.token_hex(6)}"
    _ask(server, Action="CreateUser", UserName=name)
    keys = _ask(server, Action="CreateAccessKey", UserName=name)
    access_key, secret_key = (keys.findtext(f".//{{*}}{field}", "") for field in ("AccessKeyId", "SecretAccessKey"))
    # A managed policy: an inline one knows fewer actions there.
    made = _ask(server, Action="CreatePolicy", PolicyName=name, PolicyDocument=json.dumps(policy))
    arn = made.findtext(".//{*}Arn", "")
    _ask(server, Action="AttachUserPolicy", UserName=name, PolicyArn=arn)
    try:
        yield replace(server, access_key=access_key, secret_key=secret_key)
    finally:
        _ask(server, Action="DetachUserPolicy", UserName=name, PolicyArn=arn)
        _ask(server, Action="DeletePolicy", PolicyArn=arn)
        _ask(server, Action="DeleteAccessKey", UserName=name, AccessKeyId=access_key)
        _ask(server, Action="DeleteUser", UserName=name)


def _ask(server: S3Server, **form: str) -> ElementTree.Element:
    """One call of the IAM API, signed by botocore."""
    body = urlencode({**form, "Version": "2010-05-08"})
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    request = AWSRequest("POST", f"{server.endpoint_url}/", data=body, headers=headers)
    SigV4Auth(Credentials(server.access_key, server.secret_key), "iam", "us-east-1").add_auth(request)
    connection = http.client.HTTPConnection(server.endpoint_url.removeprefix("http://"), timeout=10)
    with contextlib.closing(connection):
        connection.request("POST", "/", body=body, headers=dict(request.headers))
        reply = connection.getresponse()
        text = reply.read()
    assert reply.status == 200, f"{form['Action']}: {reply.status} {text[:500]!r}"
    return ElementTree.fromstring(text)
