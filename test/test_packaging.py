"""package.xml, setup.py and the tree say the same."""

import ast
import os
import re
import runpy
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "distill_tracker_ros"

# The rosdep key of what is imported under another name than that of its ROS package.
KEYS = {
    "aiohttp": "python3-aiohttp",
    "cv2": "python3-opencv",
    "jinja2": "python3-jinja2",
    "markupsafe": "python3-jinja2",  # a part of it
    "matplotlib": "python3-matplotlib",
    "numpy": "python3-numpy",
    "scipy": "python3-scipy",
    "tqdm": "python3-tqdm",
    "yaml": "python3-yaml",
}
# Without a usable rosdep key: imported only where they are used, with a message that says how to get them.
OPTIONAL = {"cuda", "onnx", "onnxruntime", "pymavlink", "rosbags", "skimage", "tensorrt", "tensorrt_rtx"}
OPTIONAL |= {"apsw", "backports", "compression", "lz4"}  # they come with rosbags
# Of the checkout itself, and of Python.
OWN = {"distill_tracker_ros"} | set(sys.stdlib_module_names)


def package_xml(folder: Path) -> ElementTree.Element:
    return ElementTree.parse(folder / "package.xml").getroot()


def dependencies(folder: Path) -> set[str]:
    return {element.text for element in package_xml(folder) if element.tag.endswith("depend")}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.fixture(scope="module")
def setup_arguments() -> dict:
    """What setup.py hands to setuptools."""
    received = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr("setuptools.setup", received.update)
        runpy.run_path("setup.py")
    return received


def test_versions_agree(setup_arguments):
    versions = {package_xml(folder).findtext("version") for folder in (ROOT, ROOT / "distill_tracker_msgs")}
    assert versions == {setup_arguments["version"]}


def test_name_and_maintainer_agree(setup_arguments):
    xml = package_xml(ROOT)
    assert xml.findtext("name") == setup_arguments["name"]
    assert xml.findtext("maintainer") == setup_arguments["maintainer"]
    assert xml.find("maintainer").get("email") == setup_arguments["maintainer_email"]


@pytest.mark.parametrize("folder", ["launch", "config", "models"])
def test_every_file_is_installed_in_its_place(setup_arguments, folder):
    installed = {
        (file, destination) for destination, files in setup_arguments["data_files"] for file in files
    }
    files = [path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file()]
    expected = {
        (str(path), f"share/distill_tracker_ros/{path.parent}") for path in files if path.suffix != ".pyc"
    }
    assert expected, f"{folder}/ is empty"
    assert expected <= installed


def test_only_the_tracker_is_installed(setup_arguments):
    assert "distill_tracker_ros" in setup_arguments["packages"]
    assert {name.split(".")[0] for name in setup_arguments["packages"]} == {"distill_tracker_ros"}
    folders = {str(path.parent.relative_to(ROOT)).replace(os.sep, ".") for path in PACKAGE.rglob("*.py")}
    assert folders == set(setup_arguments["packages"]), "a folder without __init__.py is not installed"


def test_what_lies_beside_the_modules_is_installed(setup_arguments):
    installed = {
        path
        for package, patterns in setup_arguments["package_data"].items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    beside = {p for p in PACKAGE.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    assert installed == beside and beside


def test_commands_exist(setup_arguments):
    for command in setup_arguments["entry_points"]["console_scripts"]:
        module, function = re.fullmatch(r"\S+ = (\S+):(\S+)", command).groups()
        tree = ast.parse((ROOT / (module.replace(".", "/") + ".py")).read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, command


def test_every_import_is_declared():
    declared = dependencies(ROOT)
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "launch").glob("*.py")]:
        needed = {KEYS.get(name, name) for name in imported(path) - OWN - OPTIONAL}
        assert needed <= declared, f"{path.relative_to(ROOT)} imports what package.xml does not name"


def test_every_interface_in_the_messages_is_declared():
    folder = ROOT / "distill_tracker_msgs"
    used = set()
    for path in [*folder.glob("msg/*.msg"), *folder.glob("srv/*.srv")]:
        used |= set(re.findall(r"^(\w+)/\w+", path.read_text(), re.MULTILINE))
        assert f'"{path.relative_to(folder)}"' in (folder / "CMakeLists.txt").read_text()
    assert used <= dependencies(folder)


def test_the_drone_needs_no_training_packages():
    text = " ".join(dependencies(ROOT) | dependencies(ROOT / "distill_tracker_msgs"))
    assert not re.search("torch|timm|onnxscript|accelerate", text)


def test_plain_colcon_in_the_checkout_finds_both_packages():
    if not shutil.which("colcon"):
        pytest.skip("colcon is not in PATH")
    # colcon writes its log below the current directory, which a test must not do.
    result = subprocess.run(
        ["colcon", "--log-base", os.devnull, "list", "--names-only"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == ["distill_tracker_msgs", "distill_tracker_ros"]
