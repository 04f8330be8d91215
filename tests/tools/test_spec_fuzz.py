"""The sandbox answers as the spec says, whatever is asked."""

from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings

from enkash_auth.testing import Sandbox

SPEC = Path(__file__).parents[2] / "spec" / "enkash-auth.yaml"


def against_the_spec() -> Any:
    sandbox = Sandbox(lock_after=10**9)
    config = schemathesis.Config.from_dict(
        {
            "auth": {"basic": {"username": sandbox.basic_client_id, "password": sandbox.client_secret}},
            "checks": {
                # Well-formed but wrong credentials are rightly answered with 400 invalid_grant.
                "positive_data_acceptance": {"expected-statuses": ["2xx", 400, 401]},
                # As recorded, stock Spring answers GET with 405 and no `Allow`, and PUT with one that names GET.
                "unsupported_method": {"enabled": False},
                "allow_header_conformance": {"enabled": False},
            },
        }
    )
    schema = schemathesis.openapi.from_path(SPEC, config=config)
    schema.app = sandbox.app
    return schema


@against_the_spec().parametrize()
@settings(max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_schemathesis_finds_nothing(case: Any) -> None:
    case.call_and_validate()
