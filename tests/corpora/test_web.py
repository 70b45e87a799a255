"""Requests: where a key goes and where it never goes, redirects, certificates, what answers mean."""

from __future__ import annotations

import email.utils
import logging
import pickle
import shutil
import ssl
import subprocess
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from ham.corpora.web import PLACEHOLDER, Address, PassingError, RefusedError, Secret, Web, check_answer, judge
from ham.errors import ConfigError
from tests.corpora.site import Site, redirect, reset, status

KEY = "k3y/with+odd=signs"
QUOTED = "k3y%2Fwith%2Bodd%3Dsigns"


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as running:
        running.files["/f"] = b"content"
        yield running


@pytest.fixture
def web() -> Iterator[Web]:
    made = Web(2.0, insecure=False, num_connections=2)
    yield made
    made.close()


def secret_address(site: Site, path: str = "/f") -> Address:
    url = site.url(f"{path}?key={PLACEHOLDER}&file=x")
    return Address(url, "--official_url", login_cure="ask for a key", secret=Secret(KEY, "test"))


def read(web: Web, address: Address) -> bytes:
    response = web.get(address, {})
    try:
        check_answer(address, response)
        return response.read()
    finally:
        response.close()


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret(f"  {KEY}\n", "test")
    assert KEY not in f"{secret} {secret!r} {Address('https://h/f', '--o', secret=secret)!r}"
    assert secret.hide(f"a {KEY} b {QUOTED} c") == f"a {PLACEHOLDER} b {PLACEHOLDER} c"
    with pytest.raises(TypeError):
        pickle.dumps(secret)


@pytest.mark.parametrize("given", [KEY, QUOTED, QUOTED.lower(), "k3y/with%2Bodd%3Dsigns"])
def test_a_key_may_be_given_as_it_stands_in_an_address(site: Site, web: Web, given: str) -> None:
    secret = Secret(given, "test")
    assert read(web, Address(site.url(f"/f?key={PLACEHOLDER}&file=x"), "--official_url", secret=secret)) == b"content"
    assert site.requests[0][0] == f"/f?key={QUOTED}&file=x"
    for form in (given, KEY, QUOTED, QUOTED.lower(), "k3y/with%2Bodd%3Dsigns"):
        assert secret.hide(f"a {form} b") == f"a {PLACEHOLDER} b"


@pytest.mark.parametrize(("given", "sent"), [("100%", "100%25"), ("5%zz", "5%25zz"), ("a%26b", "a%26b")])
def test_a_percent_sign_need_not_be_a_code(given: str, sent: str) -> None:
    assert Secret(given, "test").insert(PLACEHOLDER.encode()) == sent.encode()


@pytest.mark.parametrize(
    "text",
    [
        "%20",
        "a%00",
        "%FF",
        "https%3A%2F%2Fh%3Fkey%3Dabc",
        "",
        " \n",
        "two words",
        "line\nline",
        "https://h/?key=abc&file=",
        "key=abc",
        "schlüssel",
    ],
)
def test_what_is_no_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError, match="THE_PLACE: expected the key alone") as caught:
        Secret(text, "THE_PLACE")
    assert not text.strip() or text.strip() not in str(caught.value)


def test_a_key_goes_only_where_it_cannot_be_overheard() -> None:
    secret = Secret(KEY, "test")
    for host in ("127.0.0.1:8", "localhost", "[::1]:8"):
        assert Address(f"http://{host}/f", "--official_url", secret=secret).host
    with pytest.raises(ConfigError, match="--official_url: expected https"):
        Address("http://127.0.0.1.example.com/f", "--official_url", secret=secret)


@pytest.mark.parametrize(
    "url", ["", "f.zip", "ftp://h/f", "file:///etc/passwd", "https://", "http://me:pass@h/f", "http://h:port/f"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="--lists_url: expected an address") as caught:
        Address(url, "--lists_url")
    assert "pass@" not in str(caught.value)


def test_the_server_gets_the_key_and_nobody_else_does(site: Site, web: Web, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    site.then("/f", status(200, b"content", Set_Cookie=f"k={KEY}", X_Echo=QUOTED))
    address = secret_address(site)
    response = web.get(address, {})
    assert response.read() == b"content"
    assert site.requests[0][0] == f"/f?key={QUOTED}&file=x"
    assert KEY not in f"{response.request.url} {response.request!r} {response!r}"
    logged = "\n".join(record.getMessage() for record in caplog.records)
    assert PLACEHOLDER in logged  # the library does log requests; a test that hears nothing would show nothing
    assert KEY not in logged
    assert QUOTED not in logged


def test_exceptions_of_the_library_do_not_hold_the_key(site: Site, web: Web) -> None:
    site.then("/f", reset)
    with pytest.raises(httpx2.HTTPError) as caught:
        web.get(secret_address(site), {})
    text = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=False).format())
    assert isinstance(judge(caught.value, secret_address(site)), PassingError)
    assert PLACEHOLDER in str(caught.value.request.url)
    assert KEY not in text + str(caught.value.request.url)


def test_a_redirect_to_another_host_takes_no_key_and_no_login_along(site: Site, web: Web) -> None:
    site.files["/elsewhere"] = b"moved"
    site.then("/f", redirect(site.url("/elsewhere", "localhost")))
    address = Address(site.url("/f"), "--mirror_repo", headers={"Authorization": "Bearer t0ken"})
    assert read(web, address) == b"moved"
    assert [headers["Authorization"] for _, headers in site.requests] == ["Bearer t0ken", None]
    site.then("/f", redirect(site.url("/elsewhere", "localhost")))
    assert read(web, secret_address(site)) == b"moved"
    assert site.requests[-1][0] == "/elsewhere"


