"""Directions against a forward projection that is made here: by OpenCV, beyond 90 degrees by the formula."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from distill_tracker_ros.core.line_of_sight import MODELS, Camera, CameraError, line_of_sight

MOST_DEGREES = 0.1
FHD = (1920, 1080)
PINHOLE = Camera((640, 480), (500.0, 0, 320, 0, 510, 235, 0, 0, 1))
TURN = cv2.Rodrigues(np.array([0.02, -0.05, 0.01]))[0]

# As calibrations of real lenses are: the models hold over the whole picture.
CAMERAS = {
    "no distortion": PINHOLE,
    "plumb_bob 4": Camera(
        FHD, (1400.0, 0, 958.3, 0, 1395, 545.1, 0, 0, 1), "plumb_bob", (-0.31, 0.11, 0.0012, -0.0007)
    ),
    "plumb_bob 5": Camera(
        FHD, (1050.0, 0, 961, 0, 1052, 533, 0, 0, 1), "plumb_bob", (-0.28, 0.09, -0.0008, 0.0011, -0.008)
    ),
    "plumb_bob, pincushion": Camera(
        (640, 480), (610.0, 0, 331, 0, 612, 242, 0, 0, 1), "plumb_bob", (0.21, -0.5, 0.001, 0.002, 0.4)
    ),
    "rational 8": Camera(
        FHD,
        (640.0, 0, 955, 0, 640, 542, 0, 0, 1),
        "rational_polynomial",
        (0.62, 0.045, 0.0001, -0.0002, 0.0012, 0.96, 0.16, 0.009),
    ),
    "rational 12": Camera(
        FHD,
        (980.0, 0, 955, 0, 978, 542, 0, 0, 1),
        "rational_polynomial",
        (0.4, 0.05, 0.0003, -0.0006, 0.002, 0.7, 0.14, 0.01, 0.002, -0.0004, -0.001, 0.0003),
    ),
    "rational 14": Camera(
        FHD,
        (980.0, 0, 955, 0, 978, 542, 0, 0, 1),
        "rational_polynomial",
        (0.4, 0.05, 0.0003, -0.0006, 0.002, 0.7, 0.14, 0.01, 0.002, -0.0004, -0.001, 0.0003, 0.02, -0.03),
    ),
    "equidistant, 120 degrees": Camera(
        FHD, (900.0, 0, 957, 0, 903, 545, 0, 0, 1), "equidistant", (-0.01, 0.004, -0.002, 0.0003)
    ),
    "fisheye, 224 degrees": Camera(
        (1200, 1200), (420.0, 0, 603, 0, 419, 597, 0, 0, 1), "fisheye", (0.02, -0.004, 0.0007, -0.0001)
    ),
}
every_camera = pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)


def project(camera: Camera, rays: NDArray[Any]) -> NDArray[Any]:
    """(N, 3) directions in the frame of the lens -> (N, 2) continuous pixels of the calibration's images."""
    matrix, rays = np.array(camera.matrix, np.float64).reshape(3, 3), np.asarray(rays, np.float64)
    if camera.model in ("equidistant", "fisheye"):
        angle = np.arctan2(np.hypot(rays[:, 0], rays[:, 1]), rays[:, 2])
        k1, k2, k3, k4 = camera.coefficients
        radius = angle * (1 + k1 * angle**2 + k2 * angle**4 + k3 * angle**6 + k4 * angle**8)
        around = np.arctan2(rays[:, 1], rays[:, 0])
        plane = np.stack([radius * np.cos(around), radius * np.sin(around)], axis=1)
        return plane * matrix.diagonal()[:2] + matrix[:2, 2] + 0.5
    none = np.zeros(3)
    coefficients = np.array(camera.coefficients or (0.0,) * 4, np.float64)
    pixels = cv2.projectPoints(rays / rays[:, 2:], none, none, matrix, coefficients)[0]
    return np.asarray(pixels[:, 0] + 0.5)  # OpenCV's pixel 0 has its centre at 0


def degrees(a: NDArray[Any], b: NDArray[Any]) -> float:
    return math.degrees(math.atan2(np.linalg.norm(np.cross(a, b)), a @ b))


