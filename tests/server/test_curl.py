"""Commands for a shell, run by a real shell and a real curl against a server that writes down what came."""

import base64
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepwell.core.requestcopies import RequestCopy, copied, read_copy
from stepwell.server.dashboard.curl import of_event, of_request, quoted
from stepwell.wire.fetch import FetchRequest
from stepwell.wire.secrets import reference

pytestmark = pytest.mark.curl
ROUNDS = 60 if os.environ.get("CI") == "true" else 15
NASTY = 'it\'s "quoted" $HOME `id` \\ \n \t * ! #; & | > < ( ) %s ~ é 漢 \U0001f600'


class Echo(BaseHTTPRequestHandler):
    """Writes down what came."""

    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str, list[tuple[str, str]], bytes]]

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.seen.append((self.command, self.path, self.headers.items(), body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = answer  # noqa: N815 - the library asks for these names

    def log_message(self, *args: object) -> None:
        pass


Server = tuple[str, type[Echo]]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    handler = type("Handler", (Echo,), {"seen": []})
    made = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}", handler
    made.shutdown()
    made.server_close()


def run(server: Server, command: str, folder: Path | None = None, **env: str) -> tuple[str, str, dict[str, str], bytes]:
    """What came of the command; headers by lower-case name."""
    server[1].seen.clear()
    clean = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **env}
    done = subprocess.run(
        ["sh"], input=command.encode(), env=clean, capture_output=True, timeout=30, check=False, cwd=folder
    )
    assert done.returncode == 0, (command[:1000], done.stderr)
    ((method, path, headers, body),) = server[1].seen
    return method, path, {name.lower(): value for name, value in headers}, body


def command_of(request: FetchRequest) -> str:
    info, beside = copied(request, "ref")
    copy = read_copy(info)
    assert copy is not None
    return of_request(copy, beside)


@settings(deadline=None, max_examples=ROUNDS, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"]),
    st.text("abc '\"$`\\*?[]{}!;&|<>()~^%", max_size=20),
    st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=60), st.binary(max_size=60)),
)
def test_the_server_sees_what_was_asked_for(server: Server, method: str, value: str, body: str | bytes | None) -> None:
    data = body.encode() if isinstance(body, str) else body
    request = FetchRequest(
        url=f"{server[0]}/a/b?x=%5B1%5D&y={{2}}",
        method=method,
        headers=(("X-Value", value.strip()), ("Content-Type", "application/x-thing")),
        body=data or None,
    )
    found = run(server, command_of(request))
    assert found[:2] == (method, "/a/b?x=%5B1%5D&y={2}")
    assert found[2]["x-value"] == value.strip()
    assert found[2]["content-type"] == "application/x-thing"
    assert found[3] == (data or b"")


@pytest.mark.parametrize("body", [NASTY, "@/etc/passwd", "-", "a=b&c=%20", '{"a": "$b"}', "line\r\nline\n"])
def test_awkward_bodies(server: Server, body: str) -> None:
    request = FetchRequest(url=f"{server[0]}/", method="POST", body=body.encode())
    _, _, headers, came = run(server, command_of(request))
    assert came == body.encode()
    assert "content-type" not in headers, "none was asked for"


@pytest.mark.parametrize("size", [100, 5_000, 200_000])
@pytest.mark.parametrize("filling", [b"it's ", b"\x00\xff'$"])
def test_bodies_of_every_size_and_kind(server: Server, size: int, filling: bytes) -> None:
    data = filling * (size // len(filling))
    request = FetchRequest(url=f"{server[0]}/", method="PUT", headers=(("content-type", "a/b"),), body=data)
    method, _, _, came = run(server, command_of(request))
    assert (method, came) == ("PUT", data)


def test_a_body_that_is_not_kept_is_taken_from_a_file(server: Server, tmp_path: Path) -> None:
    request = FetchRequest(url=f"{server[0]}/", method="POST", body=b"x" * 300_000)
    (tmp_path / "BODY").write_bytes(b"mine")
    assert run(server, command_of(request), tmp_path)[3] == b"mine"


def test_secrets_are_variables_of_the_shell_and_credentials_are_masked(server: Server) -> None:
    key = reference("API-KEY")
    request = FetchRequest(
        url=f"{server[0]}/?key={key}",
        method="POST",
        headers=(("authorization", f"Bearer {key}"), ("x-api-key", "sk-literal-1"), ("content-type", "text/plain")),
        body=f"say '{key}' and sk-literal-1".encode(),
    )
    command = command_of(request)
    assert "sk-literal-1" not in command
    _, path, headers, body = run(server, command, API_KEY='it\'s "mine"'.replace('"', ""))
    assert headers["authorization"] == "Bearer it's mine"
    assert headers["x-api-key"] == "***"
    assert body == b"say 'it's mine' and ***"
    assert path.startswith("/?key=")


def test_basic_credentials_with_a_secret(server: Server) -> None:
    value = "Basic " + base64.b64encode(f"me:{reference('PASSWORD')}".encode()).decode()
    request = FetchRequest(url=f"{server[0]}/", headers=(("authorization", value),))
    headers = run(server, command_of(request), PASSWORD="s e c")[2]
    assert base64.b64decode(headers["authorization"].removeprefix("Basic ")) == b"me:s e c"


def test_head_and_empty_headers(server: Server) -> None:
    request = FetchRequest(url=f"{server[0]}/", method="HEAD", headers=(("x-empty", ""), ("accept-encoding", "gzip")))
    method, _, headers, _ = run(server, command_of(request))
    assert method == "HEAD"
    assert headers["x-empty"] == ""
    assert "gzip" in headers["accept-encoding"]


def test_an_event_is_sent_again(server: Server) -> None:
    method, path, headers, body = run(server, of_event(server[0], "it's", {"a": NASTY}))
    assert (method, path, headers["content-type"]) == ("POST", "/e/EVENT_KEY", "application/json")
    assert b"it's" in body


def test_quoting() -> None:
    assert quoted("") == "''"
    assert quoted("plain") == "plain"
    assert quoted(f"a b {reference('K')} c") == "'a b '\"${K}\"' c'"
    assert of_request(RequestCopy("GET", "http://h/")) == "curl http://h/"
    assert "hush" not in of_request(RequestCopy("GET", "http://me:hush@h/"))
