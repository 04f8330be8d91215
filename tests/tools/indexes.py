"""Package indexes on the loopback: pypiserver and devpi for real, the others as one stand-in after their own pages."""

import base64
import email.parser
import email.policy
import hashlib
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import httpx

from api_server import Asked, serving
from proxy import Proxy, certificate

USER, PASSWORD = "publisher", "canary-index-pass"
READER = "reader"  # the same password, and no right to upload
JSON = "application/json"


class Answer(NamedTuple):
    status: int
    text: str = ""
    kind: str = "text/plain"
    location: str = ""


class Kind(NamedTuple):
    """How one kind of index answers. What no page says is taken from its source, or left as the default."""

    name: str
    base: str
    ending: str = ""  # of the URL that takes uploads
    root: int = 200
    hashes: bool = True
    times: bool = False  # those of an upload, which only JSON can hold
    accepted: Answer = Answer(200)
    duplicate: Answer = Answer(409, "the file exists")
    empty: Answer = Answer(400, "content is missing")
    form_first: bool = False  # looks at the form before the credentials
    wrong: Answer = Answer(401)
    forbidden: Answer = Answer(403, "no right to publish")

    @property
    def upload(self) -> str:
        return self.base + self.ending

    @property
    def simple(self) -> str:
        return f"{self.base}/simple/"


def _error(status: int, **found: object) -> Answer:
    return Answer(status, json.dumps(found), JSON)


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "gitlab",  # docs.gitlab.com/user/packages/pypi_repository; lib/api/pypi_packages.rb
            "/api/v4/projects/42/packages/pypi",
            accepted=_error(201, message="201 Created"),
            duplicate=_error(400, message="Validation failed: File name has already been taken"),
            empty=_error(400, error="content is missing, name is missing, version is missing"),
            form_first=True,
            wrong=_error(401, message="401 Unauthorized"),
        ),
        Kind(
            "artifactory",  # jfrog.com/help/r/jfrog-artifactory-documentation/pypi-repositories
            "/artifactory/api/pypi/team-local",
            duplicate=_error(403, errors=[{"status": 403, "message": "Not enough permissions to overwrite artifact"}]),
            wrong=_error(401, errors=[{"status": 401, "message": "Bad credentials"}]),
        ),
        Kind(
            "azure",  # learn.microsoft.com/azure/devops/artifacts/python/publish-python-packages
            "/team/_packaging/feed/pypi",
            "/upload/",
            accepted=Answer(202),
            duplicate=_error(409, message="The feed already contains the file", typeKey="FileAlreadyExists"),
            forbidden=_error(403, message="User lacks permission to complete this action. You need AddPackage"),
        ),
        Kind(
            "nexus",  # help.sonatype.com/en/pypi-repositories.html; PyPiHostedHandlers.java
            "/repository/pypi-hosted",
            "/",
            duplicate=Answer(400, "<html><body>Repository does not allow updating assets: pypi-hosted", "text/html"),
            empty=Answer(500, "<html><body>IllegalStateException", "text/html"),
        ),
        Kind(
            "codeartifact",  # docs.aws.amazon.com/codeartifact/latest/ug/python-compatibility.html
            "/pypi/team",
            "/",
            root=404,
            duplicate=_error(409, message="Asset already exists"),
            wrong=_error(401, message="Unauthenticated"),
        ),
        # cloud.google.com/artifact-registry/docs/python/store-python
        Kind("google", "/project/team", "/", root=404, duplicate=Answer(400, "File already exists")),
        # docs.gitea.com/usage/packages/pypi; routers/api/packages/pypi/pypi.go
        Kind(
            "gitea", "/api/packages/team/pypi", root=404, accepted=Answer(201), duplicate=Answer(409, "exists already")
        ),
        Kind("folder", "", hashes=False),  # takes no upload; packaging.python.org: PEP 503; nginx autoindex
    )
}


@dataclass
class Index:
    """A running index: where it takes uploads and lists, and the folder that holds its files."""

    url: str
    simple: str
    folder: Path
    special: Callable[[str, str, str], Answer | None] = lambda method, path, name: None  # a stand-in asks it first
    seen: list[str] = field(default_factory=list)


@contextmanager
def standing_in(kind: Kind, folder: Path, host: str = "127.0.0.1") -> Iterator[Index]:
    """Serve a folder as this kind of index does, at a loopback address."""
    folder.mkdir(parents=True, exist_ok=True)

    def answer(asked: Asked, body: bytes) -> tuple[int, dict[str, str], bytes]:
        login = _login(asked.headers.get("Authorization"))
        name, content = _form(asked, body) if asked.command == "POST" else ("", b"")
        index.seen.append(f"{asked.command} {asked.path} {login[0]}")
        found: Answer | Path | None = index.special(asked.command, asked.path, name)
        if not found and asked.command == "POST":
            found = _post(kind, folder, asked.path, login, name, content)
        found = found or _get(kind, folder, asked.path.partition("?")[0], login)
        if isinstance(found, Path):
            return 200, {"Content-Type": "text/plain"}, found.read_bytes()
        headers = {"Content-Type": found.kind, "Location": found.location}
        headers["WWW-Authenticate"] = "Basic" if found.status == 401 else ""
        return found.status, {name: value for name, value in headers.items() if value}, found.text.encode()

    with serving(answer, host=host) as url:
        yield (index := Index(f"{url}{kind.upload or '/upload/'}", url + kind.simple, folder))


