"""Chemical symbols and atomic numbers."""

from __future__ import annotations

from collections.abc import Iterable

from recon_core.errors import BadInput

_TABLE = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr
Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm
Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No
Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""
SYMBOLS: tuple[str, ...] = tuple(_TABLE.split())


def atomic_numbers(symbols: Iterable[str]) -> tuple[int, ...]:
    """Atomic number of each chemical symbol.

    Raises
    ------
    BadInput : a symbol is not a chemical element.
    """
    return tuple(_number(symbol) for symbol in symbols)


def _number(symbol: str) -> int:
    if symbol not in SYMBOLS:
        raise BadInput(
            "not a chemical element", key="element", value=symbol, accepted="symbols such as Co, O"
        )
    return SYMBOLS.index(symbol) + 1
