"""One package index: where it takes uploads, what it holds of this package, and what it says when it refuses."""

import base64
import contextlib
import hashlib
import html
import logging
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import requests
import truststore
from pypi_simple import ACCEPT_ANY, DistributionPackage, ProjectPage, UnsupportedContentTypeError
from twine.package import PackageFile
from twine.repository import Repository

NAME = "enkash-auth"
APPEARS_WITHIN = 60  # seconds; some indexes list an upload only after a while
CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "TWINE_CERT", "PIP_CERT")
ENVIRONMENT = os.environ  # noqa: TID251  (a build step, not the library)
Login = tuple[str, str]


class Refused(Exception):
    """What an index said, and what to do."""


class Shape(NamedTuple):
    """How one kind of index spells its URLs, as in docs/release.md; the groups of `like` fill the others."""

    kind: str
    like: str
    upload: str
    user: str = ""
    simple: str = ""  # if not below that for uploads


_GROUP = "{0}/groups/{1}/-/packages/pypi/simple/"  # which lists what its projects take
SHAPES = (
    Shape("GitLab", r"(.+/api/v4)/projects/([^/]+)(/.*)?", "{0}/projects/{1}/packages/pypi"),
    Shape("GitLab", r"(.+/api/v4)/groups/([^/]+)(/.*)?", "{0}/projects/ID/packages/pypi", simple=_GROUP),
    Shape("Gitea", r"(.+/api/packages/[^/]+)(/.*)?", "{0}/pypi"),
    Shape("Artifactory", r"(.+)/api/pypi/([^/]+)(/.*)?", "{0}/api/pypi/{1}"),
    Shape("Artifactory", r"(.+/artifactory)/([^/]+)(/.*)?", "{0}/api/pypi/{1}"),
    Shape("Azure", r"(.+/_packaging/[^/]+)(/.*)?", "{0}/pypi/upload/", "VssSessionToken", "{0}/pypi/simple/"),
    Shape("CodeArtifact", r"(.+\.codeartifact\.[^/]+/pypi/[^/]+)(/.*)?", "{0}/", "aws"),
    Shape("Google", r"(.+-python\.pkg\.dev/[^/]+/[^/]+)(/.*)?", "{0}/", "oauth2accesstoken"),
    Shape("Nexus", r"(.+/repository/[^/]+)(/.*)?", "{0}/"),
    Shape("", r"(.+)", "{0}/"),  # every other, pypiserver for example
)


def shape(url: str) -> Shape:
    """Return the URLs of an index of the kind that this URL resembles."""
    row, match = next((row, match) for row in SHAPES if (match := re.fullmatch(row.like, url.rstrip("/"))))
    upload, simple = (text.format(*match.groups()) for text in (row.upload, row.simple))
    return row._replace(upload=upload, simple=simple or f"{upload.rstrip('/')}/simple/")