@pytest.mark.parametrize("form", [KEY, QUOTED])
def test_a_redirect_that_carries_the_key_away_is_refused(site: Site, web: Web, form: str) -> None:
    site.then("/f", redirect(site.url(f"/f?key={form}", "localhost")))
    with pytest.raises(RefusedError, match=r"localhost with the key .* --official_url") as caught:
        read(web, secret_address(site))
    assert form not in str(caught.value)
    assert len(site.requests) == 1


def test_a_redirect_on_the_same_host_keeps_the_key(site: Site, web: Web) -> None:
    site.files["/v2"] = b"moved"
    site.then("/f", redirect(f"/v2?key={QUOTED}&file=x"))
    assert read(web, secret_address(site)) == b"moved"
    assert site.requests[-1][0] == f"/v2?key={QUOTED}&file=x"


def test_a_placeholder_from_elsewhere_gets_no_key(site: Site, web: Web) -> None:
    site.then("/f", redirect(site.url(f"/f?key={PLACEHOLDER}", "localhost")))
    with pytest.raises(RefusedError):
        read(web, secret_address(site))
    assert len(site.requests) == 1


@pytest.mark.parametrize("location", ["ftp://h/f", "http://h:port/f", "javascript:x"])
def test_redirects_to_nowhere(site: Site, web: Web, location: str) -> None:
    site.then("/f", redirect(location))
    with pytest.raises(RefusedError, match="no web address"):
        read(web, secret_address(site))


def test_redirects_in_a_circle(site: Site, web: Web) -> None:
    site.always["/f"] = redirect("/f")
    with pytest.raises(RefusedError, match="redirected more than 5 times"):
        read(web, Address(site.url("/f"), "--lists_url"))


def answer(code: int, **headers: str) -> httpx2.Response:
    return httpx2.Response(code, headers={name.replace("_", "-"): value for name, value in headers.items()})


ADDRESS = Address("https://example.org/f", "--official_url", login_cure="ask for a key")


@pytest.mark.parametrize("code", [200, 206])
def test_answers_that_hold_a_file(code: int) -> None:
    check_answer(ADDRESS, answer(code, content_type="application/zip"))  # raises nothing, as it does for all others


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504, 599])
def test_answers_that_may_be_better_later(code: int) -> None:
    with pytest.raises(PassingError, match=f"answered {code}") as caught:
        check_answer(ADDRESS, answer(code, retry_after="7"))
    assert caught.value.wait_s == 7


def test_retry_after_may_be_a_date_or_nonsense() -> None:
    with pytest.raises(PassingError) as caught:
        check_answer(ADDRESS, answer(503, retry_after=email.utils.formatdate(time.time() + 100)))
    assert 90 < caught.value.wait_s <= 101
    for text in ("soon", "-1", "", email.utils.formatdate(time.time() - 100)):
        with pytest.raises(PassingError) as caught:
            check_answer(ADDRESS, answer(503, retry_after=text))
        assert caught.value.wait_s == 0


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (answer(401), "example.org: answered 401 Unauthorized; ask for a key"),
        (answer(403), "example.org: answered 403 Forbidden; ask for a key"),
        (answer(404), "example.org: answered 404 Not Found; it may have moved.* --official_url"),
        (answer(410), "answered 410"),
        (answer(304), "answered 304"),
        (answer(200, content_type="text/html; charset=utf-8"), "found a web page; ask for a key"),
        (answer(200, content_encoding="gzip"), "found it encoded"),
    ],
)
def test_answers_that_will_not_be_better(response: httpx2.Response, words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        check_answer(ADDRESS, response)


def test_a_proxy_is_used_where_the_environment_names_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", site.url(""))
    site.always["/f"] = status(200, b"by way of the proxy")
    web = Web(2.0, insecure=False, num_connections=1)
    assert read(web, Address("http://example.invalid/f", "--lists_url")) == b"by way of the proxy"
    assert read(web, Address(site.url("/f"), "--lists_url")) == b"by way of the proxy"
    assert [asked for asked, _ in site.requests] == ["http://example.invalid/f", "/f"]
    monkeypatch.setenv("http_proxy", "socks5://localhost:1")
    with pytest.raises(RefusedError, match="HTTPS_PROXY"):
        web.get(Address("http://example.invalid/f", "--lists_url"), {})
    web.close()


@pytest.fixture
def own_certificate(site: Site, tmp_path: Path) -> Site:
    """The site with TLS, and a certificate that nobody vouches for."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the program openssl")
    files = [tmp_path / "key.pem", tmp_path / "cert.pem"]
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    command += ["-keyout", str(files[0]), "-out", str(files[1]), "-subj", "/CN=localhost"]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files[1], files[0])
    site.server.socket = context.wrap_socket(site.server.socket, server_side=True)
    return site


def test_certificates_are_verified_unless_one_asks_otherwise(own_certificate: Site, web: Web) -> None:
    address = Address(own_certificate.url("/f").replace("http", "https"), "--official_url", secret=Secret(KEY, "test"))
    with pytest.raises(httpx2.HTTPError) as caught:
        web.get(address, {})
    problem = judge(caught.value, address)
    assert isinstance(problem, RefusedError)
    assert "expected a valid certificate" in str(problem)
    assert "--insecure goes on without, but then anyone" in str(problem)
    assert own_certificate.requests == []
    careless = Web(2.0, insecure=True, num_connections=1)
    assert read(careless, address) == b"content"
    careless.close()


def test_judgements_name_the_cause(web: Web) -> None:
    address = Address("http://127.0.0.1:1/f", "--lists_url")
    with pytest.raises(httpx2.HTTPError) as caught:
        web.get(address, {})
    assert str(judge(caught.value, address)) == "no connection (Connection refused)"
