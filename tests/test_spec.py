"""Every example in the spec goes through the generated models and comes out as it went in."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from httpx import MockTransport, Response

from enkash_auth_client.api.authentication import get_authentication_token
from enkash_auth_client.client import Client
from enkash_auth_client.models import SnakeTokenResponse, TokenRequest, TokenResponse

PATH = Path(__file__).parents[1] / "spec" / "enkash-auth.yaml"
DOCUMENT: dict[str, Any] = yaml.safe_load(PATH.read_text(encoding="utf-8"))
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
OPERATION: dict[str, Any] = DOCUMENT["paths"]["/oauth/token"]["post"]


def _examples() -> Iterator[Any]:
    """Each example, and the schemas one of which it is of."""
    for name, schema in SCHEMAS.items():
        fields = {field: property_["examples"][0] for field, property_ in schema["properties"].items()}
        own = [schema["example"]] if "example" in schema else schema.get("examples", [])
        for number, example in enumerate([fields, *own]):
            yield pytest.param([name], example, id=f"{name}-{number}")
    for where, holder in [("request", OPERATION["requestBody"]), *OPERATION["responses"].items()]:
        for kind, media_type in holder.get("content", {}).items():
            if kind != "text/html":
                schema = media_type["schema"]
                names = [part["$ref"].rpartition("/")[2] for part in schema.get("anyOf", [schema])]
                for title, example in media_type["examples"].items():
                    yield pytest.param(names, example["value"], id=f"{where}-{title}")


@pytest.mark.parametrize(("names", "example"), list(_examples()))
def test_an_example_survives_the_one_model_that_knows_its_fields(names: list[str], example: dict[str, Any]) -> None:
    (name,) = [name for name in names if example.keys() <= SCHEMAS[name]["properties"].keys()]
    parsed = getattr(importlib.import_module("enkash_auth_client.models"), name).from_dict(example)
    assert (parsed.to_dict(), parsed.additional_properties) == (example, {})


@pytest.mark.parametrize(
    ("title", "model"), [("page", TokenResponse), ("camel", TokenResponse), ("snake", SnakeTokenResponse)]
)
def test_the_answer_parser_tells_the_two_shapes_apart(title: str, model: type[Any]) -> None:
    answer = OPERATION["responses"]["200"]["content"]["application/json"]["examples"][title]["value"]
    transport = MockTransport(lambda _: Response(200, json=answer))
    client = Client(base_url="https://token.invalid", httpx_args={"transport": transport})
    body = TokenRequest(username="u", password="p", client_id="i")
    parsed = get_authentication_token.sync_detailed(client=client, body=body).parsed
    assert isinstance(parsed, model) and parsed.to_dict() == answer


def _described(node: Any, path: str = "") -> Iterator[Any]:
    if isinstance(node, dict):
        if isinstance(node.get("description"), str) and path != "/info":
            yield pytest.param(node["description"], id=path or "document")
        for key, value in node.items():
            yield from _described(value, f"{path}/{key}")


@pytest.mark.parametrize("description", list(_described(DOCUMENT)))
def test_each_description_says_how_it_is_known(description: str) -> None:
    for part in description.split("\n\n"):
        assert re.match(r"(documented|inferred|unknown|observed on (stock Spring|[\w-]+(\.[\w-]+)+))\b", part)
        if part.startswith("documented") and "two shapes" not in part:
            assert re.match(r"documented \((api|folder)-\d+(, (api|folder)-\d+)*\)", part)


def test_a_mock_server_answers_with_a_living_token() -> None:
    # Prism takes a response's first example unless its schema has its own; Mockoon takes `example` of the first schema.
    first, *_ = OPERATION["responses"]["200"]["content"]["application/json"]["examples"].values()
    assert first["value"]["expires_in"] > 60
    assert first["value"] == SCHEMAS["SnakeTokenResponse"]["example"]
    assert not {"example", "examples"} & SCHEMAS["OAuthError"].keys(), "would win over the examples of each status"


def test_the_documentation_tools_placeholder_is_no_server() -> None:
    servers = [server["url"] for server in DOCUMENT["servers"]]
    assert servers == ["https://ekpayout-uat.enkash.in", "https://api.enkash.in"]