class Index:
    """An index, with the credentials for its upload and, where that is another host, others for its list."""

    def __init__(self, url: str, simple: str | None, settings: dict[str, str]) -> None:
        like = shape(url)
        self.url = like.upload if like.kind and like.upload.rstrip("/") == url.rstrip("/") else url
        self.simple, self.host = (simple or like.simple).rstrip("/") + "/", urlsplit(url).netloc
        self._settings = settings
        self._login = _login(url, ENVIRONMENT.get("TWINE_USERNAME"), ENVIRONMENT.get("TWINE_PASSWORD"))
        self._reader = self._login if _origin(url) == _origin(self.simple) else _login(self.simple, None, None)
        if self._reader:
            names = ("UV_INDEX_PUBLISHED_USERNAME", "UV_INDEX_PUBLISHED_PASSWORD")
            self._settings = settings | dict(zip(names, self._reader, strict=True))

    def settings(self, ours: dict[str, str]) -> dict[str, str]:
        """Return the environment in which uv installs from here: the caller's index and cooldown have no say."""
        return {name: value for name, value in ours.items() if not name.startswith(("UV_", "PIP_"))} | self._settings

    def check_login(self) -> None:
        """Refuse to upload without credentials."""
        if not self._login:
            user = ENVIRONMENT.get("TWINE_USERNAME") or shape(self.url).user or "USER"
            todo = f"set TWINE_USERNAME and TWINE_PASSWORD, or: keyring set {self.url} {user}"
            raise Refused(f"no credentials for {self.host}: {todo}")

    def listed(self) -> dict[str, DistributionPackage]:
        """Return the files of this package that the index lists, by name."""
        answer = self._get(f"{self.simple}{NAME}/")
        if answer.status_code == 404 or "elsewhere" in answer.headers:  # nothing yet, or no index: the root tells
            root, like = self._get(self.simple), shape(self.simple)
            if "x-devpi-server-version" in root.headers and not root.ok:
                raise Refused(f"devpi lists elsewhere: --simple {self.simple.removesuffix('simple/')}+simple/")
            # 404 on CodeArtifact and Google, 403 on a bucket
            rootless = root.status_code in (403, 404, 405) and (not like.kind or like.simple == self.simple)
            if not _good(root) and not rootless:
                raise Refused(_refusal(root, "the list of projects"))
            return {}
        try:
            page = ProjectPage.from_response(answer, NAME)
        except UnsupportedContentTypeError:
            page = None
        if page is None or not ((answer.status_code < 300 and page.packages) or _good(answer)):
            raise Refused(_refusal(answer, "the list of files"))
        return {package.filename: package for package in page.packages}

    def _get(self, url: str) -> requests.Response:
        return _session(self._reader).get(url, headers={"Accept": ACCEPT_ANY}, timeout=30)

    def lacks(self, paths: list[Path]) -> list[Path]:
        """Return which of these files the index does not list; refuse one of the same name with other bytes."""
        listed = self.listed()
        for path in paths:
            if path.name in listed and (held := self._held(listed[path.name])) != (ours := _digest(path.read_bytes())):
                raise Refused(
                    f"{self.host} holds another {path.name}: sha256 {held[:12]}... there, {ours[:12]}... here. "
                    "A version is published once: raise it, or check out the commit that was published"
                )
        return [path for path in paths if path.name not in listed]

    def _held(self, package: DistributionPackage) -> str:
        if package.digests.get("sha256"):
            return package.digests["sha256"]
        login = self._reader if _origin(package.url) == _origin(self.simple) else None
        # may be sent on to a storage host, without login
        answer = requests.get(package.url, auth=_bytes(login), timeout=30)
        if not answer.ok:
            raise Refused(_refusal(answer, f"the download of {package.filename}"))
        return _digest(answer.content)

    def try_upload(self) -> str:
        """Send a form without a file, which no index can store; return what that could not show."""
        form = {":action": (None, "file_upload"), "protocol_version": (None, "1")}
        ours, anybody = (_session(who).post(self.url, files=form, timeout=30) for who in (self._login, None))
        if (ours.status_code < 400 and not _good(ours)) or ours.status_code in (401, 403, 404, 405):
            raise Refused(_refusal(ours, "an upload without a file"))
        same = ours.status_code == anybody.status_code
        return ", nor whether these credentials may upload: the index looks at the form first" if same else ""

    def upload(self, paths: list[Path]) -> None:
        """Upload these files, in this order."""
        logging.getLogger("twine").setLevel(logging.ERROR)  # its warnings recommend options that publish does not have
        repository = Repository(self.url, None, None, disable_progress_bar=True)
        repository.session = _session(self._login)
        for number, path in enumerate(paths):
            answer = repository.upload(PackageFile.from_filename(str(path), None))
            if not _good(answer):
                more = "".join(f". {one.name} is stored: the same command goes on from there" for one in paths[:number])
                raise Refused(_refusal(answer, f"the upload of {path.name}") + more)

    def wait_for(self, paths: list[Path]) -> None:
        """Wait until the index lists these files."""
        end = time.monotonic() + APPEARS_WITHIN
        while lacking := self.lacks(paths):
            if time.monotonic() > end:
                names = " and ".join(path.name for path in lacking)
                raise Refused(f"{self.simple} does not list {names} after {APPEARS_WITHIN} s: is --simple right?")
            time.sleep(1)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _origin(url: str) -> tuple[str, str]:
    return urlsplit(url).scheme, urlsplit(url).netloc


def trust(bundle: Path) -> dict[str, str]:
    """Trust the system's certificates and each file that one client's variable names; return what uv needs for that."""
    truststore.inject_into_ssl()
    named = {path: name for name in CERTIFICATES if (path := ENVIRONMENT.get(name))}
    for path, name in named.items():
        if not Path(path).is_file():
            raise Refused(f"{name} must name a file of PEM certificates: {path} is none")
    if not named:
        return {}
    bundle.write_bytes(b"\n".join(Path(path).read_bytes() for path in named))
    ENVIRONMENT["REQUESTS_CA_BUNDLE"] = str(bundle)
    return {"SSL_CERT_FILE": str(bundle)}


