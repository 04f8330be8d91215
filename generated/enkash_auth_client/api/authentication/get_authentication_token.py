from http import HTTPStatus
from typing import Any, cast

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.o_auth_error import OAuthError
from ...models.snake_token_response import SnakeTokenResponse
from ...models.token_request import TokenRequest
from ...models.token_response import TokenResponse
from ...types import Response


def _get_kwargs(
    *,
    body: TokenRequest,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/oauth/token",
    }

    _kwargs["data"] = body.to_dict()
    headers["Content-Type"] = "application/x-www-form-urlencoded"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Any | OAuthError | SnakeTokenResponse | TokenResponse | None:
    if response.status_code == 200:

        def _parse_response_200(data: object) -> SnakeTokenResponse | TokenResponse:
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                response_200_type_0 = SnakeTokenResponse.from_dict(data)

                return response_200_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            if not isinstance(data, dict):
                raise TypeError()
            response_200_type_1 = TokenResponse.from_dict(data)

            return response_200_type_1

        response_200 = _parse_response_200(response.json())

        return response_200

    if response.status_code == 400:
        response_400 = OAuthError.from_dict(response.json())

        return response_400

    if response.status_code == 401:
        response_401 = OAuthError.from_dict(response.json())

        return response_401

    if response.status_code == 429:
        response_429 = cast(Any, None)
        return response_429

    if response.status_code == 500:
        response_500 = OAuthError.from_dict(response.json())

        return response_500

    if client.raise_on_unexpected_status:
        raise errors.UnexpectedStatus(response.status_code, response.content)
    else:
        return None


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[Any | OAuthError | SnakeTokenResponse | TokenResponse]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient | Client,
    body: TokenRequest,
) -> Response[Any | OAuthError | SnakeTokenResponse | TokenResponse]:
    """Get Authentication Token

     documented (api-8990264). Encryption and decryption is not needed for this call. The token is sent
    on later
    calls as `Authorization: Bearer …`.

    documented (api-24480514, api-9796904). After 3 consecutive failed attempts the account is locked.
    How it is
    unlocked is unknown.

    observed on stock Spring. A password grant answers with the same access token, with a shrinking
    life, until that
    token has expired. GET, PUT and HEAD answer 405; without a Basic pair all methods answer 401.

    Args:
        body (TokenRequest): documented (api-8990264). The form of a password grant.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Any | OAuthError | SnakeTokenResponse | TokenResponse]
    """

    kwargs = _get_kwargs(
        body=body,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient | Client,
    body: TokenRequest,
) -> Any | OAuthError | SnakeTokenResponse | TokenResponse | None:
    """Get Authentication Token

     documented (api-8990264). Encryption and decryption is not needed for this call. The token is sent
    on later
    calls as `Authorization: Bearer …`.

    documented (api-24480514, api-9796904). After 3 consecutive failed attempts the account is locked.
    How it is
    unlocked is unknown.

    observed on stock Spring. A password grant answers with the same access token, with a shrinking
    life, until that
    token has expired. GET, PUT and HEAD answer 405; without a Basic pair all methods answer 401.

    Args:
        body (TokenRequest): documented (api-8990264). The form of a password grant.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Any | OAuthError | SnakeTokenResponse | TokenResponse
    """

    return sync_detailed(
        client=client,
        body=body,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient | Client,
    body: TokenRequest,
) -> Response[Any | OAuthError | SnakeTokenResponse | TokenResponse]:
    """Get Authentication Token

     documented (api-8990264). Encryption and decryption is not needed for this call. The token is sent
    on later
    calls as `Authorization: Bearer …`.

    documented (api-24480514, api-9796904). After 3 consecutive failed attempts the account is locked.
    How it is
    unlocked is unknown.

    observed on stock Spring. A password grant answers with the same access token, with a shrinking
    life, until that
    token has expired. GET, PUT and HEAD answer 405; without a Basic pair all methods answer 401.

    Args:
        body (TokenRequest): documented (api-8990264). The form of a password grant.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Any | OAuthError | SnakeTokenResponse | TokenResponse]
    """

    kwargs = _get_kwargs(
        body=body,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient | Client,
    body: TokenRequest,
) -> Any | OAuthError | SnakeTokenResponse | TokenResponse | None:
    """Get Authentication Token

     documented (api-8990264). Encryption and decryption is not needed for this call. The token is sent
    on later
    calls as `Authorization: Bearer …`.

    documented (api-24480514, api-9796904). After 3 consecutive failed attempts the account is locked.
    How it is
    unlocked is unknown.

    observed on stock Spring. A password grant answers with the same access token, with a shrinking
    life, until that
    token has expired. GET, PUT and HEAD answer 405; without a Basic pair all methods answer 401.

    Args:
        body (TokenRequest): documented (api-8990264). The form of a password grant.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Any | OAuthError | SnakeTokenResponse | TokenResponse
    """

    return (
        await asyncio_detailed(
            client=client,
            body=body,
        )
    ).parsed
