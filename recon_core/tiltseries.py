"""The measured data: a fused HAADF + chemical tilt series in counts, and its elements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .errors import BadInput
from .geometry import STILL, Mask, Placement, TiltGeometry, check_angles, film_thickness

_TABLE = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr
Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm
Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No
Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""
SYMBOLS: tuple[str, ...] = tuple(_TABLE.split())


def atomic_numbers(symbols: Iterable[str]) -> tuple[int, ...]:
    """Look up the atomic number of each chemical symbol.

    Parameters
    ----------
    symbols : chemical symbols, H to Og.

    Returns
    -------
    tuple of int : in the order of ``symbols``.

    Raises
    ------
    BadInput : a symbol is not a chemical element.

    Examples
    --------
    >>> atomic_numbers(["Co", "O", "Au"])
    (27, 8, 79)
    """
    return tuple(_number(symbol) for symbol in symbols)


def _number(symbol: str) -> int:
    if symbol not in SYMBOLS:
        raise BadInput(
            "not a chemical element", key="element", value=symbol, accepted="symbols such as Co, O"
        )
    return SYMBOLS.index(symbol) + 1


Array = NDArray[np.float32]

LEVEL_ADDED = "level_added_"  # start of the facts that name levels added to negative counts
MOST_COUNTS = 1e15  # per pixel: sums of their squares fit a float32
MOST_NM = 1e6  # of a voxel's edge: a millimetre
AROUND = 5  # pixels: edge of the square whose mean stands for a bad pixel


@dataclass(frozen=True)
class TiltSeries:
    """HAADF and chemical projections of one specimen, in detected counts.

    The expected counts are ``haadf_scale * A_h sum((Z_i x_i)**gamma) + haadf_background`` and
    ``chemical_scale[i] * A_c x_i + chemical_background[i]``, with x_i concentrations (z, y, x).

    Parameters
    ----------
    haadf : counts, (angle, y, x). May hold no tilt: shape (0, y, x).
    haadf_angles_deg : one angle per HAADF projection, degrees.
    chemical : counts, (element, angle, y, x).
    chemical_angles_deg : one angle per chemical projection, degrees.
    elements : chemical symbols, in the order of ``chemical``.
    haadf_background : counts per pixel.
    chemical_background : counts per pixel of each element, (element,); empty means 0.
    haadf_scale : HAADF counts per unit of the projected Σ(Zx)^γ; None if unknown.
    chemical_scale : counts per unit concentration and voxel, (element,); None if unknown.
    voxel_size_nm : edge of a voxel, nm.
    facts : provenance worth keeping (SNRs by both definitions, seed, gamma, oversample).
    haadf_film : HAADF counts per pixel of a supporting film at 0 degrees; 1/cos(tilt) times that at
        a tilt.
    haadf_placement, chemical_placement : shifts of the images of each modality and the tilt axis in
        them; every element's map of a tilt lies where the others do.
    haadf_mask, chemical_mask : pixels (angle, y, x) that a reconstruction uses; None means all.
    unit : concentration that 1 in a volume stands for, (element,); empty means 1. The solver sets
        others, never a file; ``chemical_scale`` is per such unit.

    Raises
    ------
    BadInput : shapes and angles disagree, tilts beyond ±90 degrees, NaN or negative counts,
        impossible levels, no or doubled elements.

    Examples
    --------
    >>> import numpy as np, tomoatlas as ta
    >>> flat, maps = np.ones((3, 8, 8), np.float32), np.ones((1, 2, 8, 8), np.float32)
    >>> ta.TiltSeries(flat, (-60.0, 0.0, 60.0), maps, (-45.0, 45.0), ("Au",)).atomic_numbers
    (79,)
    """

    haadf: Array
    haadf_angles_deg: tuple[float, ...]
    chemical: Array
    chemical_angles_deg: tuple[float, ...]
    elements: tuple[str, ...]
    haadf_background: float = 0.0
    chemical_background: tuple[float, ...] = ()
    haadf_scale: float | None = None
    chemical_scale: tuple[float, ...] | None = None
    voxel_size_nm: float = 1.0
    facts: Mapping[str, float | str] = field(default_factory=dict)
    haadf_film: float = 0.0
    unit: tuple[float, ...] = ()
    haadf_placement: Placement = STILL
    chemical_placement: Placement = STILL
    haadf_mask: Mask | None = None
    chemical_mask: Mask | None = None

    def __post_init__(self) -> None:
        # the default depends on the number of elements
        if not self.chemical_background:
            object.__setattr__(self, "chemical_background", (0.0,) * len(self.elements))
        if not self.unit:
            object.__setattr__(self, "unit", (1.0,) * len(self.elements))
        atomic_numbers(self.elements)
        _check_shapes(self)
        check_angles(self.haadf_angles_deg, "haadf/angles_deg")
        check_angles(self.chemical_angles_deg, "chemical/angles_deg")
        _check_counts("haadf/projections", self.haadf)
        _check_counts("chemical/projections", self.chemical)
        _check_levels(self)
        self.haadf_placement.check(len(self.haadf_angles_deg), "haadf")
        self.chemical_placement.check(len(self.chemical_angles_deg), "chemical")
        _check_mask("haadf/mask", self.haadf_mask, self.haadf.shape)
        _check_mask("chemical/mask", self.chemical_mask, self.chemical.shape[1:])

    @property
    def atomic_numbers(self) -> tuple[int, ...]:
        """Atomic number of each element, (element,)."""
        return atomic_numbers(self.elements)

    @property
    def haadf_vacuum(self) -> NDArray[np.float64]:
        """HAADF counts of a pixel without specimen at each tilt, film included, (angle,)."""
        film = self.haadf_film * film_thickness(self.haadf_angles_deg)
        return self.haadf_background + film

    def haadf_geometry(self, depth: int | None = None, masked: bool = False) -> TiltGeometry:
        """Return the geometry of the HAADF images.

        Parameters
        ----------
        depth : voxels along z; None for as many as along y.
        masked : whether pixels that do not count are left out.
        """
        mask = self.haadf_mask if masked else None
        return self._geometry(self.haadf_angles_deg, depth, self.haadf_placement, mask)

    def chemical_geometry(self, depth: int | None = None, masked: bool = False) -> TiltGeometry:
        """Return the geometry of the chemical maps.

        Parameters
        ----------
        depth : voxels along z; None for as many as along y.
        masked : whether pixels that do not count are left out.
        """
        mask = self.chemical_mask if masked else None
        return self._geometry(self.chemical_angles_deg, depth, self.chemical_placement, mask)

    def _geometry(
        self,
        angles_deg: tuple[float, ...],
        depth: int | None,
        placement: Placement,
        mask: Mask | None,
    ) -> TiltGeometry:
        height = self.chemical.shape[-2]
        return TiltGeometry(
            angles_deg, (height if depth is None else depth, height), placement, mask
        )

    def of_tilts(self, haadf: Sequence[int], chemical: Sequence[int]) -> TiltSeries:
        """Return the series of some of the tilts.

        Parameters
        ----------
        haadf, chemical : indices of the tilts that are kept, in their new order.
        """
        kept, maps = list(haadf), list(chemical)
        return replace(
            self,
            haadf=self.haadf[kept],
            haadf_angles_deg=tuple(self.haadf_angles_deg[i] for i in kept),
            chemical=self.chemical[:, maps],
            chemical_angles_deg=tuple(self.chemical_angles_deg[i] for i in maps),
            haadf_placement=self.haadf_placement.of(kept),
            chemical_placement=self.chemical_placement.of(maps),
            haadf_mask=None if self.haadf_mask is None else self.haadf_mask.of_tilts(kept),
            chemical_mask=None if self.chemical_mask is None else self.chemical_mask.of_tilts(maps),
        )

    def filled(self) -> TiltSeries:
        """Return the series without tilts of no good pixel, and bad pixels like those around them.

        The masks stay: what is filled in serves statistics of the counts, and no solver uses it.
        """
        kept = self.with_seen_tilts()
        if kept.haadf_mask is None and kept.chemical_mask is None:
            return kept
        haadf, maps = kept.haadf, kept.chemical
        if kept.haadf_mask is not None:
            haadf = _filled(haadf, kept.haadf_mask.array())
        if kept.chemical_mask is not None:
            maps = np.stack([_filled(counts, kept.chemical_mask.array()) for counts in maps])
        return replace(kept, haadf=haadf, chemical=maps)

    def with_seen_tilts(self) -> TiltSeries:
        """Return the series without tilts of no good pixel."""
        haadf = _seen(self.haadf_mask, len(self.haadf))
        maps = _seen(self.chemical_mask, len(self.chemical_angles_deg))
        if len(haadf) == len(self.haadf) and len(maps) == len(self.chemical_angles_deg):
            return self
        return self.of_tilts(haadf, maps)

    def centred(self) -> TiltSeries:
        """Return the series with images moved to where the geometry alone puts them.

        By the nearest pixel, so that counts stay counts: for comparing the modalities, never for a
        reconstruction, whose projector carries the placement.
        """
        if self.haadf_placement.is_still and self.chemical_placement.is_still:
            return self
        # One element at a time: all maps of a tilt share their placement.
        maps = [self.chemical_placement.centred(counts) for counts in self.chemical]
        return replace(
            self,
            haadf=self.haadf_placement.centred(self.haadf),
            chemical=np.stack(maps),
            haadf_placement=STILL,
            chemical_placement=STILL,
        )

    def of(self, chosen: NDArray[np.bool_]) -> TiltSeries:
        """Return the series of some of the elements.

        Parameters
        ----------
        chosen : mask, (element,).
        """

        def taken(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(v for v, there in zip(values, chosen, strict=True) if there)

        scale = self.chemical_scale
        return replace(
            self,
            chemical=self.chemical[chosen],
            elements=taken(self.elements),
            chemical_background=taken(self.chemical_background),
            chemical_scale=None if scale is None else taken(scale),
            unit=taken(self.unit),
        )


def _seen(mask: Mask | None, tilts: int) -> Sequence[int]:
    """Indices of the tilts that have a good pixel; all of them, if none has."""
    seen = range(tilts) if mask is None else mask.seen_tilts()
    return seen or range(tilts)


def _filled(images: Array, good: NDArray[np.bool_]) -> Array:
    """Images with the mean of the good pixels around, or nearest, in place of each bad one."""
    filled = images.copy()
    for image, known, out in zip(images, good, filled, strict=True):
        bad = ~known
        # Values and weights are filtered alike, so that bad pixels drop out of their ratio; below
        # 1e-9 is what a running sum leaves of 0.
        weight = ndimage.uniform_filter(known.astype(np.float64), AROUND, mode="constant")
        total = ndimage.uniform_filter(np.where(known, image, 0.0), AROUND, mode="constant")
        near = weight > 1e-9
        beside = np.divide(total, weight, out=np.zeros(image.shape), where=near)
        if not near.all() and near.any():
            # a border, whose mean is that of the vacuum beside it and not of the whole image
            place = ndimage.distance_transform_edt(~near, return_indices=True)[1]
            beside = beside[tuple(place)]
        out[bad] = beside[bad]
    return filled


def _check_shapes(series: TiltSeries) -> None:
    if not series.elements or len(set(series.elements)) != len(series.elements):
        raise BadInput(
            "elements missing or doubled",
            key="elements",
            value=list(series.elements),
            accepted="one or more different symbols",
        )
    if series.haadf.ndim != 3:
        raise _shape("haadf/projections", series.haadf.shape, "(angle, y, x)")
    if series.chemical.ndim != 4:
        raise _shape("chemical/projections", series.chemical.shape, "(element, angle, y, x)")
    if not series.chemical_angles_deg:
        raise BadInput("no tilt of the maps", key="chemical/angles_deg", accepted="one or more")
    if len(series.haadf) != len(series.haadf_angles_deg):
        raise _shape(
            "haadf/projections",
            series.haadf.shape,
            f"({len(series.haadf_angles_deg)}, y, x), one projection per angle",
        )
    expected = (len(series.elements), len(series.chemical_angles_deg), *series.haadf.shape[1:])
    if series.chemical.shape != expected:
        raise _shape("chemical/projections", series.chemical.shape, str(expected))


def _check_counts(key: str, counts: Array) -> None:
    if not np.isfinite(counts).all():
        raise BadInput("holds NaN or infinity", key=key, accepted="finite counts")
    # an empty modality passes
    low, high = float(counts.min(initial=0)), float(counts.max(initial=0))
    if low < 0:
        raise BadInput("holds negative counts", key=key, value=low, accepted=">= 0")
    if high > MOST_COUNTS:
        raise BadInput("not a count", key=key, value=high, accepted=f"0 to {MOST_COUNTS:g}")


def _check_levels(series: TiltSeries) -> None:
    _check_channels(series, "chemical/background", series.chemical_background)
    _check_level("haadf/background", series.haadf_background)
    _check_level("haadf/film", series.haadf_film)
    if series.chemical_scale is not None:
        _check_channels(series, "chemical/scale", series.chemical_scale, above=True)
    _check_channels(series, "unit", series.unit, above=True)
    if series.haadf_scale is not None:
        _check_level("haadf/scale", series.haadf_scale, above=True)
    check_length(series.voxel_size_nm)


def _check_mask(key: str, mask: Mask | None, shape: tuple[int, ...]) -> None:
    if mask is not None and mask.shape != shape:
        raise _shape(key, mask.shape, f"{shape}, one for each pixel")


def _check_channels(
    series: TiltSeries, key: str, values: tuple[float, ...], above: bool = False
) -> None:
    if len(values) != len(series.elements):
        raise _shape(key, (len(values),), f"({len(series.elements)},), one per element")
    for value in values:
        _check_level(key, value, above)


def check_length(voxel_size_nm: float) -> None:
    """Refuse what cannot be the edge of a voxel.

    Parameters
    ----------
    voxel_size_nm : nm.

    Raises
    ------
    BadInput : not positive, or longer than a millimetre.
    """
    if not 0.0 < voxel_size_nm <= MOST_NM:
        accepted = f"> 0 nm and <= {MOST_NM:g} nm"
        raise BadInput("not a length", key="voxel_size_nm", value=voxel_size_nm, accepted=accepted)


def _check_level(key: str, value: float, above: bool = False) -> None:
    if not (np.isfinite(value) and (value > 0 or (value == 0 and not above))):
        raise BadInput("not a count", key=key, value=value, accepted="> 0" if above else ">= 0")


def _shape(key: str, got: tuple[int, ...], accepted: str) -> BadInput:
    return BadInput("wrong shape", key=key, value=got, accepted=accepted)
