from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="TokenRequest")


@_attrs_define
class TokenRequest:
    """documented (api-8990264). The form of a password grant.

    Attributes:
        username (str): documented (api-8990264). The registered e-mail address; in some products a mobile number.
        password (str): documented (api-8990264).
        grant_type (str): documented (api-8990264). The Wallet's page (api-19199701) also names client_credentials,
            which this client never sends. Default: 'password'.
        client_id (str): documented (api-8990264). The company id. Stock Spring was observed to ignore it.
    """

    username: str
    password: str
    client_id: str
    grant_type: str = "password"
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        username = self.username

        password = self.password

        grant_type = self.grant_type

        client_id = self.client_id

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "username": username,
                "password": password,
                "grant_type": grant_type,
                "clientId": client_id,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        username = d.pop("username")

        password = d.pop("password")

        grant_type = d.pop("grant_type")

        client_id = d.pop("clientId")

        token_request = cls(
            username=username,
            password=password,
            grant_type=grant_type,
            client_id=client_id,
        )

        token_request.additional_properties = d
        return token_request

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
