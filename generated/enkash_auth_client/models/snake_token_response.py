from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

T = TypeVar("T", bound="SnakeTokenResponse")


@_attrs_define
class SnakeTokenResponse:
    """documented (api-24480514, api-21984747). The shape on every page that shows realistic values. That access_token is
    always there is inferred.

        Example:
            {'access_token': 'example-access-token-000001', 'token_type': 'bearer', 'refresh_token': 'example-refresh-
                token-00001', 'expires_in': 86399, 'scope': 'read write trust'}

        Attributes:
            access_token (str): documented (api-24480514, api-21984747). That a token is RFC 6750's b64token is inferred: 27
                characters of base64url, in older versions of Spring 28 of plain base64 or a UUID.
            token_type (str | Unset): documented (api-24480514, api-21984747).
            refresh_token (str | Unset): documented (api-24480514, api-21984747). No page documents a grant that takes it.
            expires_in (int | Unset): documented (api-24480514, api-21984747). Page api-24480514 also says that tokens are
                valid for 5 minutes. Observed on stock Spring: the remaining life in whole seconds, cut, so that a fresh life of
                86400 reads 86399; 0 in the last second; absent from a token that never expires.
            scope (str | Unset): documented (api-24480514, api-21984747).
    """

    access_token: str
    token_type: str | Unset = UNSET
    refresh_token: str | Unset = UNSET
    expires_in: int | Unset = UNSET
    scope: str | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        access_token = self.access_token

        token_type = self.token_type

        refresh_token = self.refresh_token

        expires_in = self.expires_in

        scope = self.scope

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "access_token": access_token,
            }
        )
        if token_type is not UNSET:
            field_dict["token_type"] = token_type
        if refresh_token is not UNSET:
            field_dict["refresh_token"] = refresh_token
        if expires_in is not UNSET:
            field_dict["expires_in"] = expires_in
        if scope is not UNSET:
            field_dict["scope"] = scope

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        access_token = d.pop("access_token")

        token_type = d.pop("token_type", UNSET)

        refresh_token = d.pop("refresh_token", UNSET)

        expires_in = d.pop("expires_in", UNSET)

        scope = d.pop("scope", UNSET)

        snake_token_response = cls(
            access_token=access_token,
            token_type=token_type,
            refresh_token=refresh_token,
            expires_in=expires_in,
            scope=scope,
        )

        snake_token_response.additional_properties = d
        return snake_token_response

    @property
    def additional_keys(self) -> list[str]:
        return list(self.additional_properties.keys())

    def __getitem__(self, key: str) -> Any:
        return self.additional_properties[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.additional_properties[key] = value

    def __delitem__(self, key: str) -> None:
        del self.additional_properties[key]

    def __contains__(self, key: str) -> bool:
        return key in self.additional_properties
