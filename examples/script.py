"""A plain script; run it: API_URL=https://api.example python examples/script.py"""

import os
import sys

import httpx

from enkash_auth import EnkashAuth, TokenProvider, errors

API_URL = os.environ["API_URL"]


def main() -> int:
    try:
        with TokenProvider.from_env() as provider:
            auth = EnkashAuth(provider, origins=[API_URL])
            with httpx.Client(base_url=API_URL, auth=auth) as client:
                answer = client.get("/api/echo")
    except (errors.EnkashAuthError, httpx.HTTPError) as error:
        print(error, file=sys.stderr)
        return 1
    print(answer.json())
    return 0 if answer.is_success else 1


if __name__ == "__main__":
    sys.exit(main())
