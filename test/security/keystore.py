"""A keystore as `ros2 security` makes one, from the rights of a policy: for tests, with openssl's command."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.sax.saxutils import escape

from sros2_policy import Rights

DAYS = "2"
NO_LATER = "2099-01-01T00:00:00"
GOVERNANCE = """<?xml version="1.0" encoding="UTF-8"?>
<dds xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xsi:noNamespaceSchemaLocation="http://www.omg.org/spec/DDS-SECURITY/20170901/omg_shared_ca_governance.xsd">
  <domain_access_rules>
    <domain_rule>
      <domains><id>{domain}</id></domains>
      <allow_unauthenticated_participants>false</allow_unauthenticated_participants>
      <enable_join_access_control>true</enable_join_access_control>
      <discovery_protection_kind>ENCRYPT</discovery_protection_kind>
      <liveliness_protection_kind>ENCRYPT</liveliness_protection_kind>
      <rtps_protection_kind>SIGN</rtps_protection_kind>
      <topic_access_rules>
        <topic_rule>
          <topic_expression>*</topic_expression>
          <enable_discovery_protection>true</enable_discovery_protection>
          <enable_liveliness_protection>true</enable_liveliness_protection>
          <enable_read_access_control>true</enable_read_access_control>
          <enable_write_access_control>true</enable_write_access_control>
          <metadata_protection_kind>ENCRYPT</metadata_protection_kind>
          <data_protection_kind>ENCRYPT</data_protection_kind>
        </topic_rule>
      </topic_access_rules>
    </domain_rule>
  </domain_access_rules>
</dds>
"""
PERMISSIONS = """<?xml version="1.0" encoding="UTF-8"?>
<dds xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xsi:noNamespaceSchemaLocation="http://www.omg.org/spec/DDS-SECURITY/20170901/omg_shared_ca_permissions.xsd">
  <permissions>
    <grant name="{enclave}">
      <subject_name>CN={enclave}</subject_name>
      <validity><not_before>2020-01-01T00:00:00</not_before><not_after>{no_later}</not_after></validity>
      <allow_rule>
        <domains><id>{domain}</id></domains>
        <publish><topics>{publish}</topics></publish>
        <subscribe><topics>{subscribe}</topics></subscribe>
      </allow_rule>
      <default>DENY</default>
    </grant>
  </permissions>
</dds>
"""


def dds_topics(rights: Rights) -> tuple[list[str], list[str]]:
    """The DDS topics that may be published and subscribed: rt is a topic, rq a request, rr a reply."""
    requests = {side: [f"rq{name}Request" for name in getattr(rights, side)] for side in ("reply", "request")}
    replies = {side: [f"rr{name}Reply" for name in getattr(rights, side)] for side in ("reply", "request")}
    graph = ["ros_discovery_info"]  # which node has which endpoint
    publish = [f"rt{name}" for name in rights.publish] + replies["reply"] + requests["request"]
    subscribe = [f"rt{name}" for name in rights.subscribe] + requests["reply"] + replies["request"]
    return sorted(publish + graph), sorted(subscribe + graph)


def permissions(enclave: str, rights: Rights, domain: int) -> str:
    """The DDS permissions document of an enclave."""
    publish, subscribe = map(_topics, dds_topics(rights))
    return PERMISSIONS.format(
        enclave=enclave, domain=domain, publish=publish, subscribe=subscribe, no_later=NO_LATER
    )


def make_keystore(folder: Path, enclaves: Mapping[str, Rights], domain: int) -> Path:
    """Keys, certificates and signed documents for each enclave (its path -> its rights); gives the folder."""
    folder.mkdir(parents=True)
    ca = _certificate(folder, "ca", "test CA")
    signed = _signed(folder / "governance.p7s", GOVERNANCE.format(domain=domain), ca)
    for path, rights in enclaves.items():
        enclave = folder / "enclaves" / path.strip("/")
        enclave.mkdir(parents=True)
        _certificate(enclave, "", path, ca)
        for name in ("identity_ca.cert.pem", "permissions_ca.cert.pem"):
            (enclave / name).symlink_to(f"{ca}.cert.pem")
        (enclave / "governance.p7s").symlink_to(signed)
        _signed(enclave / "permissions.p7s", permissions(path, rights, domain), ca)
    return folder


def _topics(names: Iterable[str]) -> str:
    return "".join(f"<topic>{escape(name)}</topic>" for name in names)


def _certificate(folder: Path, name: str, common_name: str, issuer: Path | None = None) -> Path:
    """Make a key and a certificate, by itself or by an issuer; gives where, without the ending."""
    stem = f"{name}." if name else ""
    key, certificate = folder / f"{stem}key.pem", folder / f"{stem}cert.pem"
    by = ["-CA", f"{issuer}.cert.pem", "-CAkey", f"{issuer}.key.pem"] if issuer else []
    _openssl(
        *(
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            DAYS,
        ),
        *("-keyout", key, "-out", certificate, "-subj", f"/CN={common_name.replace('/', chr(92) + '/')}"),
        *("-addext", f"basicConstraints={'CA:FALSE' if issuer else 'critical,CA:TRUE'}", *by),
    )
    return folder / name


def _signed(file: Path, text: str, ca: Path) -> Path:
    """Sign a document with S/MIME, in clear text."""
    plain = file.with_suffix(".xml")
    plain.write_text(text)
    _openssl(
        *("smime", "-sign", "-text", "-in", plain, "-out", file),
        *("-signer", f"{ca}.cert.pem", "-inkey", f"{ca}.key.pem"),
    )
    return file


def _openssl(*arguments: str | Path) -> None:
    command = ["openssl", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stderr}"
