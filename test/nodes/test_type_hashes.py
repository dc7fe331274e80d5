"""The stand-in for vision_msgs talks to the real package only if their type hashes agree."""

import json
from pathlib import Path

import pytest

ament_packages = pytest.importorskip("ament_index_python.packages")

pytestmark = pytest.mark.ros

# Of vision_msgs 4.1, the version that Humble and Jazzy release.
HASHES = {
    "Detection2DArray": "RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968",
    "Detection2D": "RIHS01_0d12b69df5c593b3455b7346fac8205437a7d4bcb09b9e0e0b2dde787ded38ea",
    "BoundingBox2D": "RIHS01_008eacbb0cf8f26e83795547bed013eec3675485ef386ec056d80eaaf1c1ce2f",
    "ObjectHypothesisWithPose": "RIHS01_41c12344c0396c48b81df12467c192d99b2a0eb1463c5c37194e4223251c80bc",
    "ObjectHypothesis": "RIHS01_51da43cec11c01957a64d1e05a24acd18aae7745ec30b74348ad5f6d634f7f90",
    "Pose2D": "RIHS01_b0b5d1d7b4c20dd4fcde3ed1d4b289a919290572007d67a97043814db25d3648",
    "Point2D": "RIHS01_eab0e83f44ab4de92ceaf76dd7d0e7638f2bdd1d16ffbe16c7a136c48e407247",
}


@pytest.fixture(scope="module")
def descriptions() -> Path:
    try:
        share = Path(ament_packages.get_package_share_directory("vision_msgs"))
    except LookupError:
        pytest.skip("vision_msgs is not in the sourced environment: . install/setup.bash")
    if not (share / "msg/Point2D.json").exists():
        pytest.skip("this ROS 2 generates no type descriptions (before Jazzy)")
    return share / "msg"


@pytest.mark.parametrize("name", HASHES)
def test_type_hash_is_that_of_vision_msgs_4_1(descriptions, name):
    type_hashes = json.loads((descriptions / f"{name}.json").read_text())["type_hashes"]
    own = {entry["hash_string"] for entry in type_hashes if entry["type_name"] == f"vision_msgs/msg/{name}"}
    assert own == {HASHES[name]}
