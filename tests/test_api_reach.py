"""How servers are reached: proxies, names, addresses and TLS.

Guards against a proxy's refusal that is lost_with on the server, servers of this machine that are looked for on the
proxy's, minutes of waiting for a name that nobody knows, and mistakes in an address that are tried again for minutes.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from api_servers import Answer, ask, chat, claude, dead_port, error, question, serving
from muster.core import JSON, ConfigurationError
from muster.models.anthropic import AnthropicModel
from muster.models.api import retry_policy
from muster.models.api.proxies import proxy_of
from muster.models.api.reach import _looked_up
from muster.models.gemini import GeminiModel
from muster.models.protocol import ModelSettings
from processes import DEADLINE
from test_api_openai import model
from test_api_vendors import gemini

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_policy, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("muster.models.api.breaker.COOLDOWN_SECONDS", 0.02)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", *VARIABLES, *map(str.lower, VARIABLES)):
        monkeypatch.delenv(name, raising=False)
    for name in ("ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, "k")


@pytest.mark.parametrize("backend", ["openai", "anthropic", "gemini"])
def test_a_server_of_this_machine_is_asked_directly(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    good = {"openai": chat("7"), "anthropic": claude("7"), "gemini": gemini("7")}[backend]
    with dead_port() as port, serving(lambda _: good) as server:
        for name in ("http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        if backend == "openai":
            (completion,) = ask(model(server), question())
        else:
            make = AnthropicModel if backend == "anthropic" else GeminiModel
            settings = ModelSettings("m", args={"base_url": f"http://127.0.0.1:{server.port}"})
            (completion,) = ask(make(settings), question())
    assert completion.text == "7"


@pytest.mark.parametrize(
    ("excepted", "url", "direct"),
    [
        ("example.com", "http://a.example.com", True),
        ("example.com", "http://notexample.com", False),
        ("*.example.com", "http://a.example.com", True),
        ("10.0.0.0/8, other", "http://10.1.2.3:8000/v1", True),
        ("10.0.0.0/8", "http://11.1.2.3:8000/v1", False),
        ("192.168.*", "http://192.168.1.1", True),
        ("host:8000", "http://host:8000/v1", True),
        ("host:8000", "http://host:9000/v1", False),
        ("example.com:443", "https://a.example.com", True),
        ("[fd00::1]:80", "http://[fd00::1]/v1", True),
        ("fd00::/8", "http://[fd00::1]:8000", True),
        ("", "http://127.1:8000", True),
        ("", "http://[::ffff:127.0.0.1]:8000", True),
        ("", "http://10.1.2.3", False),
    ],
)
def test_what_no_proxy_names_is_asked_directly(
    excepted: str, url: str, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The standard library knows names and their endings alone; clusters name networks."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", excepted)
    assert (proxy_of(url) is None) is direct


@pytest.mark.parametrize("backend", ["openai", "anthropic"])
def test_a_proxy_is_named_where_it_may_be_the_one_who_refuses(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(lambda _: error(503, "no route")) as proxy:
        monkeypatch.setenv("http_proxy", f"http://ann:s3cret@127.0.0.1:{proxy.port}")
        if backend == "openai":
            one = model("http://model.example:8000/v1", max_retries=0)
        else:
            args: dict[str, JSON] = {"base_url": "http://model.example:8000", "max_retries": 0}
            one = AnthropicModel(ModelSettings("m", args=args))  # type: ignore[assignment]
        (completion,) = ask(one, question())
    assert completion.failure is not None
    assert f"through the proxy http://127.0.0.1:{proxy.port} of HTTP_PROXY" in completion.failure.message
    assert "s3cret" not in completion.failure.message
    assert proxy.calls[0].headers["proxy-authorization"].startswith("Basic ")


def test_a_proxy_that_isnt_there_or_wants_a_password_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with dead_port() as port:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        with pytest.raises(
            ConfigurationError, match=r"the proxy http://127.*of HTTP_PROXY: Connection refused"
        ):
            model("http://model.example/v1")
    with serving(lambda _: Answer(b"", 407)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(ConfigurationError, match="wants a name and a password"):
            ask(model("http://model.example/v1"), question())


@pytest.mark.parametrize(
    ("url", "direct"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://127.9.9.9", True),
        ("http://localhost/v1", True),
        ("http://[::1]:8000", True),
        ("http://0.0.0.0:8000", True),
        ("http://inside.example", True),
        ("http://node7.inside.example", True),
        ("http://10.0.0.1", False),
        ("http://outside.example", False),
    ],
)
def test_who_is_asked_without_a_proxy(url: str, direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "p:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    proxy = proxy_of(url)
    assert (proxy is None) is direct
    assert proxy is None or proxy.url == "http://p:3128"


def test_a_name_that_nobody_knows_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ConfigurationError, match=r"the name nobody\.example is not known here \(Name or"):
        model("http://nobody.example/v1")


def test_a_look_up_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's resolver took 40 s a time, whatever the limit."""
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(DEADLINE) and [])
    with pytest.raises(TimeoutError):
        _looked_up("nobody.example", 80, 0.05)
    with pytest.raises(ConfigurationError, match=r"could not be looked up .*no name server answered"):
        model("http://nobody.example/v1", connect_timeout=0.1, wait_for_server=0.2)
    over.set()


def test_an_address_that_is_wrong_says_what_would_be_right(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("127.0.0.1:8000", "localhost:8000", "host/v1"):
        with pytest.raises(ConfigurationError, match=f"did you mean http://{text}"):
            model(text)
    with plain_server() as port, pytest.raises(ConfigurationError, match="not in TLS: write http://"):
        model(f"https://127.0.0.1:{port}/v1")
    silent = "doesn't answer in TLS"  # this one waits for a whole head
    with serving(lambda _: chat()) as server, pytest.raises(ConfigurationError, match=silent):
        model(server.url.replace("http:", "https:"), connect_timeout=0.5)
    moved = Answer(b"", 308, {"location": "https://elsewhere.example/v1/chat/completions"})
    with (
        serving(lambda _: moved) as server,
        pytest.raises(ConfigurationError, match="redirects to https://else"),
    ):
        ask(model(server), question())
    plain = Answer(b"<h1>The plain HTTP request was sent to HTTPS port</h1>", 400)
    with serving(lambda _: plain) as server, pytest.raises(ConfigurationError, match="write https://"):
        ask(model(server), question())


@contextmanager
def plain_server() -> Iterator[int]:
    """Says at the first byte that it doesn't understand."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(DEADLINE)


def test_a_netrc_file_for_the_host_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a key, aiohttp refused every request: two authorizations."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login ann password s3cret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with serving(lambda _: chat("7")) as server:
        (completion,) = ask(model(server), question())
    assert completion.text == "7"
    assert "s3cret" not in json.dumps(server.calls[0].headers)
