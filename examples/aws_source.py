"""Credentials from AWS Secrets Manager; run it: AWS_REGION=ap-south-1 python examples/aws_source.py"""

import json
import os

from botocore.config import Config
from botocore.session import get_session

from enkash_auth import Credentials, TokenProvider

# boto3.client("secretsmanager", ...) is the same client
client = get_session().create_client(
    "secretsmanager",
    region_name=os.environ["AWS_REGION"],
    config=Config(connect_timeout=2, read_timeout=3, retries={"total_max_attempts": 2}),
)


def from_aws() -> Credentials:
    """Called at start-up, and again while EnKash refuses the credentials: so a rotation needs no restart."""
    secret = client.get_secret_value(SecretId="enkash")["SecretString"]
    return Credentials(**json.loads(secret))


if __name__ == "__main__":
    with TokenProvider(from_aws) as provider:
        print("a token that expires at", provider.token().expires_at)
