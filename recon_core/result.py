"""What a reconstruction returns: volumes, how they were reached, and the model fitted of HAADF."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from .contrast import FittedLaw
from .metrics.vacuum import Vacuum
from .tiltseries import TiltSeries

Array = NDArray[np.float32]

PRIOR_POWER = 1.7  # exponent of the atomic number: between those of annular detectors, 1.4 to 2
UNDECIDED = 0.5  # share of the prior above which the data do not identify a coefficient


class Status(StrEnum):
    """How a solve ended."""

    CONVERGED = "converged"
    ITERATION_LIMIT = "iteration-limit"
    DIVERGED = "diverged"
    BAD_DATA = "bad-data"


@dataclass(frozen=True)
class History:
    """Convergence of a solve: one entry per recorded step, all of equal length, float64.

    Parameters
    ----------
    iterations : work done so far, in pairs of projections of each modality.
    haadf, chemistry, tv : weighted terms of the objective at the iterate.
    primal, dual : relative residuals of the splitting; NaN for a method without HAADF.
    change : change of the volumes in the last iteration, relative to their norm.

    Examples
    --------
    >>> History(iterations=(0.0,), haadf=(1.0,), chemistry=(2.0,), tv=(0.5,)).objective
    (3.5,)
    """

    iterations: tuple[float, ...] = ()
    haadf: tuple[float, ...] = ()
    chemistry: tuple[float, ...] = ()
    tv: tuple[float, ...] = ()
    primal: tuple[float, ...] = ()
    dual: tuple[float, ...] = ()
    change: tuple[float, ...] = ()

    @property
    def objective(self) -> tuple[float, ...]:
        """Sum of the three terms at each recorded step."""
        # the terms are recorded with their weights
        return tuple(sum(t) for t in zip(self.haadf, self.chemistry, self.tv, strict=True))


@dataclass(frozen=True)
class Coefficients:
    """HAADF counts per voxel of concentration 1, fitted to the data.

    Parameters
    ----------
    gamma : exponent of the concentrations.
    elements : chemical symbols.
    values : k_i, one per element.
    errors : their standard uncertainties, prior included.
    prior : share of each that the prior Z^p decides: 0 where the data do, 1 where they say nothing.

    Examples
    --------
    >>> found = Coefficients(1.2, ("O", "Au"), (3.0, 250.0), (2.0, 5.0), (0.8, 0.0))
    >>> found.undecided
    ('O',)
    """

    gamma: float
    elements: tuple[str, ...]
    values: tuple[float, ...]
    errors: tuple[float, ...]
    prior: tuple[float, ...]

    @property
    def law(self) -> FittedLaw:
        """The contrast of these coefficients."""
        return FittedLaw(self.gamma, self.values)

    @property
    def undecided(self) -> tuple[str, ...]:
        """Elements whose coefficient the data do not identify."""
        return tuple(
            name for name, share in zip(self.elements, self.prior, strict=True) if share > UNDECIDED
        )

    def among(self, elements: tuple[str, ...]) -> Coefficients:
        """Return the coefficients of more elements, 0 for those that have none here.

        Parameters
        ----------
        elements : chemical symbols, those of these coefficients among them, in the same order.
        """
        columns = zip(self.values, self.errors, self.prior, strict=True)
        known = dict(zip(self.elements, columns, strict=True))
        rows = [known.get(name, (0.0, 0.0, 0.0)) for name in elements]
        values, errors, prior = (tuple(row[i] for row in rows) for i in range(3))
        return replace(self, elements=elements, values=values, errors=errors, prior=prior)

    def scaled(self, factor: float) -> Coefficients:
        """Return the coefficients in another unit of counts per voxel.

        Parameters
        ----------
        factor : new units in an old one.
        """
        values, errors = (tuple(factor * v for v in part) for part in (self.values, self.errors))
        return replace(self, values=values, errors=errors)

    def at_levels(self, levels: Sequence[float]) -> Coefficients:
        """Return the coefficients for which volumes times these levels have the same contrast.

        Parameters
        ----------
        levels : factor of the concentrations of each element, > 0.
        """
        factors = [level**-self.gamma for level in levels]
        values, errors = (
            tuple(f * v for f, v in zip(factors, part, strict=True))
            for part in (self.values, self.errors)
        )
        return replace(self, values=values, errors=errors)


@dataclass(frozen=True)
class HaadfModel:
    """The fitted model of HAADF, sum_i k_i x_i^gamma + vacuum + film/cos(tilt), in counts.

    Parameters
    ----------
    coefficients : k_i.
    vacuum : level and film that were used.
    given : level that the tilt series records.

    Examples
    --------
    >>> found = Coefficients(1.2, ("O", "Au"), (3.0, 250.0), (2.0, 5.0), (0.8, 0.0))
    >>> for line in HaadfModel(found, Vacuum(1663.2, level_error=0.6), 1330.0).lines:
    ...     print(line)
    HAADF coefficients, counts per voxel of concentration 1: O 3.0 ± 2.0, Au 250.0 ± 5.0
    not identified by the data, held near Z^1.7: O
    HAADF vacuum: 1663.2 ± 0.6 counts; the file gives 1330
    """

    coefficients: Coefficients
    vacuum: Vacuum
    given: float

    @property
    def facts(self) -> Mapping[str, float]:
        """What the file of a reconstruction records: name to value."""
        found, vacuum = self.coefficients, self.vacuum
        columns = (found.elements, found.values, found.errors, found.prior)
        facts: dict[str, float] = {}
        for name, value, error, prior in zip(*columns, strict=True):
            facts |= {
                f"haadf_k_{name}": value,
                f"haadf_k_{name}_error": error,
                f"haadf_k_{name}_prior": prior,
            }
        facts |= {"haadf_vacuum": vacuum.level, "haadf_vacuum_error": vacuum.level_error}
        return facts | {"haadf_film": vacuum.film, "haadf_film_error": vacuum.film_error}

    @classmethod
    def of_facts(
        cls, facts: Mapping[str, object], elements: tuple[str, ...], gamma: float, given: float
    ) -> HaadfModel | None:
        """Return the model that :attr:`facts` recorded; None where there is none.

        Parameters
        ----------
        facts : of the file of a reconstruction.
        elements : chemical symbols, in the order of the volumes.
        gamma : exponent of the concentrations.
        given : level that the tilt series records.
        """

        def number(name: str) -> float:
            return float(str(facts[name]))

        if any(f"haadf_k_{name}" not in facts for name in elements):
            return None
        rows = [
            tuple(number(f"haadf_k_{name}{part}") for name in elements)
            for part in ("", "_error", "_prior")
        ]
        parts = ("haadf_vacuum", "haadf_film", "haadf_vacuum_error", "haadf_film_error")
        vacuum = Vacuum(*map(number, parts))
        return cls(Coefficients(gamma, elements, rows[0], rows[1], rows[2]), vacuum, given)

    @property
    def lines(self) -> tuple[str, ...]:
        """The model in words, for people."""
        found = self.coefficients
        columns = zip(found.elements, found.values, found.errors, strict=True)
        named = ", ".join(f"{name} {_with_error(value, error)}" for name, value, error in columns)
        lines = [f"HAADF coefficients, counts per voxel of concentration 1: {named}"]
        if found.undecided:
            listed = ", ".join(found.undecided)
            lines.append(f"not identified by the data, held near Z^{PRIOR_POWER:g}: {listed}")
        if self.vacuum.is_seen:
            lines.append(f"HAADF vacuum: {self.vacuum}; the file gives {self.given:.6g}")
        else:
            lines.append(f"HAADF vacuum: {self.given:.6g} counts, the file's; none is in view")
        return tuple(lines)

    def applied_to(self, series: TiltSeries) -> TiltSeries:
        """Return the series with the vacuum of the model, and HAADF scale 1 of its law.

        Parameters
        ----------
        series : that the model was fitted to.
        """
        return replace(self.vacuum.of(series), haadf_scale=1.0)


@dataclass(frozen=True)
class Reconstruction:
    """Concentrations of every element, and how they were reached.

    Parameters
    ----------
    volumes : concentrations, (element, z, y, x), float32, on the host.
    status : how the solve ended.
    iterations : work done, in pairs of projections of each modality; a fraction is possible. That
        of a start which all trials of a series share is not counted.
    history : terms and residuals at the recorded steps.
    message : remedy for a solve that did not converge; empty otherwise.
    elements : chemical symbols, in the order of ``volumes``.
    voxel_size_nm : edge of a voxel, nm.
    facts : the method, its weights and the settings of the solver, for the file.
    haadf : model of HAADF that was fitted to the data; None where none was.

    Examples
    --------
    >>> import tomoatlas as ta
    >>> series = ta.simulate(ta.make_specimen("nanocubes", size=8))
    >>> result = ta.reconstruct(series, "ml", settings=ta.SolverSettings(max_iterations=5))
    >>> result.status, result.facts["method"], result.facts["max_iterations"]
    (<Status.ITERATION_LIMIT: 'iteration-limit'>, 'ml', 5)
    """

    volumes: Array
    status: Status
    iterations: float
    history: History = field(default_factory=History)
    message: str = ""
    elements: tuple[str, ...] = ()
    voxel_size_nm: float = 1.0
    facts: Mapping[str, float | str] = field(default_factory=dict)
    haadf: HaadfModel | None = None


def _with_error(value: float, error: float) -> str:
    """Write a value to the decimals that its uncertainty leaves, which is given to two digits."""
    if not 1e-4 < error < 1e6:
        return f"{value:.4g} ± {error:.2g}"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"
