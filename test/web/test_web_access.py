"""Names, origins, tokens and rates: what the server lets in."""

from __future__ import annotations

import socket

import pytest

from distill_tracker_ros.web.access import MOST_KEYS, Access, Rates, is_loopback, key_of


def access(**values: object) -> Access:
    return Access(**{"token": "", "open_view": False, **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:8088",
        "localhost.:8088",
        "127.0.0.1",
        "127.0.0.1:8088",
        "192.168.1.7:80",
        "[::1]:8088",
        "[fe80::1]",
        f"{socket.gethostname()}:8088",
        f"{socket.gethostname()}.local",
        "drone.example:8088",
    ],
)
def test_addresses_own_names_and_allowed_ones_are_hosts(host: str) -> None:
    assert access(hosts=frozenset({"drone.example"})).host_refusal(host) == ""


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8088",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "localhost:8088@evil.example",
        "127.0.0.1:8088:1",
        "127.0.0.1 evil",
        "127.0.0.1:",
        "[evil]",
        "[::1",
        "a" * 5000,
        "localhost\x00",
        "0x7f000001",
        "2130706433",
    ],
)
def test_other_names_are_none(host: str) -> None:
    refusal = access().host_refusal(host)
    assert "allowed_hosts" in refusal and len(refusal) < 300


@pytest.mark.parametrize(
    ("origin", "host", "accepted"),
    [
        ("http://127.0.0.1:8088", "127.0.0.1:8088", True),
        ("http://localhost:8088", "LOCALHOST:8088", True),
        ("https://drone.example", "127.0.0.1:8088", True),
        (None, "127.0.0.1:8088", False),
        ("null", "127.0.0.1:8088", False),
        ("", "127.0.0.1:8088", False),
        ("https://127.0.0.1:8088", "127.0.0.1:8088", False),
        ("http://127.0.0.1:9000", "127.0.0.1:8088", False),
        ("http://localhost:8088", "127.0.0.1:8088", False),
        ("http://evil.example", "127.0.0.1:8088", False),
        ("https://drone.example.evil.example", "127.0.0.1:8088", False),
    ],
)
def test_origins(origin: str | None, host: str, accepted: bool) -> None:
    refusal = access(origins=frozenset({"https://drone.example"})).origin_refusal(origin, host)
    assert (refusal == "") == accepted
    assert accepted or "allowed_origins" in refusal


def test_without_a_token_everybody_may_command() -> None:
    assert access().why_only_watch("") == "" and access().why_only_watch("any") == ""


def test_with_a_token_nothing_goes_without_it() -> None:
    one = access(token="secret")
    assert one.why_only_watch("secret") == ""
    assert [one.why_only_watch(token) for token in ("", "secre", "secret ", "SECRET", "\u00e9")] == [None] * 5


def test_an_open_view_is_for_those_without_a_token_and_not_for_wrong_ones() -> None:
    one = access(token="secret", open_view=True)
    assert "only watch" in (one.why_only_watch("") or "")
    assert one.why_only_watch("wrong") is None and one.why_only_watch("secret") == ""


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback(address: str, expected: bool) -> None:
    assert is_loopback(address) == expected


def test_rates_are_counted_by_machine() -> None:
    assert key_of("10.0.0.1") == key_of("::ffff:10.0.0.1") == "10.0.0.1"
    assert key_of("2001:db8::1") == key_of("2001:db8::ffff:1") != key_of("2001:db8:0:1::1")
    assert key_of("fe80::1%eth0") == key_of("fe80::2%eth1")


class TestRates:
    now_s = 100.0

    def rates(self, per_s: float = 2.0, burst: float = 3.0) -> Rates:
        return Rates(per_s, burst, lambda: self.now_s)

    def test_a_burst_and_then_the_rate(self) -> None:
        rates = self.rates()
        assert [rates.admit() for _ in range(5)] == [True, True, True, False, False]
        self.now_s += 0.5
        assert [rates.admit() for _ in range(2)] == [True, False]
        self.now_s += 1000
        assert [rates.admit() for _ in range(4)] == [True, True, True, False]

    def test_each_key_has_its_own(self) -> None:
        rates = self.rates(burst=1.0)
        assert [rates.admit(key) for key in "aabb"] == [True, False, True, False]

    def test_asking_takes_nothing_and_nothing_goes_below_empty(self) -> None:
        rates = self.rates(burst=1.0)
        assert rates.has() and rates.has()
        for _ in range(50):
            rates.take()
        assert not rates.has()
        self.now_s += 0.5
        assert rates.has()

    def test_keys_without_end_share_one_account_and_fill_no_memory(self) -> None:
        rates = self.rates(burst=1.0)
        admitted = sum(rates.admit(str(number)) for number in range(3 * MOST_KEYS))
        assert admitted == MOST_KEYS + 1
        assert len(rates._accounts) <= MOST_KEYS + 1
        self.now_s += 10  # all are full again: there is room for others
        assert rates.admit("new") and not rates.admit("new") and rates.admit("newer")
        assert len(rates._accounts) <= MOST_KEYS + 1
