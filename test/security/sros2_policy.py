"""What an SROS2 policy allows, as sets of names that can be compared with a node or turned into keys."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, fields
from pathlib import Path

POLICY = Path(__file__).parents[2] / "config" / "security" / "policy.xml"
NODES = {f"/{name}": name for name in ("tracker", "operator", "web", "mavlink", "video", "replay")}


@dataclass(frozen=True)
class Rights:
    """Full names of topics and services."""

    publish: frozenset[str] = frozenset()  # topics
    subscribe: frozenset[str] = frozenset()  # topics
    reply: frozenset[str] = frozenset()  # services that are offered
    request: frozenset[str] = frozenset()  # services that are called

    def __or__(self, other: Rights) -> Rights:
        return Rights(*(getattr(self, f.name) | getattr(other, f.name) for f in fields(Rights)))

    def __sub__(self, other: Rights) -> Rights:
        return Rights(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(Rights)))


def read_rights(enclave: str, ns: str = "", node: str = "") -> Rights:
    """The rights of the one profile in an enclave of the shipped policy.

    Args:
        enclave: its path.
        ns, node: in place of those of the profile; empty = those of the profile.
    """
    (profile,) = ElementTree.parse(POLICY).findall(f"enclaves/enclave[@path='{enclave}']/profiles/profile")
    ns, node = ns or profile.attrib["ns"], node or profile.attrib["node"]
    found: dict[str, set[str]] = {f.name: set() for f in fields(Rights)}
    for group in profile:
        for right, rule in group.attrib.items():
            assert rule == "ALLOW", "what is not allowed is denied anyway"
            found[right] |= {_full_name(ns, node, name.text or "") for name in group}
    return Rights(**{right: frozenset(names) for right, names in found.items()})


def _full_name(ns: str, node: str, name: str) -> str:
    if name.startswith("/"):
        return name
    root = ns.rstrip("/")
    return f"{root}/{node}{name[1:]}" if name.startswith("~") else f"{root}/{name}"
