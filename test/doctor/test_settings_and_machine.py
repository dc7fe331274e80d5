"""Settings and machines that are not as they should be, and those that are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from distill_tracker_ros.doctor import machine, ros_settings
from distill_tracker_ros.doctor.finding import Finding


def settings(**env: str) -> dict[str, Finding]:
    return {finding.name: finding for finding in ros_settings.examine(env)}


def test_nothing_is_wrong_with_an_environment_in_which_nothing_is_set() -> None:
    assert [finding for finding in settings().values() if not finding.ok] == []


@pytest.mark.parametrize(
    ("name", "env", "words"),
    [
        ("ROS_DOMAIN_ID", {"ROS_DOMAIN_ID": "233"}, "'233': export a whole number from 0 to 232"),
        ("ROS_DOMAIN_ID", {"ROS_DOMAIN_ID": "-1"}, "'-1': export a whole number"),
        ("ROS_DOMAIN_ID", {"ROS_DOMAIN_ID": "two"}, "'two': export a whole number"),
        ("discovery", {"ROS_AUTOMATIC_DISCOVERY_RANGE": "localhost"}, "export one of SUBNET, LOCALHOST"),
        ("discovery", {"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"}, "no node sees another"),
        ("DDS profile", {"FASTRTPS_DEFAULT_PROFILES_FILE": "/no/such.xml"}, "/no/such.xml is no file"),
        ("ROS security", {"ROS_SECURITY_ENABLE": "true"}, "ROS_SECURITY_KEYSTORE='' has no folder enclaves"),
    ],
)
def test_a_wrong_setting_is_named_with_what_to_do(name: str, env: dict[str, str], words: str) -> None:
    finding = settings(**env)[name]
    assert not finding.ok and words in finding.detail


@pytest.mark.parametrize(
    ("name", "env", "words"),
    [
        ("ROS_DISTRO", {"ROS_DISTRO": "jazzy"}, "jazzy"),
        ("ROS_DISTRO", {"ROS_DISTRO": "foxy"}, "tested are humble, jazzy"),
        ("ROS_DOMAIN_ID", {"ROS_DOMAIN_ID": "7"}, "7: all nodes"),
        ("ROS_DOMAIN_ID", {"ROS_DOMAIN_ID": "120"}, "0 to 101 keep clear"),
        ("discovery", {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, "no node on another machine"),
        ("discovery", {"ROS_LOCALHOST_ONLY": "1"}, "no node on another machine"),
        ("discovery", {"ROS_LOCALHOST_ONLY": "0"}, "every machine"),
        ("DDS profile", {"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, "has its own"),
        ("ROS security", {}, "off: whoever is on the network"),
    ],
)
def test_a_setting_that_is_worth_knowing_is_no_fault(name: str, env: dict[str, str], words: str) -> None:
    finding = settings(**env)[name]
    if name == "DDS profile":  # whether that middleware is installed is another finding
        assert words in finding.detail
    assert finding.ok and words in finding.detail


def test_a_middleware_that_is_not_installed() -> None:
    chosen = {"RMW_IMPLEMENTATION": "rmw_nobody_cpp"}
    assert not ros_settings._middleware(chosen, ["rmw_fastrtps_cpp"]).ok
    assert ros_settings._middleware(chosen, ["rmw_nobody_cpp"]).ok
    assert ros_settings._middleware(chosen, None).ok, "without ROS nobody can tell"


def test_security_has_to_be_enforced(tmp_path: Path) -> None:
    (tmp_path / "enclaves").mkdir()
    env = {"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_KEYSTORE": str(tmp_path)}
    lenient = settings(**env)["ROS security"]
    assert not lenient.ok and "nodes without keys run unsecured" in lenient.detail
    assert settings(**env, ROS_SECURITY_STRATEGY="Enforce")["ROS security"].ok


def test_a_clock_that_was_never_set() -> None:
    finding = machine._clock(12.0, synchronised=False)
    assert not finding.ok and "1970-01-01" in finding.detail and "timedatectl" in finding.detail
    assert machine._clock(machine.RELEASED_S + 1, synchronised=True).detail.endswith("synchronised")


def test_folders_are_looked_at_and_not_made(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert machine._folder("state", folder).ok and not folder.exists()
    (tmp_path / "a").write_text("a file where a folder has to be")
    finding = machine._folder("state", folder)
    assert not finding.ok and f"{tmp_path / 'a'} must be a folder" in finding.detail


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert not machine._folder("state", tmp_path / "a").ok
    tmp_path.chmod(0o700)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "LEAST_FREE_BYTES", 10**18)
    finding = machine._folder("logs", tmp_path)
    assert not finding.ok and "make room" in finding.detail


def test_plans_that_anybody_may_change(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    finding = machine._plans(tmp_path)
    assert not finding.ok and f"chmod o-w {tmp_path}" in finding.detail
    tmp_path.chmod(0o700)
    assert machine._plans(tmp_path).ok


def test_folders_follow_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "ROS_LOG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    found = {finding.name: finding.detail for finding in machine.examine()}
    assert found["state"].startswith(f"{tmp_path}/XDG_STATE_HOME/distill_tracker_ros,")
    assert found["plan cache"].startswith(f"{tmp_path}/XDG_CACHE_HOME/distill_tracker_ros/plans,")
    assert found["logs"].startswith(f"{tmp_path}/ROS_LOG_DIR,")


def test_kernel_limits(tmp_path: Path) -> None:
    file = tmp_path / "rmem_max"
    assert machine._receive_buffer(file).detail == "cannot be read here"
    file.write_text("212992\n")
    small = machine._receive_buffer(file)
    assert small.ok and "sysctl -w net.core.rmem_max=2097152" in small.detail
    file.write_text("4194304\n")
    assert machine._receive_buffer(file).detail == "4194304 bytes"
    (tmp_path / "ipfrag_high_thresh").write_text("4194304\n")
    (tmp_path / "ipfrag_time").write_text("30\n")
    assert "ipfrag_time=3" in machine._fragments(tmp_path).detail