def rays_of(most_degrees: float, count: int = 31) -> NDArray[Any]:
    """(count, 15, 3) directions up to so far from the axis, all around."""
    angles = np.radians(np.linspace(0, most_degrees, count))[:, None]
    around = np.radians(np.arange(0, 360, 24))[None]
    x, y = np.sin(angles) * np.cos(around), np.sin(angles) * np.sin(around)
    return np.stack([x, y, np.cos(angles) * np.ones_like(around)], axis=-1)


@every_camera
def test_a_ray_that_makes_a_pixel_is_found_again(camera: Camera) -> None:
    """To a tenth of a degree at most, really to a thousandth; rays beyond a fold are not in the picture."""
    rays = rays_of(125 if camera.model == "fisheye" else 75)
    pixels = project(camera, rays.reshape(-1, 3)).reshape(*rays.shape[:2], 2)
    from_centre = np.linalg.norm(pixels - pixels[0], axis=-1)
    rises = np.minimum.accumulate(np.diff(from_centre, axis=0, prepend=-1) > 0, axis=0)
    inside = ((pixels > 0) & (pixels < camera.size)).all(axis=-1) & rises
    errors = [
        degrees(line_of_sight(camera, (u, v), camera.size), ray)
        for (u, v), ray in zip(pixels[inside], rays[inside], strict=True)
    ]
    assert len(errors) > 150 and max(errors) < MOST_DEGREES / 100


@every_camera
def test_every_pixel_has_a_direction_that_makes_it(camera: Camera) -> None:
    """Corners and edges included."""
    width, height = camera.size
    pixels = np.array([(u, v) for u in np.linspace(0, width, 25) for v in np.linspace(0, height, 19)])
    found = np.array([line_of_sight(camera, (u, v), camera.size) for u, v in pixels])
    assert np.linalg.norm(found, axis=1) == pytest.approx(1)
    assert np.abs(project(camera, found) - pixels).max() < 0.01


def test_opencv_agrees_on_what_a_fisheye_does() -> None:
    """The formula of `project`, where OpenCV has one too."""
    for camera in (CAMERAS["equidistant, 120 degrees"], CAMERAS["fisheye, 224 degrees"]):
        rays, none = rays_of(80).reshape(-1, 3), np.zeros(3)
        matrix = np.array(camera.matrix).reshape(3, 3)
        pixels = cv2.fisheye.projectPoints(rays[:, None], none, none, matrix, np.array(camera.coefficients))
        assert project(camera, rays) == pytest.approx(pixels[0][:, 0] + 0.5, abs=1e-6)


def test_a_fisheye_sees_what_is_behind_it() -> None:
    camera = CAMERAS["fisheye, 224 degrees"]
    for ray in rays_of(114)[-1]:
        ((u, v),) = project(camera, ray[None])
        found = line_of_sight(camera, (u, v), camera.size)
        assert found[2] < -0.4 and degrees(found, ray) < 0.001


def test_axes_and_the_place_of_pixels() -> None:
    """x right, y down, z forward; the calibration's (320, 235) is the centre of a pixel."""
    size = PINHOLE.size
    assert line_of_sight(PINHOLE, (320.5, 235.5), size).tolist() == [0, 0, 1]
    assert line_of_sight(PINHOLE, (820.5, 235.5), size) == pytest.approx([0.5**0.5, 0, 0.5**0.5])
    assert line_of_sight(PINHOLE, (320.5, 745.5), size) == pytest.approx([0, 0.5**0.5, 0.5**0.5])


@pytest.mark.parametrize("model", ["", "plumb_bob", "rational_polynomial"])
def test_a_lens_without_coefficients_is_straight(model: str) -> None:
    counts = [0, *MODELS.get(model, ())]
    for camera in [replace(PINHOLE, model=model, coefficients=(0.0,) * count) for count in counts]:
        for point in ((0.0, 0.0), (640.0, 480.0), (100.0, 470.0)):
            assert (
                line_of_sight(camera, point, (640, 480)) == line_of_sight(PINHOLE, point, (640, 480))
            ).all()


def test_an_equidistant_lens_without_coefficients_bends_all_the_same() -> None:
    camera = replace(PINHOLE, model="equidistant", coefficients=(0.0,) * 4)
    assert degrees(line_of_sight(camera, (520.5, 235.5), (640, 480)), np.array([0, 0, 1.0])) == pytest.approx(
        math.degrees(0.4)
    )


