"""Requests for files over HTTP: addresses, redirects, proxies, what answers mean, and a key that nobody gets to see.

A key is never part of an address here: addresses carry the word :data:`PLACEHOLDER`, and the transport, the last
thing before the socket, puts the key in its place, for the one server that it belongs to. So neither the log of the
HTTP library nor its exceptions hold it.
"""

from __future__ import annotations

import contextlib
import email.utils
import logging
import re
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import quote, unquote

import httpx2

from ham.errors import ConfigError, DownloadError

PLACEHOLDER = "YOUR-KEY"
"""Stands for the personal key in addresses."""

INSECURE = "anyone between this machine and the server can read the key and exchange the files"
"""What is at risk without the verification of certificates."""

CONNECT_S = 10.0
"""A server that is there accepts a connection within this time, usually within a tenth of a second."""

_MAX_REDIRECTS = 5
_PASSING = frozenset({408, 425, 429})  # as all of 5xx: the same request may be answered later
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LOCATION = "ham_location"  # extension of an answer: where it leads
_LIBRARY_LOGGERS = ("httpx2", "httpcore2.connection", "httpcore2.http11", "httpcore2.proxy")


class RefusedError(DownloadError):
    """The server will not give the file, however often it is asked."""


class PassingError(Exception):
    """Something that may be better next time; ``wait_s`` is what the server asks for."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class NoConnectionError(PassingError):
    """No connection to the server could be made."""


class Secret:
    """A personal key that shows itself to nobody by accident.

    Args:
        text: the key, also as it stands in an address, with %XX; white space around it does not count.
        place: where it comes from, for messages; it must not be the key itself.

    Raises:
        ConfigError: if it is empty or no single word; the message does not repeat it.
    """

    __slots__ = ("_forms", "_quoted")

    def __init__(self, text: str, place: str) -> None:
        text = text.strip()
        plain = unquote(text)
        if not re.fullmatch(r"[!-~]+", plain) or re.search(r"[?&]", text) or re.search(r"key=|://", plain):
            found = f"{len(text)} characters that are something else (not shown)" if text else "nothing"
            raise ConfigError(f"{place}: expected the key alone, what stands between 'key=' and '&', found {found}")
        self._quoted = quote(plain, safe="")
        forms = {text, plain, self._quoted, quote(plain)}
        forms |= {re.sub("%..", lambda code: code[0].lower(), form) for form in forms - {plain}}
        self._forms = sorted(forms, key=len, reverse=True)  # a shorter one may be a piece of a longer one

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> str:
        raise TypeError("a key is not written to files")

    def insert(self, raw: bytes) -> bytes:
        """Put the key where the placeholder is.

        Args:
            raw: path and query of an address.

        Returns:
            The same with the key.
        """
        return raw.replace(PLACEHOLDER.encode(), self._quoted.encode())

    def hide(self, text: str) -> str:
        """Put the placeholder where the key is, as it is or quoted.

        Args:
            text: any text.

        Returns:
            The same without the key.
        """
        for form in self._forms:
            text = text.replace(form, PLACEHOLDER)
        return text


@dataclass(frozen=True)
class Address:
    """Where a file is, and what to say when it is not given there.

    ``login_cure`` answers 401 and 403; ``option`` is the command's option by which the address can be changed.
    """

    url: str
    option: str
    login_cure: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret: Secret | None = None

    def __post_init__(self) -> None:
        url = _parse_url(self.url, self.option)
        if self.secret is not None and url.scheme != "https" and not _is_loopback(url.host):
            raise ConfigError(f"{self.option}: expected https, since a key is sent there, found {url.scheme}")

    @property
    def host(self) -> str:
        """The server, for messages."""
        return httpx2.URL(self.url).host

    @property
    def moved(self) -> str:
        """The cure where the file is not there."""
        return f"it may have moved: look for its new address, and give it with {self.option}"


class Web:
    """Sends requests; one for all threads.

    Args:
        timeout_s: how long a server may be silent.
        insecure: do not verify certificates.
        num_connections: how many answers are read at the same time.
    """

    def __init__(self, timeout_s: float, *, insecure: bool, num_connections: int) -> None:
        self._transport = _Transport(insecure, num_connections)
        self._client = httpx2.Client(
            transport=self._transport,
            timeout=httpx2.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S), pool=None),
            headers={"Accept-Encoding": "identity"},
        )

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def get(self, address: Address, headers: Mapping[str, str]) -> httpx2.Response:
        """Ask for a file and follow redirects.

        Args:
            address: where it is; its own headers go to that server only.
            headers: further ones, for every server on the way.

        Returns:
            The last answer, its content not read yet; it must be closed.

        Raises:
            RefusedError: if the redirects do not end, or lead where a key must not go.
            httpx2.HTTPError: if there is no answer; see :func:`judge`.
        """
        first = url = httpx2.URL(address.url)
        with _hidden(address.secret):
            for _ in range(_MAX_REDIRECTS + 1):
                own = address.headers if _origin(url) == _origin(first) else {}
                request = self._client.build_request("GET", url, headers={**own, **headers})
                request.extensions["secret"] = (address.secret, _origin(first))
                response = self._client.send(request, stream=True, follow_redirects=False)
                location = response.extensions.get(_LOCATION)
                if location is None:
                    return response
                response.close()
                url = _redirected(address, url, location)
        raise RefusedError(f"{address.host}: redirected more than {_MAX_REDIRECTS} times; {address.moved}")


class _Transport(httpx2.BaseTransport):
    """Sends requests through the proxy that the environment names, and inserts the key as the very last step.

    Where a redirect leads is taken out of the headers: the library would make a request of it, with what a server
    repeats of the key in it, and complain about addresses in their own words.
    """

    def __init__(self, insecure: bool, num_connections: int) -> None:
        self._insecure = insecure
        self._limits = httpx2.Limits(max_connections=2 * num_connections, max_keepalive_connections=num_connections)
        self._made: dict[str | None, httpx2.HTTPTransport] = {}
        self._guard = threading.Lock()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request."""
        secret, origin = request.extensions.pop("secret", (None, None))
        transport = self._by_way_of(_proxy(request.url))
        if secret is not None and _origin(request.url) == origin:
            url = request.url.copy_with(raw_path=secret.insert(request.url.raw_path))
            request = httpx2.Request(request.method, url, headers=request.headers, extensions=request.extensions)
        response = transport.handle_request(request)
        if response.status_code in _REDIRECTS and "location" in response.headers:
            location = response.headers.pop("location")
            response.extensions[_LOCATION] = location if secret is None else secret.hide(location)
        return response

    def close(self) -> None:
        """Close all connections."""
        for transport in self._made.values():
            transport.close()

    def _by_way_of(self, proxy: str | None) -> httpx2.HTTPTransport:
        with self._guard:
            if proxy not in self._made:
                verify = _unverified() if self._insecure else True
                self._made[proxy] = httpx2.HTTPTransport(verify=verify, limits=self._limits, proxy=proxy)
            return self._made[proxy]


