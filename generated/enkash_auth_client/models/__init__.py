"""Contains all the data models used in inputs/outputs"""

from .o_auth_error import OAuthError
from .snake_token_response import SnakeTokenResponse
from .token_request import TokenRequest
from .token_response import TokenResponse

__all__ = (
    "OAuthError",
    "SnakeTokenResponse",
    "TokenRequest",
    "TokenResponse",
)