def test_the_rotation_leads_to_the_frame_of_the_rectified_camera() -> None:
    camera = replace(CAMERAS["plumb_bob 5"], rotation=tuple(TURN.ravel()))
    for point in ((3.0, 5.0), (1000.0, 700.0)):
        straight = line_of_sight(CAMERAS["plumb_bob 5"], point, FHD)
        assert line_of_sight(camera, point, FHD) == pytest.approx(TURN @ straight)


class TestImages:
    """Images that show a part of the sensor, or all of it in fewer pixels."""

    camera = CAMERAS["plumb_bob 5"]

    def test_a_region_of_interest_and_binning(self) -> None:
        full = (1100.0, 420.0)
        truth = line_of_sight(self.camera, full, FHD)
        part = replace(self.camera, window_xywh=(800, 100, 640, 480))
        assert line_of_sight(part, (300.0, 320.0), (640, 480)) == pytest.approx(truth)
        binned = replace(part, binning=(2, 4))
        assert binned.image_size == (320, 120)
        assert line_of_sight(binned, (150.0, 80.0), (320, 120)) == pytest.approx(truth)
        assert line_of_sight(
            replace(self.camera, binning=(2, 2)), (550.0, 210.0), (960, 540)
        ) == pytest.approx(truth)

    def test_a_binned_image_leaves_out_the_rest(self) -> None:
        """Of 641 pixels in threes the last two are not in the image, and nothing is stretched for them."""
        camera = replace(PINHOLE, size=(641, 480), binning=(3, 3))
        assert camera.image_size == (213, 160)
        found = line_of_sight(camera, (213.0, 0.0), (213, 160))
        assert (found == line_of_sight(replace(PINHOLE, size=(641, 480)), (639.0, 0.0), (641, 480))).all()

    @pytest.mark.parametrize("size", [(960, 540), (3840, 2160), (854, 480), (853, 480), (1280, 720)])
    def test_an_image_of_the_same_shape_is_the_same_picture(self, size: tuple[int, int]) -> None:
        u, v = 1500.0, 900.0
        point = u * size[0] / 1920, v * size[1] / 1080
        assert line_of_sight(self.camera, point, size) == pytest.approx(
            line_of_sight(self.camera, (u, v), FHD), abs=1e-9
        )

    @pytest.mark.parametrize("size", [(1920, 1088), (1440, 1080), (1080, 1920), (640, 480)])
    def test_an_image_of_another_shape_is_refused(self, size: tuple[int, int]) -> None:
        with pytest.raises(CameraError, match=f"{size[0]}x{size[1]}.*1920x1080"):
            line_of_sight(self.camera, (10.0, 10.0), size)


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"size": (0, 480)}, "images of 0x480"),
            ({"matrix": (0.0, 0, 320, 0, 510, 235, 0, 0, 1)}, "fx = 0, fy = 510: both must be above 0"),
            ({"matrix": (500.0, 0, 320, 0, -1, 235, 0, 0, 1)}, "fx = 500, fy = -1"),
            ({"matrix": (500.0, 0, math.nan, 0, 510, 235, 0, 0, 1)}, "camera matrix .*nan.*finite"),
            ({"matrix": (math.inf, 0, 320, 0, 510, 235, 0, 0, 1)}, "camera matrix .*inf.*finite"),
            ({"matrix": (500.0, 3, 320, 0, 510, 235, 0, 0, 1)}, "accepted is fx 0 cx, 0 fy cy, 0 0 1"),
            ({"matrix": (500.0, 0, 320, 0, 510, 235, 0, 0, 0)}, "accepted is fx 0 cx, 0 fy cy, 0 0 1"),
            ({"matrix": (500.0, 0, 320)}, "camera matrix .* 9 finite numbers"),
            ({"model": "plumb_bob", "coefficients": (0.1, math.nan, 0, 0)}, "distortion coefficients .*nan"),
            ({"model": "plumb_bob", "coefficients": (0.1,) * 8}, "plumb_bob has 4 or 5 coefficients; got 8"),
            ({"model": "rational_polynomial", "coefficients": (0.1,) * 5}, "8 or 12 or 14 .*got 5"),
            ({"model": "equidistant"}, "equidistant has 4 coefficients; got 0"),
            ({"coefficients": (0.1,) * 5}, "5 coefficients without a distortion model"),
            ({"model": "ds\n" * 99}, r"distortion model 'ds\\nds.* is unknown: accepted are plumb_bob, rati"),
            ({"model": "rational_polynomial", "coefficients": (1e300,) * 8}, "coefficients are too large"),
            (
                {"model": "rational_polynomial", "coefficients": (0.0,) * 12 + (1.6, 0.0)},
                r"tilt of \(1.6, 0\) rad: accepted is up to 0.8",
            ),
            ({"rotation": (2.0, 0, 0, 0, 2, 0, 0, 0, 2)}, "is no rotation matrix"),
            ({"rotation": (-1.0, 0, 0, 0, 1, 0, 0, 0, 1)}, "is no rotation matrix"),
            ({"window_xywh": (600, 0, 100, 100)}, r"100x100 at \(600, 0\) is not inside .* 640x480"),
            ({"binning": (0, 1)}, r"binning \(0, 1\)"),
            ({"binning": (1, 500)}, r"binning \(1, 500\)"),
        ],
    )
    def test_a_bad_calibration_is_named(self, change: dict[str, Any], reason: str) -> None:
        with pytest.raises(CameraError, match=reason) as caught:
            replace(PINHOLE, **change)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("point", [(math.nan, 3.0), (3.0, math.inf)])
    @pytest.mark.parametrize("name", ["no distortion", "rational 14", "fisheye, 224 degrees"])
    def test_a_point_that_is_none(self, name: str, point: tuple[float, float]) -> None:
        camera = CAMERAS[name]
        with pytest.raises(CameraError, match=r"the pixel \(.*(nan|inf).*\) is outside of what"):
            line_of_sight(camera, point, camera.size)

    def test_a_point_so_far_away_that_its_square_is_infinite(self) -> None:
        found = line_of_sight(PINHOLE, (3e200, -4e200), (640, 480))
        towards = np.array([3 / 500, -4 / 510, 0])
        assert found == pytest.approx(towards / np.linalg.norm(towards))

    def test_where_the_model_turns_back(self) -> None:
        """radius - 0.5 radius^3 has its top at 0.816: what is seen there has no pixel further out."""
        camera = Camera(
            (640, 480), (300.0, 0, 319.5, 0, 300, 239.5, 0, 0, 1), "plumb_bob", (-0.5, 0, 0, 0, 0)
        )
        top = math.sqrt(2 / 3)
        edge = 320 + 300 * (top - 0.5 * top**3)
        inner = line_of_sight(camera, (edge - 0.5, 240.0), camera.size)
        assert 0.75 < inner[0] / inner[2] < top
        with pytest.raises(
            CameraError, match=r"the pixel \(.*240.0\) is outside of what the calibration cov"
        ):
            line_of_sight(camera, (edge + 0.5, 240.0), camera.size)

    def test_of_two_solutions_the_one_without_a_fold_is_taken(self) -> None:
        """A radius of 0.4 is made by 0.44 and, after the fold, by 1.13 as well."""
        camera = Camera(
            (640, 480), (300.0, 0, 319.5, 0, 300, 239.5, 0, 0, 1), "plumb_bob", (-0.5, 0, 0, 0, 0)
        )
        found = line_of_sight(camera, (320 + 300 * 0.4, 240.0), camera.size)
        assert found[0] / found[2] == pytest.approx(0.444, abs=0.005)

    def test_behind_a_pole(self) -> None:
        """1 / (1 - radius^2): beyond a radius of 1 the other branch is no picture of anything."""
        coefficients = (0.0, 0, 0, 0, 0, -1, 0, 0)
        camera = replace(PINHOLE, model="rational_polynomial", coefficients=coefficients)
        found = line_of_sight(camera, (640.0, 235.5), (640, 480))
        assert 0 < found[0] / found[2] < 1
        assert np.abs(project(camera, found[None]) - (640.0, 235.5)).max() < 0.01


