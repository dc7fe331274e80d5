"""The environment variables that decide with whom a node talks, and how."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from .. import dds
from .finding import Finding

DISTRIBUTIONS = ("humble", "jazzy")  # that the package is made for
FAST_DDS = "rmw_fastrtps_cpp"
RANGES = ("SUBNET", "LOCALHOST", "OFF", "SYSTEM_DEFAULT")
LAST_DOMAIN = 232
SHARED_DOMAINS = range(102, 215)  # Linux gives their ports to other programs, too


def examine(env: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Look at the settings that this process was started with."""
    yield _distribution(env)
    yield _middleware(env, _middlewares())
    yield domain(env)
    yield _discovery(env)
    yield _profile(env)
    yield _security(env)


def _distribution(env: Mapping[str, str]) -> Finding:
    name = env.get("ROS_DISTRO", "")
    if not name:
        return Finding("ROS_DISTRO", True, "not set, as with ROS 2 from wheels")
    known = name in DISTRIBUTIONS
    return Finding("ROS_DISTRO", True, name if known else f"{name}: tested are {', '.join(DISTRIBUTIONS)}")


def _middlewares() -> list[str] | None:
    """The middlewares that are installed; None if nobody can tell."""
    try:
        from ament_index_python.resources import get_resources

        return sorted(get_resources("rmw_typesupport"))
    except (ImportError, LookupError, OSError):  # no ROS here, or not sourced
        return None


def _middleware(env: Mapping[str, str], installed: list[str] | None) -> Finding:
    chosen = env.get("RMW_IMPLEMENTATION", "")
    if not chosen:
        return Finding("RMW_IMPLEMENTATION", True, f"not set: {FAST_DDS}, if ROS 2 was not built otherwise")
    if installed is not None and chosen not in installed:
        what = f"{chosen} is not installed (installed: {', '.join(installed) or 'none'})"
        return Finding("RMW_IMPLEMENTATION", False, f"{what}: unset RMW_IMPLEMENTATION or install it")
    return Finding("RMW_IMPLEMENTATION", True, f"{chosen}: all nodes need the same")


def domain(env: Mapping[str, str] = os.environ) -> Finding:
    """Fast DDS ends the process where this is wrong."""
    text = env.get("ROS_DOMAIN_ID", "")
    if not text:
        return Finding("ROS_DOMAIN_ID", True, "not set: 0, as every robot that was not told otherwise")
    if not (text.isdecimal() and int(text) <= LAST_DOMAIN):
        return Finding("ROS_DOMAIN_ID", False, f"{text!r}: export a whole number from 0 to {LAST_DOMAIN}")
    if int(text) in SHARED_DOMAINS:
        return Finding("ROS_DOMAIN_ID", True, f"{text}: 0 to 101 keep clear of the ports of other programs")
    return Finding("ROS_DOMAIN_ID", True, f"{text}: all nodes need the same")


def _discovery(env: Mapping[str, str]) -> Finding:
    chosen, name = env.get("ROS_AUTOMATIC_DISCOVERY_RANGE", ""), "discovery"
    # The older variable goes first where both are set.
    if env.get("ROS_LOCALHOST_ONLY") == "1":
        return Finding(name, True, "ROS_LOCALHOST_ONLY=1: no node on another machine is seen")
    if chosen and chosen not in RANGES:
        what = f"ROS_AUTOMATIC_DISCOVERY_RANGE={chosen!r}"
        return Finding(name, False, f"{what}: export one of {', '.join(RANGES)}")
    if chosen == "LOCALHOST":
        return Finding(name, True, "LOCALHOST: no node on another machine is seen")
    if chosen == "OFF":
        return Finding(name, False, "OFF: no node sees another: unset ROS_AUTOMATIC_DISCOVERY_RANGE")
    return Finding(name, True, f"{chosen or 'not set'}: every machine of the network that can be reached")


def _profile(env: Mapping[str, str]) -> Finding:
    file, middleware, name = env.get(dds.VARIABLE, ""), env.get("RMW_IMPLEMENTATION", FAST_DDS), "DDS profile"
    if "fastrtps" not in middleware:
        return Finding(name, True, f"{middleware} has its own; {dds.FILE} is for Fast DDS")
    if not file:
        text = "not set: a raw camera image above 0.5 MB needs it in the camera's process, README tells how"
        return Finding(name, True, text)
    if not Path(file).is_file():
        return Finding(name, False, f"{dds.VARIABLE}={file} is no file, and is ignored: export one that is")
    return Finding(name, True, file)


def _security(env: Mapping[str, str]) -> Finding:
    name, keystore = "ROS security", env.get("ROS_SECURITY_KEYSTORE", "")
    if env.get("ROS_SECURITY_ENABLE", "").lower() != "true":
        return Finding(name, True, "off: whoever is on the network can set targets, see docs/security.md")
    if not Path(keystore, "enclaves").is_dir():
        what = f"ROS_SECURITY_KEYSTORE={keystore!r} has no folder enclaves"
        return Finding(name, False, f"{what}: name the folder that 'ros2 security create_keystore' has made")
    if env.get("ROS_SECURITY_STRATEGY") != "Enforce":
        text = "nodes without keys run unsecured: export ROS_SECURITY_STRATEGY=Enforce"
        return Finding(name, False, text)
    return Finding(name, True, f"enforced, with the keys of {keystore}")
