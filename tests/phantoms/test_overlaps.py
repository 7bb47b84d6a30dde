"""Lines that overlap are told apart, by their families, as the counts that were put in."""

from __future__ import annotations

import sys
from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest

from tomoatlas.phantoms.formats.lines import LINES, Spectra, window_of
from tomoatlas.phantoms.formats.overlaps import families_of, fitted_maps
from tomoatlas.recon_core.errors import BadInput

database = pytest.mark.skipif(find_spec("xraydb") is None, reason="needs xraydb (extra microscope)")
ENERGIES = 0.01 * np.arange(900)
SHIFT, WIDTH = 0.012, 1.08  # of a detector that is not calibrated
PAIR = ("Ti", "Ba")  # K alpha of Ti lies 45 eV from L alpha of Ba, a third of its width


@cache
def truth() -> dict[str, np.ndarray]:
    """Counts of each element in a pixel: discs beside each other that share a part."""
    y, x = np.mgrid[:24, :24] - 11.5
    return {e: 80.0 * ((y - s) ** 2 + x**2 < 40) for e, s in zip(PAIR, (-4, 4), strict=True)}


@cache
def spectra() -> Spectra:
    expected = np.full((24, 24, len(ENERGIES)), 0.05) * np.exp(-ENERGIES / 4)
    for element, counts in truth().items():
        for family in families_of(element):
            amount = 1.0 if family.mapped else 0.5
            expected += amount * counts[..., None] * family.template(ENERGIES, SHIFT, WIDTH)
    counts = np.random.default_rng(0).poisson(np.repeat(expected[None], 3, 0))
    return Spectra(counts.astype(np.uint16), ENERGIES)


@database
def test_counts_of_each_element_come_back() -> None:
    found = fitted_maps(spectra(), PAIR)
    for element, counts in truth().items():
        maps, _ = found[element]
        alone = (counts > 0) & (sum(truth().values()) == counts)
        assert maps.sum() == pytest.approx(3 * counts.sum(), rel=0.05)
        assert maps[:, alone].mean() == pytest.approx(80.0, rel=0.08)
    # Ba shows where Ti alone is, in a window
    ti_alone = (truth()["Ti"] > 0) & (truth()["Ba"] == 0)
    window = window_of("Ba").map_of(spectra())[0]
    assert abs(found["Ba"][0][:, ti_alone].mean()) < 0.3 * window[:, ti_alone].mean()


@database
def test_the_level_gives_maps_the_scatter_of_counts() -> None:
    vacuum = sum(truth().values()) == 0
    for maps, level in fitted_maps(spectra(), PAIR).values():
        inside = ~vacuum
        scatter = maps.var(axis=0, ddof=1)
        # the variance is that of the mean spectrum, between vacuum and specimen
        assert scatter[vacuum].mean() < maps.mean() + level < scatter[inside].mean()


@database
@pytest.mark.parametrize("elements", [("Ti", "Au"), ("Ti", "Xx"), ("Ti", "Ti")])
def test_what_cannot_be_fitted_is_refused(elements: tuple[str, ...]) -> None:
    with pytest.raises(BadInput) as refused:
        fitted_maps(spectra(), elements)
    assert refused.value.key == "--elements"


def test_without_xraydb_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xraydb", None)
    with pytest.raises(BadInput) as refused:
        families_of("Co")
    assert "tomoatlas[microscope]" in str(refused.value.accepted)


def test_losses_are_not_fitted() -> None:
    losses = Spectra(np.ones((1, 2, 2, 900)), ENERGIES, eels=True)
    with pytest.raises(BadInput) as refused:
        fitted_maps(losses, PAIR)
    assert refused.value.key == "--fit"


@database
def test_the_line_that_is_mapped_is_the_one_of_the_windows() -> None:
    """In both tables, to the width of half a line: typed in and of the database."""
    assert [e for e in LINES if not any(family.mapped for family in families_of(e))] == []
