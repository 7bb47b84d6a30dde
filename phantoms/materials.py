"""What solids consist of: atoms per volume, from a formula and a density.

Formulas, atomic masses and the densities of the elements are those of periodictable (NIST).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..recon_core.errors import BadInput
from ..recon_core.tiltseries import SYMBOLS

ATOMS_PER_NM3 = 100.0
"""Atoms per nm³ that a concentration of 1 stands for: those of solids then lie around 1/2."""
DENSEST = 23.0
"""g/cm³, a little above osmium: nothing on earth is denser."""
LIGHTEST = 1e-3
MOST_ATOMS_PER_NM3 = 180.0
"""A little above diamond: no solid has more atoms in its volume."""
PLAIN = re.compile(r"(?:[A-Za-z0-9.()]{1,200})")


@dataclass(frozen=True)
class Material:
    """A solid phase.

    Parameters
    ----------
    formula : as it was given.
    atoms_per_nm3 : element and its number of atoms per nm³, by atomic number.
    """

    formula: str
    atoms_per_nm3: tuple[tuple[str, float], ...]

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols, by atomic number."""
        return tuple(element for element, _ in self.atoms_per_nm3)

    @property
    def concentrations(self) -> dict[str, float]:
        """Element and its concentration in the pure phase, in :data:`ATOMS_PER_NM3`."""
        return {element: count / ATOMS_PER_NM3 for element, count in self.atoms_per_nm3}


@lru_cache(maxsize=512)
def material(formula: str, density: float | None = None) -> Material:
    """Look up the atoms per volume of a phase.

    Parameters
    ----------
    formula : ``Co3O4``, ``Cu0.64S0.36``, ``C``; shares need not be integers.
    density : g/cm³; None for the density of a pure element at room temperature.

    Returns
    -------
    Material : with the elements by atomic number.

    Raises
    ------
    BadInput : not a formula, a density that cannot be, a compound without density.

    Examples
    --------
    >>> {e: round(n, 1) for e, n in material("Co3O4", 6.11).atoms_per_nm3}
    {'O': 61.1, 'Co': 45.8}
    """
    from periodictable.constants import avogadro_number

    parsed = _parsed(formula)
    given = parsed.density if density is None else density
    if given is None or (density is None and len(parsed.atoms) > 1):
        accepted = "with density, in g/cm³; only elements have a default"
        raise BadInput("a compound without density", key="density", accepted=accepted)
    if not LIGHTEST <= given <= DENSEST:
        accepted = f"{LIGHTEST:g} to {DENSEST:g} g/cm³"
        raise BadInput("not the density of a solid", key="density", value=given, accepted=accepted)
    # formula units per nm³: 1e21 nm³ are a cm³
    units = given / parsed.mass * avogadro_number / 1e21
    counts = {str(atom): units * share for atom, share in parsed.atoms.items()}
    densest = given * MOST_ATOMS_PER_NM3 / sum(counts.values())
    if given > densest:
        accepted = (
            f"up to {densest:.3g} g/cm³, where {formula} had more atoms a volume than diamond"
        )
        raise BadInput(
            "denser than a solid of it can be", key="density", value=given, accepted=accepted
        )
    return Material(formula, tuple(sorted(counts.items(), key=lambda c: SYMBOLS.index(c[0]))))


def _parsed(formula: str) -> Any:
    """The formula as periodictable has it."""
    import periodictable

    accepted = "a chemical formula such as Co3O4 or Cu0.64S0.36"
    # periodictable reads mixtures, ions, isotopes and densities too, in a syntax of its own
    if not PLAIN.fullmatch(formula):
        raise BadInput("not a formula", value=formula, accepted=accepted)
    try:
        parsed = periodictable.formula(formula)
    except Exception as error:  # its parser's own, and several of Python's
        raise BadInput("not a formula", value=formula, accepted=accepted) from error
    wrong = [str(atom) for atom in parsed.atoms if str(atom) not in SYMBOLS]
    if wrong or not all(share > 0 for share in parsed.atoms.values()):
        raise BadInput("not a formula", value=formula, accepted=accepted)
    return parsed
