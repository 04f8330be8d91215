"""Credentials from HashiCorp Vault (KV version 2); run it: python examples/vault_source.py

VAULT_ADDR is Vault's URL, VAULT_TOKEN_FILE the file that Vault Agent keeps a token in.
"""

import os
from pathlib import Path

import httpx

from enkash_auth import Credentials, TokenProvider, errors

KEYS = ("base_url", "username", "password", "client_id", "client_secret", "basic_client_id")


def from_vault() -> Credentials:
    """Called at start-up, and again while EnKash refuses the credentials: so a rotation needs no restart."""
    token = Path(os.environ["VAULT_TOKEN_FILE"]).read_text().strip()
    url = f"{os.environ['VAULT_ADDR']}/v1/secret/data/enkash"
    answer = httpx.get(url, headers={"X-Vault-Token": token}, timeout=3)
    if answer.status_code in (403, 404):
        raise errors.ConfigurationError(f"Vault answers {answer.status_code}: check its token, its policy and the path")
    secret = answer.raise_for_status().json()["data"]["data"]
    return Credentials(**{name: secret.get(name) for name in KEYS})


if __name__ == "__main__":
    with TokenProvider(from_vault) as provider:
        print("a token that expires at", provider.token().expires_at)
