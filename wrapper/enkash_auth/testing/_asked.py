"""A token request as it comes off the wire, and what a servlet container reads in it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from urllib.parse import parse_qsl, quote

_ASCII = bytes(range(128))
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Asked:
    """One request at the token endpoint."""

    method: str = "POST"
    query: bytes = field(default=b"", repr=False)
    authorization: str = field(default="", repr=False)
    content_type: str = ""
    body: bytes = field(default=b"", repr=False)

    @classmethod
    def of(cls, method: str, query: bytes, headers: Mapping[str, str], body: bytes) -> Asked:
        return cls(method, query, headers.get("authorization", ""), headers.get("content-type", ""), body)

    def form(self, charset: str) -> dict[str, str]:
        """The parameters of query and form, in which the first of a name wins; `charset` unless the media type says."""
        media_type = Message()
        media_type["Content-Type"] = self.content_type
        pairs = _pairs(self.query, "utf-8")
        if media_type.get_content_type() == _FORM:  # text/plain, if the request names none
            pairs += _pairs(self.body, str(media_type.get_param("charset", charset)))
        return dict(reversed(pairs))

    def basic(self) -> tuple[str, str] | str:
        """The Basic pair, or why there is none. Nothing is percent-decoded, as on stock Spring."""
        scheme, _, encoded = self.authorization.partition(" ")
        if scheme.lower() != "basic":
            return "Full authentication is required to access this resource"
        try:
            name, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except ValueError:
            return "Failed to decode basic authentication token"
        return (name, secret) if colon else "Invalid basic authentication token"


def _pairs(text: bytes, charset: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(quote(text, safe=_ASCII), keep_blank_values=True, encoding=charset)
    except LookupError:  # a charset that nobody knows
        return parse_qsl(quote(text, safe=_ASCII), keep_blank_values=True)
