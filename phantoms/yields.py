"""Counts per electron from public physics: cross-sections of HAADF, EDX and EELS, per atom.

HAADF: screened Rutherford scattering into the angles of the detector, in closed form (Reimer and
Kohl, Transmission Electron Microscopy, 5th ed., ch. 5). EDX: ionisation of a shell by the
binary-encounter-dipole model (Kim and Rudd, Phys. Rev. A 50, 3954 (1994), with the relativistic
logarithm), times fluorescence yield, share of the line, solid angle and efficiency. EELS: the
dipole cross-section of an edge within the collection angle and an energy window (Egerton, Electron
Energy-Loss Spectroscopy, 3rd ed., ch. 4). Both follow from the oscillator strength of a shell, and
that from its X-ray absorption. Edges, absorption, yields and lines are those of xraydb (Elam et al.
2002), constants those of scipy: no number is typed in here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from scipy import constants

from ..recon_core.errors import BadInput, needed
from ..recon_core.tiltseries import atomic_numbers

Values = NDArray[np.float64]

HAADF_NAME = "HAADF"
"""Name of that channel beside the symbols of elements."""

NM = 1e-9
MRAD = 1e-3
BOHR_NM = constants.physical_constants["Bohr radius"][0] / NM
RYDBERG_EV = constants.physical_constants["Rydberg constant times hc in eV"][0]
REST_EV = constants.m_e * constants.c**2 / constants.e

MOST_LINE_EV = 20e3
"""K lines of edges up to here are mapped by EDX, L lines of heavier elements."""
MOST_LOSS_EV = 3e3
"""The deepest edge below this loss is mapped by EELS."""

UNCERTAINTY = {
    (HAADF_NAME, ""): 1.3,
    ("edx", "K"): 1.3,
    ("edx", "L"): 1.6,
    ("edx", "M"): 2.0,
    ("eels", "K"): 1.4,
    ("eels", "L"): 1.6,
    ("eels", "M"): 2.5,
}
"""Signal and shell → factor within which an estimate is to be believed. The models' own error, and
what they leave out: channelling, plural scattering, absorption, a window's transmission; of EELS
white lines at L and delayed edges at M."""


def _ordered(angles: tuple[float, float]) -> tuple[float, float]:
    if not 0 < angles[0] < angles[1] <= 1000:
        raise BadInput("not the angles of a ring", accepted="[inner, outer], mrad, up to 1000")
    return angles


class Microscope(BaseModel):
    """What counts per electron are estimated from, ``[acquisition.microscope]`` of a study.

    Parameters
    ----------
    voltage_kV : of the beam.
    haadf_mrad : inner and outer angle of the HAADF detector, mrad.
    haadf_efficiency : detected share of the electrons that hit it.
    signal : of the chemical maps, ``edx`` or ``eels``.
    solid_angle_sr : of the X-ray detectors together.
    collection_mrad : half angle of the spectrometer.
    window_eV : energy window above an edge.
    efficiency : detected share of the X-rays that reach the detectors, or of the electrons that
        enter the spectrometer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    voltage_kV: Annotated[float, Field(ge=20, le=1500)] = 200.0
    haadf_mrad: Annotated[tuple[float, float], AfterValidator(_ordered)] = (60.0, 200.0)
    haadf_efficiency: Annotated[float, Field(gt=0, le=1)] = 1.0
    signal: Literal["edx", "eels"] = "edx"
    solid_angle_sr: Annotated[float, Field(gt=0, le=4 * np.pi)] = 0.7
    collection_mrad: Annotated[float, Field(gt=0, le=200)] = 30.0
    window_eV: Annotated[float, Field(ge=5, le=1000)] = 50.0
    efficiency: Annotated[float, Field(gt=0, le=1)] = 1.0


@dataclass(frozen=True)
class Yield:
    """What one atom gives.

    Parameters
    ----------
    cross_section_nm2 : counts per electron and per atom and nm² of the specimen.
    of : what is counted, in words.
    factor : within which the number is to be believed.
    """

    cross_section_nm2: float
    of: str
    factor: float


@dataclass(frozen=True)
class Beam:
    """Kinematics of the electrons.

    Parameters
    ----------
    voltage_kV : accelerating voltage.

    Examples
    --------
    >>> round(2 * np.pi / Beam(200.0).wave_number * 1e3, 3)  # wavelength, pm
    2.508
    """

    voltage_kV: float

    @property
    def gamma(self) -> float:
        """Energy over the rest energy."""
        return 1 + self.voltage_kV * 1e3 / REST_EV

    @property
    def beta2(self) -> float:
        """Square of the speed over that of light."""
        return 1 - 1 / self.gamma**2

    @property
    def slow_ev(self) -> float:
        """M v² / 2, eV: the energy that enters cross-sections."""
        return REST_EV * self.beta2 / 2

    @property
    def wave_number(self) -> float:
        """2 pi over the wavelength, 1/nm."""
        momentum = REST_EV * np.sqrt(self.gamma**2 - 1) * constants.e / constants.c
        return float(momentum / constants.hbar * NM)