def _login(url: str, user: str | None, password: str | None) -> Login | None:
    """Return the credentials for this URL: those given, those of ~/.netrc, or those of any keyring on the PATH."""
    user = user or shape(url).user
    if user and password:
        return user, password
    if (found := requests.utils.get_netrc_auth(url)) and user in ("", found[0]):
        return found
    # Every one on the PATH: the team's, with its backends, lies elsewhere than the one that came with twine.
    programs = (shutil.which("keyring", path=place) for place in ENVIRONMENT["PATH"].split(os.pathsep))
    for program in dict.fromkeys(filter(None, programs)):
        for service in (url, urlsplit(url).netloc):
            words = ["get", service, user] if user else ["--mode", "creds", "get", service]
            command = [program, *words]
            done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
            if done.returncode == 0 and (lines := done.stdout.splitlines()):
                return user or lines[0], lines[-1]
        if done.stderr:
            print(f"{program}: {done.stderr.splitlines()[-1]}")
    return None


def _bytes(login: Login | None) -> tuple[bytes, bytes] | None:
    return (login[0].encode(), login[1].encode()) if login else None  # requests would take Latin-1, uv takes UTF-8


def _session(login: Login | None) -> requests.Session:
    session = requests.Session()
    session.auth = _bytes(login) or (lambda request: request)  # not None, with which requests would look into ~/.netrc
    session.cert = ENVIRONMENT.get("TWINE_CLIENT_CERT")
    session.hooks["response"] = [_stay]
    return session


def _stay(answer: requests.Response, **_: object) -> None:
    """Follow no redirect to another host: some indexes send who asks for an unknown name on to the public one."""
    target = urljoin(answer.url, answer.headers.get("location", ""))
    if answer.request.method == "POST" or _origin(target) != _origin(answer.url):
        answer.headers["elsewhere"] = answer.headers.pop("location", "")


def _good(answer: requests.Response) -> bool:
    """Tell an index's answer from an error, a redirect, and a page for people, such as a login page."""
    page = "html" in answer.headers.get("content-type", "") and re.search(r"(?i)<(form|script|input)\b", answer.text)
    return answer.status_code < 300 and not page


def _refusal(answer: requests.Response, to: str) -> str:
    """Say in one line what the index said, without the credentials that it may repeat, and what to do."""
    like, said = shape(answer.url), answer.content.decode(errors="replace")  # not `text`, which may take Latin-1
    status, url, posted = answer.status_code, urlsplit(answer.url), answer.request.method == "POST"
    fits = answer.url == like.upload if posted else answer.url.startswith(like.simple)
    todo = ". Compare this URL with the table in docs/release.md"
    if like.kind and not fits:
        todo = f". On {like.kind} that is {like.upload if posted else like.simple}"
    if status == 400 or status > 405:
        todo = ""
    todo = {
        401: ". Set TWINE_USERNAME and TWINE_PASSWORD, or a keyring",
        403: ". These credentials may not do that, or the password is wrong",
    }.get(status, todo)
    if answer.headers.get("elsewhere"):
        target = urlsplit(urljoin(answer.url, answer.headers["elsewhere"]))
        said = f"it sends this on to {target.netloc}{target.path}, maybe a login page"
    elif "json" in answer.headers.get("content-type", ""):
        with contextlib.suppress(ValueError):
            said = _messages(answer.json())
    else:
        said = html.unescape(re.sub(r"(?is)<(head|style|script)\b.*?</\1>|<[^>]+>", " ", said))
    said = " ".join("".join(c if c.isprintable() else " " for c in said).split())
    said = re.sub(rf"^(Error: )?{status} {re.escape(answer.reason)} ?", "", said) or answer.reason
    basic = answer.request.headers.get("Authorization", "").removeprefix("Basic ")
    for secret in filter(None, (basic, base64.b64decode(basic).decode(errors="replace").partition(":")[2])):
        said = said.replace(secret, "***")
    return f"{url.netloc} answered {status} to {to} at {url.path}: {said[:300].rstrip('.')}{todo}"


def _messages(found: Any) -> str:
    if isinstance(found, dict):
        found = [found[key] for key in ("message", "error", "errors", "detail") if key in found] or [*found.values()]
    return "; ".join(map(_messages, found)) if isinstance(found, list) else str(found)