class _Redact(logging.Filter):
    """Takes a key out of messages; a server may repeat it in a header that the HTTP library logs."""

    def __init__(self, secret: Secret) -> None:
        super().__init__()
        self._secret = secret

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite one message."""
        record.msg, record.args = self._secret.hide(record.getMessage()), ()
        return True


@contextlib.contextmanager
def _hidden(secret: Secret | None) -> Iterator[None]:
    if secret is None:
        yield
        return
    redact = _Redact(secret)
    loggers = [logging.getLogger(name) for name in _LIBRARY_LOGGERS]
    for one in loggers:
        one.addFilter(redact)
    try:
        yield
    finally:
        for one in loggers:
            one.removeFilter(redact)


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _proxy(url: httpx2.URL) -> str | None:
    """The proxy that HTTPS_PROXY and its kin name for an address, unless NO_PROXY excepts it."""
    proxies = urllib.request.getproxies()
    if _is_loopback(url.host) or urllib.request.proxy_bypass(url.host):
        return None
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if proxy and not proxy.startswith(("http://", "https://")):
        raise RefusedError("HTTPS_PROXY: expected a proxy http(s)://..., found one of another kind; change it")
    return proxy or None


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d+){3}", host) is not None


def _parse_url(text: str, option: str) -> httpx2.URL:
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL:
        url = httpx2.URL("")
    if url.scheme not in ("http", "https") or not url.host or url.userinfo:
        raise ConfigError(f"{option}: expected an address http(s)://server/... without a password, found another text")
    return url


def _redirected(address: Address, url: httpx2.URL, location: str) -> httpx2.URL:
    """Where a redirect leads; a key or a login never follows it to another server."""
    try:
        target = url.join(location)
    except httpx2.InvalidURL:
        target = httpx2.URL("")
    if target.scheme not in ("http", "https") or not target.host:
        raise RefusedError(f"{address.host}: redirected to something that is no web address; {address.moved}")
    away = _origin(target) != _origin(httpx2.URL(address.url))
    if away and address.secret is not None and PLACEHOLDER in str(target):
        raise RefusedError(
            f"{address.host}: redirected to {target.scheme}://{target.host} with the key in the address; a key goes to "
            f"no other server by itself: if you trust that one, name it with {address.option}"
        )
    return target


def check_answer(address: Address, response: httpx2.Response) -> None:
    """See that an answer is one that may hold the file, or its rest.

    Args:
        address: what was asked.
        response: the answer.

    Raises:
        RefusedError: if asking again is no use; with the cure.
        PassingError: if it may be.
    """
    status = response.status_code
    words = f"answered {status} {httpx2.codes.get_reason_phrase(status)}".rstrip()
    if status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise PassingError(words, _retry_after_s(response.headers.get("retry-after", "")))
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise RefusedError(f"{address.host}: {words}; {address.login_cure or address.moved}")
    if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        raise RefusedError(f"{address.host}: {words}; {address.moved}")
    if response.headers.get("content-type", "").lower().startswith("text/html"):
        cure = address.login_cure or address.moved
        raise RefusedError(f"{address.host}: expected the file, found a web page; {cure}")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise RefusedError(f"{address.host}: expected the file as it is, found it encoded; {address.moved}")


def _retry_after_s(text: str) -> float:
    """Seconds that a ``Retry-After`` header asks for: a number or a date; 0 for anything else."""
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0


def judge(error: httpx2.HTTPError, address: Address) -> PassingError | RefusedError:
    """Say what an exception of the HTTP library means.

    Args:
        error: the exception; nothing of it is kept, since it holds the request.
        address: what was asked.

    Returns:
        An exception in words that are ours.
    """
    causes = list(_causes(error))
    invalid = next((cause for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)), None)
    if invalid is not None:
        return RefusedError(
            f"{address.host}: expected a valid certificate, found: {invalid.verify_message}; look at this machine's "
            f"clock and CA certificates; --insecure goes on without, but then {INSECURE}"
        )
    if isinstance(error, httpx2.ConnectTimeout):
        return NoConnectionError("no connection (nobody answers)")
    if isinstance(error, httpx2.TimeoutException):
        return PassingError("silent for too long")
    if isinstance(error, httpx2.RemoteProtocolError):
        return PassingError("the connection was cut")
    words = next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), None)
    kind = NoConnectionError if isinstance(error, httpx2.ConnectError) else PassingError
    return kind(f"no connection ({words or type(error).__name__})")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
