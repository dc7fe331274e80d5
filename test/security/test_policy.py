"""The shipped policy allows what the real nodes use, and nothing else."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np
import pytest
from rclpy.node import NodeNameNonExistentError
from ros_harness import Client, running
from sros2_policy import NODES, POLICY, Rights, read_rights
from synthetic import moving_square
from waiting import wait_until

pytestmark = pytest.mark.ros
pytest.importorskip("onnx", reason="onnx is missing: it is among the test requirements")

QUIET = 100  # looks at the graph, 5 ms apart, after which it is what it will be


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_bundle import write_tiny_bundle

    return write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images with true boxes."""
    folder = tmp_path_factory.mktemp("sequences") / "square"
    folder.mkdir()
    frames, boxes = zip(*moving_square(4), strict=True)
    for number, rgb in enumerate(frames):
        cv2.imwrite(str(folder / f"{number}.png"), rgb[..., ::-1])
    np.savetxt(folder / "groundtruth.txt", boxes, "%g", delimiter=",")
    return folder


def used(client: Client, node: str, ns: str = "/") -> Rights:
    """What a node has on the graph now."""
    graph = client.node

    def names(kind: str) -> frozenset[str]:
        found = getattr(graph, f"get_{kind}_names_and_types_by_node")(node, ns)
        return frozenset(name for name, _ in found)

    try:
        return Rights(names("publisher"), names("subscriber"), names("service"), names("client"))
    except NodeNameNonExistentError:
        return Rights()


def used_when(client: Client, node: str, topic: str, ns: str = "/") -> Rights:
    """What a node has when it has come as far as having a topic, and all else as well.

    Discovery tells of one endpoint after the other: they are all there when there are no more for a while.
    """
    seen: list[Rights] = []

    def settled() -> Rights | None:
        now = used(client, node, ns)
        seen.append(now)
        is_there = topic in now.publish | now.subscribe
        return now if is_there and len(seen) > QUIET and all(now == old for old in seen[-QUIET:]) else None

    return wait_until(settled, f"{topic} of {node}")


def test_the_tracker_uses_its_rights_and_no_others(client: Client, bundle: Path, tmp_path: Path) -> None:
    """Both transports, with and without simulated time: each needs some of it, together they need all."""
    settings = {"model": str(bundle), "autostart": True}
    with running("tracker_node", tmp_path, **settings):
        raw = used_when(client, "tracker", "/image")
    compressed = {"image_transport": "compressed", "use_sim_time": True}
    with running("tracker_node", tmp_path, **settings, **compressed):
        other = used_when(client, "tracker", "/image/compressed")
    assert raw | other == read_rights("/tracker")
    assert raw - other == Rights(subscribe=frozenset({"/image"}))
    assert other - raw == Rights(subscribe=frozenset({"/image/compressed", "/clock"}))


def test_a_profile_follows_its_node_into_a_namespace(client: Client, bundle: Path, tmp_path: Path) -> None:
    """With `ns` and `node` changed the rights are those of that node; a remapping must be written."""
    names = ["-r", "__ns:=/drone1", "-r", "__node:=front", "-r", "image:=/camera/image_raw"]
    arguments = ["--ros-args", *names, "--"]
    settings = {"model": str(bundle), "autostart": True, "use_sim_time": True}
    with running("tracker_node", tmp_path, *arguments, **settings):
        found = used_when(client, "front", "/camera/image_raw", "/drone1")
    allowed = read_rights("/tracker", "/drone1", "front")
    camera = frozenset({"/drone1/image", "/drone1/image/compressed", "/drone1/camera_info"})
    remapped = frozenset({"/camera/image_raw", "/camera/camera_info"})
    assert found - allowed == Rights(subscribe=remapped)
    assert allowed - found == Rights(subscribe=camera)


def test_the_page_uses_its_rights_and_no_others(client: Client, tmp_path: Path) -> None:
    """Images of either transport, and only while somebody looks."""
    pytest.importorskip("aiohttp", reason="aiohttp is missing: it is among the operators' requirements")
    with running("web_node", tmp_path, port=0, use_sim_time=True):
        found = used_when(client, "web", "/tracker/status")
    images = frozenset({"/image", "/image/compressed"})
    assert read_rights("/web") - found == Rights(subscribe=images)
    assert found - read_rights("/web") == Rights()


def test_the_ground_stations_camera_uses_its_rights_and_no_others(client: Client, tmp_path: Path) -> None:
    pytest.importorskip("pymavlink", reason="pymavlink is missing: it is among the operators' requirements")
    with running("mavlink_node", tmp_path, use_sim_time=True):
        assert used_when(client, "mavlink", "/tracker/status") == read_rights("/mavlink")


def test_the_video_node_uses_its_rights_and_no_others(client: Client, sequence: Path, tmp_path: Path) -> None:
    settings = {"path": str(sequence), "transport": "both", "start_paused": True, "use_sim_time": True}
    with running("video_node", tmp_path, **settings):
        assert used_when(client, "video", "/image/compressed") == read_rights("/video")


def test_the_replay_node_uses_its_rights_and_no_others(
    client: Client, sequence: Path, tmp_path: Path
) -> None:
    """A folder of images is sent as raw images; those of a bag may be compressed."""
    with running("replay_node", tmp_path, path=str(sequence), output=str(tmp_path / "out")):
        found = used_when(client, "replay", "/image")
    assert read_rights("/replay") - found == Rights(publish=frozenset({"/image/compressed"}))
    assert found - read_rights("/replay") == Rights()


def test_the_operator_may_do_what_the_tracker_offers_to_an_operator() -> None:
    """Every right of the operator beyond those of any node meets one of the tracker; all results are seen."""
    operator, tracker = read_rights("/operator"), read_rights("/tracker")
    own = {"/rosout", "/parameter_events"}
    assert operator.publish - own == {"/tracker/target"} <= tracker.subscribe
    unseen = {"/tracker/transition_event", *own}
    assert operator.subscribe == tracker.publish - unseen
    services = {f"/tracker/{name}" for name in ("set_target", "clear_target", "get_views")}
    assert operator.request == services <= tracker.reply


def test_the_policy_is_one_that_sros2_reads() -> None:
    """Version, elements and attributes of its format; nobody has everything."""
    keep = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    enclaves = ElementTree.parse(POLICY, keep).getroot().find("enclaves")
    assert enclaves is not None
    assert {each.tag for each in enclaves} == {"enclave"}, "sros2 takes a comment there for an enclave"
    policy = ElementTree.parse(POLICY).getroot()
    assert (policy.tag, policy.attrib) == ("policy", {"version": "0.2.0"})
    assert [e.attrib["path"] for e in policy.iterfind("enclaves/enclave")] == list(NODES)
    attributes = {"topics": {"publish", "subscribe"}, "services": {"reply", "request"}}
    for enclave, node in NODES.items():
        (profile,) = policy.findall(f"enclaves/enclave[@path='{enclave}']/profiles/profile")
        assert profile.attrib == {"ns": "/", "node": node}
        for group in profile:
            assert set(group.attrib) <= attributes[group.tag] and len(group.attrib) == 1
            assert {name.tag for name in group} == {group.tag[:-1]}
        assert not any(set("*?[") & set(name) for name in profile.itertext())
