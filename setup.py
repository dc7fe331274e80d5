"""What colcon installs on a robot. Training and tests stay in the checkout."""

from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

NAME = "distill_tracker_ros"
SHARE = f"share/{NAME}"


def folder(path: str) -> tuple[str, list[str]]:
    """The files of a folder, for the same place below the share folder. data_files does not recurse."""
    return (
        f"{SHARE}/{path.rstrip('/')}",
        [str(file) for file in sorted(Path(path).iterdir()) if file.is_file()],
    )


setup(
    name=NAME,
    version="0.1.0",
    description="Follows any target that an operator marks in a camera picture",
    maintainer="distill_tracker_ros maintainers",
    maintainer_email="maintainers@distill-tracker-ros.invalid",
    license="Apache-2.0",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={
        f"{NAME}.evaluation.report": ["report.html.j2"],
        f"{NAME}.runtime": ["reference_views.*"],
        f"{NAME}.web": ["page/*"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (SHARE, ["package.xml"]),
        (f"{SHARE}/launch", sorted(glob("launch/*.launch.py"))),
        folder("config"),
        folder("config/security"),
        *(folder(path) for path in sorted(glob("models/*/"))),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},
    zip_safe=True,
    entry_points={
        "console_scripts": [
            f"tracker_node = {NAME}.nodes.tracker_node:main",
            f"video_node = {NAME}.nodes.video_node:main",
            f"replay_node = {NAME}.nodes.replay_node:main",
            f"web_node = {NAME}.nodes.web_node:main",
            f"mavlink_node = {NAME}.nodes.mavlink_node:main",
            f"distill-tracker = {NAME}.cli:main",
        ],
    },
)