def yields(microscope: Microscope, elements: tuple[str, ...]) -> dict[str, Yield]:
    """Estimate what an atom of each element adds to its map, and to HAADF.

    Parameters
    ----------
    microscope : beam and detectors.
    elements : chemical symbols.

    Returns
    -------
    dict : ``El`` → of its map, ``HAADF:El`` → what its atoms add to HAADF.

    Raises
    ------
    BadInput : an element without an edge that the signal could use; xraydb is not installed.

    Examples
    --------
    >>> found = yields(Microscope(), ("Co", "Au"))
    >>> f"{found['Co'].of}, {found['Co'].cross_section_nm2:.1e} nm²"
    'Co K line by EDX, 5.7e-10 nm²'
    >>> f"{found['HAADF:Au'].cross_section_nm2:.1e}"
    '2.6e-04'
    """
    beam = Beam(microscope.voltage_kV)
    chemical = _edx if microscope.signal == "edx" else _eels
    found = {element: chemical(microscope, beam, element) for element in elements}
    factor = UNCERTAINTY[HAADF_NAME, ""]
    for element, number in zip(elements, atomic_numbers(elements), strict=True):
        size = microscope.haadf_efficiency * rutherford(beam, number, microscope.haadf_mrad)
        found[f"{HAADF_NAME}:{element}"] = Yield(size, f"HAADF of {element}", factor)
    return found


def rutherford(beam: Beam, number: int, ring_mrad: tuple[float, float]) -> float:
    """Cross-section of an atom for scattering into a ring of angles, nm².

    dσ/dΩ = 4 Z² γ² / (a² (q² + 1/R²)²) with q = 2 k sin(θ/2) and R = a Z^(-1/3), integrated.

    Parameters
    ----------
    beam : of electrons.
    number : atomic number Z.
    ring_mrad : inner and outer angle, mrad.
    """
    # 1 / R²: the electrons of the atom screen its nucleus at small angles.
    screening = number ** (2 / 3) / BOHR_NM**2
    # dΩ = pi d(q²) / k², so that the integral over angles is one over q²
    inner, outer = ((2 * beam.wave_number * np.sin(t * MRAD / 2)) ** 2 for t in ring_mrad)
    integral = 1 / (inner + screening) - 1 / (outer + screening)
    return float(4 * np.pi * (number * beam.gamma / (BOHR_NM * beam.wave_number)) ** 2 * integral)


def ionisation(beam: Beam, element: str, shell: str) -> float:
    """Cross-section of a shell for ionisation by an electron, nm².

    Parameters
    ----------
    beam : of electrons.
    element : chemical symbol.
    shell : K, L1 … M5.
    """
    edge = _edges(element)[shell].energy
    # Geometric: the strength falls as a power of the energy, most of it just above the edge.
    energies = np.geomspace(edge, max(2 * edge, beam.slow_ev), 400)
    strength = _strength(element, shell, energies)
    count = electrons_of(shell)
    excited = float(np.trapezoid(strength, energies))
    dipole = float(np.trapezoid(strength * edge / energies, energies)) / count
    over = beam.slow_ev / edge
    if over <= 1:
        return 0.0
    # distant collisions by the optical strength, close ones as with free electrons
    distant = np.log(beam.beta2 * beam.gamma**2 * REST_EV / (2 * edge)) - beam.beta2
    close = 1 - 1 / over - np.log(over) / (over + 1)
    scale = 4 * np.pi * BOHR_NM**2 * count * (RYDBERG_EV / edge) ** 2 / over
    return float(scale * (dipole * max(distant, 0.0) + (2 - excited / count) * close))


