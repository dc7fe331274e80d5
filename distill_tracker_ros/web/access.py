"""Who may do what: names of hosts, origins of pages, tokens, and rates. No sockets here."""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass

from ..core.texts import LONGEST_NAME, shown

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?")
SHORTEST_TOKEN = 8  # characters; the rate at which tokens can be tried does the rest
MOST_KEYS = 1024  # addresses that are told apart; the others share one account


def is_loopback(address: str) -> bool:
    """Whether an IP address is of this machine alone."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def key_of(address: str) -> str:
    """What rates are counted by: an IPv4 address, or an IPv6 network, of which one machine has all."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ip.ipv4_mapped or ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)


def token_refusal(token: str) -> str:
    """Why a token is not accepted as the secret of a server, which the text keeps; empty if it is."""
    length = len(token)
    if SHORTEST_TOKEN <= length <= LONGEST_NAME and token.isprintable() and token == token.strip():
        return ""
    accepted = f"{SHORTEST_TOKEN} to {LONGEST_NAME} characters that can be printed, no space at an end"
    return f"token = (a secret of {length} characters): accepted are {accepted}"


@dataclass(frozen=True)
class Access:
    """The rules of one server."""

    token: str  # empty: none is needed
    open_view: bool  # whether watching needs none
    hosts: frozenset[str] = frozenset()  # names by which it is reached, in small letters
    origins: frozenset[str] = frozenset()  # of pages that may connect, besides its own; in small letters

    def host_refusal(self, host: str) -> str:
        """Why a Host header is refused; empty if it is not.

        A page of another site can have its own name point to this machine, and would then be "the same
        origin" (DNS rebinding). It cannot do so with an address, nor with a name that is not its own.
        """
        match = _HOST.fullmatch(host)
        if match is not None:
            name = (match[1] or match[2]).lower().removesuffix(".")
            if match[1] or _is_address(name) or name in self.hosts or name in _own_names():
                return ""
        return f"Host {shown(host)} is no name of this server: open it by its address, or set allowed_hosts"

    def origin_refusal(self, origin: str | None, host: str) -> str:
        """Why a page's WebSocket is refused; empty if it is not. `host`: the Host header."""
        if origin is not None and origin.lower() in {f"http://{host}".lower(), *self.origins}:
            return ""
        return f"Origin {shown(origin)} is not this server's page: open that, or set allowed_origins"

    def why_only_watch(self, token: str) -> str | None:
        """Why who has this token may only watch; empty if it may command, None if it may not even watch."""
        if not self.token or hmac.compare_digest(token.encode(), self.token.encode()):
            return ""
        if self.open_view and not token:
            return "without the token you can only watch"
        return None


def _own_names() -> frozenset[str]:
    """Of this machine; nobody else can have them point to it for a browser."""
    name = socket.gethostname().lower()
    return frozenset({"localhost", name, f"{name}.local"})


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Rates:
    """An account for each key: it fills up at a rate, and each event takes one out. Not thread-safe.

    Keys are what others choose, so their number is bounded.
    """

    def __init__(self, per_s: float, burst: float, clock: Callable[[], float]) -> None:
        """
        Args:
            per_s: events per second that are admitted for ever.
            burst: events that are admitted at once.
            clock: time in s.
        """
        self._per_s, self._burst, self._clock = per_s, burst, clock
        self._accounts: dict[str, tuple[float, float]] = {}  # what is left, and when that was

    def admit(self, key: str = "") -> bool:
        """Take one out of the account; False if there is none."""
        if not self.has(key):
            return False
        self.take(key)
        return True

    def has(self, key: str = "") -> bool:
        """Whether there is one in the account."""
        return self._left(self._known(key), self._clock()) >= 1.0

    def take(self, key: str = "") -> None:
        """Take one out, if there is one."""
        now_s, key = self._clock(), self._known(key)
        self._accounts[key] = max(0.0, self._left(key, now_s) - 1.0), now_s

    def _left(self, key: str, now_s: float) -> float:
        left, at_s = self._accounts.get(key, (self._burst, now_s))
        return min(self._burst, left + (now_s - at_s) * self._per_s)

    def _known(self, key: str) -> str:
        """The key, or the one that is shared by those for which there is no room."""
        if key not in self._accounts and len(self._accounts) >= MOST_KEYS:
            now_s = self._clock()
            full = [other for other in self._accounts if self._left(other, now_s) >= self._burst]
            for other in full:
                del self._accounts[other]
            if not full:
                return ""
        return key