def _login(header: str | None) -> tuple[str, str]:
    user, _, password = base64.b64decode((header or "").removeprefix("Basic ")).decode().partition(":")
    return user, password


def _form(asked: Asked, body: bytes) -> tuple[str, bytes]:
    """Return the name and the bytes of the uploaded file, empty where there is none."""
    head = f"Content-Type: {asked.headers['Content-Type']}\r\n\r\n".encode()
    form = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    parts = [part for part in form.iter_parts() if part.get_filename()]
    return (str(parts[0].get_filename()), parts[0].get_payload(decode=True)) if parts else ("", b"")


def _get(kind: Kind, folder: Path, path: str, login: tuple[str, str]) -> Answer | Path:
    if login[1] != PASSWORD and kind.upload:
        return kind.wrong
    if path == kind.simple:
        return Answer(kind.root, "<!DOCTYPE html><html><body></body></html>", "text/html")
    if path.startswith("/files/") and (file := folder / Path(path).name).is_file():
        return file
    name = path.removeprefix(kind.simple).strip("/")
    found = [file for file in sorted(folder.iterdir()) if project_of(file.name) == name]
    if not path.startswith(kind.simple) or not found:
        return Answer(404, "not found")
    if kind.times:
        files = [
            {"filename": file.name, "url": f"/files/{file.name}", "upload-time": "2020-01-01T00:00:00Z",
             "hashes": {"sha256": sha256(file)}}
            for file in found
        ]  # fmt: skip
        page = {"meta": {"api-version": "1.1"}, "name": name, "files": files}
        page["versions"] = [file.name.split("-")[1] for file in found]
        return Answer(200, json.dumps(page), "application/vnd.pypi.simple.v1+json")
    digests = {file: f"#sha256={sha256(file)}" if kind.hashes else "" for file in found}
    links = [f'<a href="/files/{file.name}{digest}">{file.name}</a>' for file, digest in digests.items()]
    return Answer(200, f"<!DOCTYPE html><html><body>{' '.join(links)}</body></html>", "text/html")


def project_of(file: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"-\d", file)[0]).lower()


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _post(kind: Kind, folder: Path, path: str, login: tuple[str, str], name: str, content: bytes) -> Answer:
    if path != kind.upload:
        return Answer(405 if path.startswith(kind.simple) or not kind.upload else 404)
    if not name and kind.form_first:
        return kind.empty
    if login[1] != PASSWORD:
        return kind.wrong
    if login[0] == READER:
        return kind.forbidden
    if not name:
        return kind.empty
    if (folder / name).exists():
        return kind.duplicate
    (folder / name).write_bytes(content)
    return kind.accepted


def _wait(server: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + 60
    while server.poll() is None and time.monotonic() < end:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        threading.Event().wait(0.05)
    raise RuntimeError(f"{server.args} does not listen")


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def _running(*command: object, port: int) -> Iterator[None]:
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait(server, port)
            yield
        finally:
            server.terminate()


@contextmanager
def pypiserver(folder: Path, protected: str = "update,list,download", *fallback: str) -> Iterator[Index]:
    """Serve a folder; `protected` names the actions that want the password, `.` none."""
    folder.mkdir(parents=True, exist_ok=True)
    port, passwords = _free(), folder.with_suffix(".htpasswd")
    digest = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
    passwords.write_text(f"{USER}:{{SHA}}{digest}\n")
    command = [sys.executable, "-W", "ignore", "-m", "pypiserver", "run", "-i", "127.0.0.1", "-p", port]
    command += ["--hash-algo", "sha256", "--backend", "simple-dir", *(fallback or ["--disable-fallback"])]
    passwords = passwords if protected != "." else Path()
    with _running(*command, "-a", protected, "-P", passwords, folder, port=port):
        yield Index(f"http://127.0.0.1:{port}/", f"http://127.0.0.1:{port}/simple/", folder)


@contextmanager
def devpi(programs: Path, folder: Path) -> Iterator[Callable[[str], Index]]:
    """Run devpi's server; what is given makes an empty, non-volatile index of that name."""
    port = _free()
    init = [programs / "devpi-init", "--serverdir", folder, "--root-passwd", PASSWORD, "--no-root-pypi"]
    subprocess.run(init, check=True, capture_output=True)
    url = f"http://127.0.0.1:{port}"
    with _running(programs / "devpi-server", "--serverdir", folder, "--host", "127.0.0.1", "--port", port, port=port):
        login = httpx.post(f"{url}/+login", json={"user": "root", "password": PASSWORD}).json()["result"]["password"]
        header = {"X-Devpi-Auth": base64.b64encode(f"root:{login}".encode()).decode()}

        def put(path: str, **wanted: object) -> None:
            httpx.put(f"{url}/{USER}{path}", json=wanted, headers=header).raise_for_status()

        def create(name: str) -> Index:
            put(f"/{name}", type="stage", volatile=False, bases=[])
            return Index(f"{url}/{USER}/{name}/", f"{url}/{USER}/{name}/+simple/", folder)

        put("", password=PASSWORD)
        yield create


@contextmanager
def behind_tls(index: Index, folder: Path) -> Iterator[tuple[Index, Path]]:
    """Put TLS with a certificate of a private CA before an index; give the CA's file too."""
    plain, pem = int(index.url.split(":")[2].split("/")[0]), certificate(folder)
    with Proxy(plain, pem) as proxy:
        urls = (url.replace(f"http://127.0.0.1:{plain}", proxy.url) for url in (index.url, index.simple))
        yield Index(*urls, index.folder), pem