def energy_loss(beam: Beam, element: str, shells: tuple[str, ...], within: Microscope) -> float:
    """Cross-section of an edge for losses in a window and angles in the spectrometer, nm².

    Parameters
    ----------
    beam : of electrons.
    element : chemical symbol.
    shells : that make up the edge.
    within : window and collection angle.
    """
    lowest = min(_edges(element)[shell].energy for shell in shells)
    energies = np.linspace(lowest, lowest + within.window_eV, 400)
    strength = sum(_strength(element, shell, energies) for shell in shells)
    # characteristic angle of a loss: E / (gamma m v²)
    angles = energies / (2 * beam.gamma * beam.slow_ev)
    # The integral of θ / (θ² + θ_E²) over the aperture: dipole transitions alone.
    collected = np.log1p((within.collection_mrad * MRAD / angles) ** 2)
    scale = 4 * np.pi * (BOHR_NM * RYDBERG_EV) ** 2 / beam.slow_ev
    return float(scale * np.trapezoid(strength * collected / energies, energies))


def _edx(microscope: Microscope, beam: Beam, element: str) -> Yield:
    edges = _edges(element)
    shell = next(
        (s for s in ("K", "L3", "M5") if s in edges and edges[s].energy <= MOST_LINE_EV), None
    )
    line = {"K": "Ka", "L3": "La", "M5": "Ma"}.get(shell or "")
    if shell is None or line is None or not edges[shell].fyield > 0:
        raise _without("X-rays to detect", element, "eels, or an element from beryllium on")
    emitted, _, share = _xraydb().fluor_yield(element, shell, line, np.inf)
    # A hole of L1 may move to L3 before it is filled, and is seen in the line of L3.
    vacancies = sum(
        _moved(element, other, shell) * ionisation(beam, element, other)
        for other in edges
        if other[0] == shell[0]
    )
    seen = microscope.solid_angle_sr / (4 * np.pi) * microscope.efficiency
    size = vacancies * emitted * share * seen
    return Yield(float(size), f"{element} {shell[0]} line by EDX", UNCERTAINTY["edx", shell[0]])


def _moved(element: str, start: str, end: str) -> float:
    """Share of the vacancies of a subshell that end in another by Coster-Kronig transitions."""
    if start == end:
        return 1.0
    return float(_xraydb().ck_probability(element, start, end) or 0.0)


EELS_EDGES = (("K",), ("L3", "L2"), ("M5", "M4"))


def _eels(microscope: Microscope, beam: Beam, element: str) -> Yield:
    edges = _edges(element)
    shells = next(
        (s for s in EELS_EDGES if s[0] in edges and edges[s[0]].energy <= MOST_LOSS_EV), None
    )
    if shells is None:
        raise _without("an edge to map by EELS", element, "edx")
    present = tuple(shell for shell in shells if shell in edges)
    size = microscope.efficiency * energy_loss(beam, element, present, microscope)
    kind = shells[0][0]
    return Yield(size, f"{element} {kind} edge by EELS", UNCERTAINTY["eels", kind])


def _without(what: str, element: str, accepted: str) -> BadInput:
    key = "acquisition.microscope.signal"
    return BadInput(f"{element} is without {what}", key=key, accepted=accepted)


def _strength(element: str, shell: str, energies: Values) -> Values:
    """Optical oscillator strength of a shell per eV: what X-rays of these energies see of it."""
    edges = _edges(element)
    database = _xraydb()
    absorbed = database.mu_elam(element, energies, kind="photo")  # cm²/g
    mass = database.atomic_mass(element) / constants.N_A  # g
    own = edges[shell]
    # What is absorbed at all is shared out by the jumps at the edges: deeper shells take theirs.
    share = np.where(energies >= own.energy, 1 - 1 / own.jump_ratio, 0.0)
    for other in edges.values():
        if other.energy > own.energy:
            share = np.where(energies >= other.energy, share / other.jump_ratio, share)
    section = absorbed * mass * (1e-2 / NM) ** 2 * share
    return np.asarray(section / (4 * np.pi**2 * constants.alpha * BOHR_NM**2 * RYDBERG_EV))


def electrons_of(shell: str) -> int:
    """Count the electrons of a full subshell: 2 j + 1, in the order s1/2, p1/2, p3/2, d3/2, d5/2.

    Parameters
    ----------
    shell : K, L1 … M5.

    Examples
    --------
    >>> [electrons_of(shell) for shell in ("K", "L1", "L2", "L3")]
    [2, 2, 2, 4]
    """
    return 2 * ((int(shell[1:] or 1) + 1) // 2)


@lru_cache(maxsize=128)
def _edges(element: str) -> dict[str, Any]:
    edges: dict[str, Any] = _xraydb().xray_edges(element)
    return {name: edge for name, edge in edges.items() if name[0] in "KLM"}


def _xraydb() -> Any:
    instead = "pip install 'tomoatlas[dose]', or acquisition.counts_per_electron"
    with needed("xraydb", purpose="acquisition.microscope", accepted=instead):
        import xraydb
    return xraydb
