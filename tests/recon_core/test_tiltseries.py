"""What a tilt series refuses, and how it says so."""

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
    ("changes", "line"),
    [
        ({"elements": ()}, r"^elements = .*missing or doubled"),
        ({"elements": ("Co", "Co")}, r"^elements = \['Co', 'Co'\].*doubled"),
        ({"elements": ("Co", "Qq")}, r"^element = 'Qq': not a chemical element"),
        (
            {"elements": ("Co", "O", "Au")},
            r"^chemical/projections = \(2, 2, 4, 5\).*\(3, 2, 4, 5\)",
        ),
        ({"haadf": np.ones((4, 5), np.float32)}, r"^haadf/projections = \(4, 5\).*\(angle, y, x\)"),
        (
            {"haadf": np.ones((4, 4, 5), np.float32)},
            r"^haadf/projections = .*one projection per angle",
        ),
        ({"haadf": np.ones((3, 4, 6), np.float32)}, r"^chemical/projections = .*\(2, 2, 4, 6\)"),
        ({"haadf_angles_deg": (0.0,)}, r"^haadf/projections = \(3, 4, 5\).*\(1, y, x\)"),
        (
            {"chemical": np.ones((2, 4, 5), np.float32)},
            r"^chemical/projections = .*\(element, angle",
        ),
        (
            {"chemical": np.ones((2, 4, 2, 5), np.float32)},
            r"^chemical/projections = \(2, 4, 2, 5\)",
        ),
        ({"chemical_angles_deg": (0.0,)}, r"^chemical/projections = .*\(2, 1, 4, 5\)"),
        ({"haadf_angles_deg": (0.0, 1.0, 91.0)}, r"^haadf/angles_deg = 91.0: tilt beyond"),
        ({"chemical_angles_deg": (np.nan, 0.0)}, r"^chemical/angles_deg = nan: tilt beyond"),
        ({"voxel_size_nm": 0.0}, r"^voxel_size_nm = 0.0: not a length"),
        ({"haadf": holding((3, 4, 5), np.nan)}, r"^haadf/projections: holds NaN or infinity"),
        ({"chemical": holding((2, 2, 4, 5), np.inf)}, r"^chemical/projections: holds NaN"),
        ({"haadf": holding((3, 4, 5), -1)}, r"^haadf/projections = -1.0: holds negative"),
        (
            {"haadf": holding((3, 4, 5), 1e20)},
            r"= 1\..*: not a count; .* 1e\+15",
        ),
        ({"chemical": holding((2, 2, 4, 5), -3)}, r"^chemical/projections = -3.0: holds negative"),
        ({"chemical_background": (0.1,)}, r"^chemical/background = \(1,\).*one per element"),
        ({"chemical_background": (0.1, -0.2)}, r"^chemical/background = .*not a count"),
        ({"chemical_background": (0.1, float("nan"))}, r"^chemical/background = .*not a count"),
        ({"chemical_scale": (1.0, 2.0, 3.0)}, r"^chemical/scale = \(3,\).*one per element"),
        ({"chemical_scale": (1.0, -2.0)}, r"^chemical/scale = .*; accepted: >"),
        ({"chemical_scale": (1.0, 0.0)}, r"^chemical/scale = .*; accepted: >"),
        ({"haadf_scale": 0.0}, r"^haadf/scale = 0.0: .*; accepted: >"),
        ({"haadf_scale": -1.0}, r"^haadf/scale = -1.0: .*; accepted: >"),
        ({"haadf_scale": float("nan")}, r"^haadf/scale = nan: .*; accepted: >"),
        ({"haadf_background": float("nan")}, r"^haadf/background = nan: .*; accepted: >"),
        ({"haadf_background": -1.0}, r"^haadf/background = -1.0: .*; accepted: >"),
    ],
)
def test_faults_are_named(changes: dict[str, object], line: str) -> None:
    with pytest.raises(BadInput, match=line):
        replace(GOOD, **changes)


def test_haadf_may_hold_no_tilt() -> None:
    empty = replace(GOOD, haadf=np.zeros((0, 4, 5), np.float32), haadf_angles_deg=())
    assert len(empty.haadf) == 0


def test_background_defaults_to_none_of_each() -> None:
    assert replace(GOOD, chemical_background=()).chemical_background == (0.0, 0.0)


def test_atomic_numbers_follow_the_elements() -> None:
    assert GOOD.atomic_numbers == (27, 8)