wild = st.floats(-3, 3)
unlimited = st.floats(-1e6, 1e6)


@given(
    numerator=st.tuples(wild, wild, wild),
    denominator=st.one_of(st.none(), st.tuples(wild, wild, wild)),
    ray_x=st.floats(-1.5, 1.5),
    ray_y=st.floats(-1.5, 1.5),
)
def test_any_round_lens(
    numerator: tuple[float, ...], denominator: tuple[float, ...] | None, ray_x: float, ray_y: float
) -> None:
    """A ray that the model shows without a fold is found; with a fold it is found or refused."""
    k1, k2, k3 = numerator
    below = denominator or (0.0, 0.0, 0.0)
    radius = math.hypot(ray_x, ray_y)
    r = np.linspace(0, radius, 4001)
    bottom = 1 + below[0] * r**2 + below[1] * r**4 + below[2] * r**6
    assume((bottom > 0.02).all())
    shown_at = r * (1 + k1 * r**2 + k2 * r**4 + k3 * r**6) / bottom
    least_slope = (np.diff(shown_at) / np.diff(r)).min() if radius > 1e-9 else 1.0
    assume(least_slope > 0)

    coefficients = (k1, k2, 0.0, 0.0, k3, *below) if denominator else (k1, k2, 0.0, 0.0, k3)
    model = "rational_polynomial" if denominator else "plumb_bob"
    camera = replace(PINHOLE, model=model, coefficients=coefficients)
    ray = np.array([ray_x, ray_y, 1.0])
    ((u, v),) = project(camera, ray[None])
    try:
        found = line_of_sight(camera, (u, v), (640, 480))
    except CameraError:
        assert least_slope < 0.02
    else:
        assert degrees(found, ray) < MOST_DEGREES


