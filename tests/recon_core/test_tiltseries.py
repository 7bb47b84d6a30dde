"""What a tilt series rejects, and which key the error names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.tiltseries import TiltSeries

GOOD = TiltSeries(
    haadf=np.ones((3, 4, 5), np.float32),
    haadf_angles_deg=(-10.0, 0.0, 10.0),
    chemical=np.ones((2, 2, 4, 5), np.float32),
    chemical_angles_deg=(-5.0, 5.0),
    elements=("Co", "O"),
    chemical_background=(0.1, 0.2),
    haadf_scale=2.0,
    chemical_scale=(1.0, 2.0),
)


def holding(shape: tuple[int, ...], value: float) -> np.ndarray:
    counts = np.ones(shape, np.float32)
    counts.flat[-1] = value
    return counts


@pytest.mark.parametrize(
    ("changes", "key", "value"),
    [
        ({"elements": ()}, "elements", []),
        ({"elements": ("Co", "Co")}, "elements", ["Co", "Co"]),
        ({"elements": ("Co", "Qq")}, "element", "Qq"),
        ({"elements": ("Co", "O", "Au")}, "chemical/projections", (2, 2, 4, 5)),
        ({"haadf": np.ones((4, 5), np.float32)}, "haadf/projections", (4, 5)),
        ({"haadf": np.ones((4, 4, 5), np.float32)}, "haadf/projections", (4, 4, 5)),
        ({"haadf": np.ones((3, 4, 6), np.float32)}, "chemical/projections", (2, 2, 4, 5)),
        ({"haadf_angles_deg": (0.0,)}, "haadf/projections", (3, 4, 5)),
        ({"chemical": np.ones((2, 4, 5), np.float32)}, "chemical/projections", (2, 4, 5)),
        ({"chemical": np.ones((2, 4, 2, 5), np.float32)}, "chemical/projections", (2, 4, 2, 5)),
        ({"chemical_angles_deg": (0.0,)}, "chemical/projections", (2, 2, 4, 5)),
        (
            {"chemical": np.ones((2, 0, 4, 5), np.float32), "chemical_angles_deg": ()},
            "chemical/angles_deg",
            None,
        ),
        ({"haadf_angles_deg": (0.0, 1.0, 91.0)}, "haadf/angles_deg", 91.0),
        ({"chemical_angles_deg": (np.nan, 0.0)}, "chemical/angles_deg", float("nan")),
        ({"voxel_size_nm": 0.0}, "voxel_size_nm", 0.0),
        ({"haadf": holding((3, 4, 5), np.nan)}, "haadf/projections", None),
        ({"chemical": holding((2, 2, 4, 5), np.inf)}, "chemical/projections", None),
        ({"haadf": holding((3, 4, 5), -1)}, "haadf/projections", -1.0),
        ({"haadf": holding((3, 4, 5), 1e20)}, "haadf/projections", float(np.float32(1e20))),
        ({"chemical": holding((2, 2, 4, 5), -3)}, "chemical/projections", -3.0),
        ({"chemical_background": (0.1,)}, "chemical/background", (1,)),
        ({"chemical_background": (0.1, -0.2)}, "chemical/background", -0.2),
        ({"chemical_background": (0.1, float("nan"))}, "chemical/background", float("nan")),
        ({"chemical_scale": (1.0, 2.0, 3.0)}, "chemical/scale", (3,)),
        ({"chemical_scale": (1.0, -2.0)}, "chemical/scale", -2.0),
        ({"chemical_scale": (1.0, 0.0)}, "chemical/scale", 0.0),
        ({"haadf_scale": 0.0}, "haadf/scale", 0.0),
        ({"haadf_scale": -1.0}, "haadf/scale", -1.0),
        ({"haadf_scale": float("nan")}, "haadf/scale", float("nan")),
        ({"haadf_background": float("nan")}, "haadf/background", float("nan")),
        ({"haadf_background": -1.0}, "haadf/background", -1.0),
    ],
)
def test_faults_are_named(changes: dict[str, object], key: str, value: object) -> None:
    with pytest.raises(BadInput) as caught:
        replace(GOOD, **changes)
    assert (caught.value.key, repr(caught.value.value)) == (key, repr(value))
    assert caught.value.accepted


def test_haadf_may_hold_no_tilt() -> None:
    empty = replace(GOOD, haadf=np.zeros((0, 4, 5), np.float32), haadf_angles_deg=())
    assert len(empty.haadf) == 0


def test_background_defaults_to_none_of_each() -> None:
    assert replace(GOOD, chemical_background=()).chemical_background == (0.0, 0.0)


def test_atomic_numbers_follow_the_elements() -> None:
    assert GOOD.atomic_numbers == (27, 8)
