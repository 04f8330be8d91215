"""What stock Spring Security OAuth checks before it looks at a password, in its order and its words."""

from collections.abc import Mapping

from ._answers import BASIC, NO_STORE, Answer
from ._asked import Asked
from ._tokens import SCOPE

_UNAUTHORIZED = (401, "invalid_client", "Unauthorized grant type")
_GRANTS: Mapping[str, tuple[int, str, str]] = {
    "": (400, "invalid_request", "Missing grant type"),
    "implicit": (400, "invalid_grant", "Implicit grant type not supported from token endpoint"),
    "client_credentials": _UNAUTHORIZED,
    "authorization_code": _UNAUTHORIZED,
}


class Refused(Exception):
    """A request is refused, with this answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


def refused(status: int, error: str, description: str, **more: object) -> Refused:
    """The refusal as Spring's OAuth JSON: a 401 brings a challenge, and a 400 ends the connection."""
    challenge = {"WWW-Authenticate": f'Bearer error="{error}", error_description="{description}"'}
    headers = {400: {"Connection": "close"}, 401: challenge}.get(status, {})
    body = {"error": error, "error_description": description, **more}
    return Refused(Answer(status, body, {**NO_STORE, **headers}))


def check_client(asked: Asked, pair: tuple[str, str]) -> None:
    """Refuse another Basic pair than this one, before anything else is read."""
    if (found := asked.basic()) != pair:
        raise Refused(Answer.page(401, found if isinstance(found, str) else "Bad credentials", BASIC))
    if asked.method in ("GET", "HEAD"):
        raise refused(405, "method_not_allowed", f"Request method '{asked.method}' not supported")
    if asked.method != "POST":
        message = f"Request method &#39;{asked.method}&#39; not supported"
        raise Refused(Answer.page(405, message, {"Allow": "GET, POST"}))


def scope_of(form: Mapping[str, str], client: str) -> str:
    """The scope that a well-formed request asks for; refuse any other request."""
    if form.get("client_id", client) != client:
        raise refused(401, "invalid_client", "Given client ID does not match authenticated client")
    scope = form.get("scope", "").strip() or SCOPE
    if not set(scope.split()) <= set(SCOPE.split()):
        raise refused(400, "invalid_scope", "Invalid scope", scope=SCOPE)
    grant_type = form.get("grant_type", "").strip()
    if grant_type in _GRANTS:
        raise refused(*_GRANTS[grant_type])
    if grant_type not in ("password", "refresh_token"):
        raise refused(400, "unsupported_grant_type", "Unsupported grant type")
    if grant_type == "refresh_token" and "refresh_token" not in form:
        raise refused(400, "invalid_request", "refresh_token parameter not provided")
    return scope