@given(
    radial=st.tuples(*[st.floats(-0.6, 0.6)] * 3),
    tangential=st.tuples(*[st.floats(-0.02, 0.02)] * 2),
    prism=st.tuples(*[st.floats(-0.01, 0.01)] * 4),
    tilt=st.tuples(*[st.floats(-0.1, 0.1)] * 2),
    ray_x=st.floats(-0.8, 0.8),
    ray_y=st.floats(-0.6, 0.6),
)
def test_lenses_that_are_not_quite_round(
    radial: tuple[float, ...],
    tangential: tuple[float, ...],
    prism: tuple[float, ...],
    tilt: tuple[float, ...],
    ray_x: float,
    ray_y: float,
) -> None:
    """All terms together: the way from the axis to the ray rises, so it is found."""
    coefficients = (*radial[:2], *tangential, radial[2], 0.0, 0.0, 0.0, *prism, *tilt)
    camera = replace(PINHOLE, model="rational_polynomial", coefficients=coefficients)
    ways = np.linspace(0, 1, 201)[:, None] * [ray_x, ray_y]
    step = 1e-5
    across, down = (
        project(camera, np.column_stack([ways + step * np.array(axis), np.ones(201)]))
        - project(camera, np.column_stack([ways - step * np.array(axis), np.ones(201)]))
        for axis in ((1, 0), (0, 1))
    )
    scale = 2 * step * 500
    determinant = (across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]) / scale**2
    trace = (across[:, 0] + down[:, 1]) / scale
    assume((determinant > 0.05).all() and (trace > 0.3).all())
    ray = np.array([ray_x, ray_y, 1.0])
    ((u, v),) = project(camera, ray[None])
    assert degrees(line_of_sight(camera, (u, v), (640, 480)), ray) < MOST_DEGREES


@given(
    model=st.sampled_from(sorted(MODELS)),
    numbers=st.lists(st.one_of(unlimited, st.floats()), min_size=14, max_size=14),
    focal=st.tuples(*[st.floats(1e-2, 1e5)] * 2),
    centre=st.tuples(unlimited, unlimited),
    point=st.tuples(*[st.floats(0, 640)] * 2),
    count=st.integers(0, 2),
)
def test_wild_calibrations_give_a_direction_that_makes_the_pixel_or_an_error(
    model: str,
    numbers: list[float],
    focal: tuple[float, float],
    centre: tuple[float, float],
    point: tuple[float, float],
    count: int,
) -> None:
    matrix = (focal[0], 0, centre[0], 0, focal[1], centre[1], 0, 0, 1)
    coefficients = tuple(numbers[: MODELS[model][count % len(MODELS[model])]])
    try:
        camera = Camera((640, 480), matrix, model, coefficients)
        found = line_of_sight(camera, point, (640, 480))
    except CameraError as error:
        assert "\n" not in str(error)
        return
    assert np.linalg.norm(found) == pytest.approx(1)
    made = project(camera, found[None])[0]
    assert np.abs(made - point).max() < 0.1 + 1e-6 * max(map(abs, (*centre, *point)))
