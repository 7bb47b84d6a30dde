"""The volume step in plain float64 NumPy, and fields to try it on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from recon_cases import random_volumes
from recon_reference import differences, negative_divergence

from tomoatlas.recon_core.cpu import STEEPEST
from tomoatlas.recon_core.cpu.volume_step import Fields, Steps


def clear_faces(dual: np.ndarray) -> np.ndarray:
    """The dual (..., 3, z, y, x), zero where its difference leaves the volume."""
    dual[..., 0, -1, :, :] = 0
    dual[..., 1, :, -1, :] = 0
    dual[..., 2, :, :, -1] = 0
    return dual


def uncoupled(start: np.ndarray, slope: np.ndarray, dual: np.ndarray) -> Fields:
    """One trial without HAADF at ``start``, which is the extrapolated iterate as well."""
    none = np.empty((1, 0, 0, 0), np.float32)
    volumes = np.ascontiguousarray(start, np.float32)[None]
    return Fields(
        volumes,
        np.empty_like(volumes),
        volumes.copy(),
        np.ascontiguousarray(slope, np.float32)[None],
        clear_faces(np.array(dual, np.float32))[None],
        none,
        none,
        none,
        none,
        none,
    )


def random_fields(
    shape: tuple[int, ...], coupled: bool = True, seed: int = 0, guided: bool = False
) -> Fields:
    """Fields of ``shape`` (trial, element, z, y, x); a guide's gradients are cut here and there."""
    batch, elements, *size = shape
    volumes, following, point = (random_volumes(shape, seed + i) for i in range(3))
    slope = random_volumes(shape, seed + 3) - np.float32(0.6)
    dual = random_volumes((batch, elements, 3, *size), seed + 4) - np.float32(0.6)
    coupling = (batch, *size) if coupled else (batch, 0, 0, 0)
    guide = 6 * random_volumes((batch, *size) if guided else (batch, 0, 0, 0), seed + 9)
    return Fields(
        volumes,
        following,
        point,
        slope,
        clear_faces(dual),
        *(random_volumes(coupling, seed + 5 + i) for i in range(4)),
        guide,
    )


def random_steps(batch: int, elements: int, gamma: float, seed: int = 0) -> Steps:
    """Steps of every kind of trial: the third without coupling, the second without TV."""
    rng = np.random.default_rng(seed)
    tv, rho = rng.uniform(0.1, 1, (2, batch)).astype(np.float32)
    tv[1::3], rho[2::3] = 0, 0
    return Steps(
        rng.uniform(0.5, 5, (batch, elements)).astype(np.float32),
        tv,
        rho,
        rng.uniform(0, 0.5, batch).astype(np.float32),
        np.float32(0.3),
        rng.uniform(0.1, 2, elements).astype(np.float32),
        gamma,
    )


def copied(fields: Fields) -> Fields:
    return Fields(*(array.copy() for array in fields))


@dataclass(frozen=True)
class AlongGuide:
    """P = 1 - g g^T / (1 + |g|^2) at every voxel, for vectors (3, element, z, y, x)."""

    g: np.ndarray

    def weighted(self, vectors: np.ndarray) -> np.ndarray:
        """P v."""
        return vectors - self.inverse(vectors) / (1 + (self.g**2).sum(0))

    def inverse(self, vectors: np.ndarray) -> np.ndarray:
        """P^-1 v - v = g (g . v)."""
        return self.g * (self.g * vectors).sum(0)


def along_guide(guide: np.ndarray, shape: tuple[int, ...]) -> AlongGuide:
    """The weights of a guide (z, y, x); of an empty one P = 1."""
    g = differences(guide if guide.size else np.zeros(shape))
    steep = np.maximum((g**2).sum(0), STEEPEST)
    return AlongGuide((g * np.sqrt(STEEPEST / steep))[:, None])


def reference_step(
    f: Fields, s: Steps, dual: np.ndarray | None = None
) -> tuple[Fields, np.ndarray]:
    """The same step of every trial, and the six sums of each, (trial, 6).

    ``dual``: what was stored of the stepped dual, for the proximal map that follows.
    """
    trials = [
        _trial(Fields(*(a[t].astype(float) for a in f)), s, t, None if dual is None else dual[t])
        for t in range(len(s.tv))
    ]
    stacked = (np.stack(arrays) for arrays in zip(*(fields for fields, _ in trials), strict=True))
    return Fields(*stacked), np.stack([sums for _, sums in trials])


def _trial(f: Fields, s: Steps, t: int, stored: np.ndarray | None) -> tuple[Fields, np.ndarray]:
    tv, beta, metric = float(s.tv[t]), float(s.beta[t]), s.metric[t].astype(float)
    m = metric[:, None, None, None]
    dual, new = f.dual, _newton(f, s, t, f.volumes, f.dual)
    if tv > 0:
        along = along_guide(f.guide, new.shape[1:])
        q = dual.swapaxes(0, 1) + along.inverse(dual.swapaxes(0, 1))
        q += m / 12 / tv * along.weighted(differences(new))
        p = along.weighted(q / np.maximum(np.sqrt((q**2).sum(0)), 1))
        dual = p.swapaxes(0, 1) if stored is None else stored.astype(float)
        new = _newton(f, s, t, new, dual)
    step = new - f.volumes
    sums = [(step**2).sum(), (new**2).sum(), (m * (f.point - new) * step).sum(), 0, 0, 0]
    u, d, contrast, residual = f.u, f.multiplier, f.contrast, f.residual
    if f.u.size:
        now = _contrast(new, s)[0].sum(0)
        gap, moved = now - f.u, now - f.contrast
        sums[3:] = [(gap**2).sum(), (moved**2).sum(), (f.u**2).sum()]
        d, contrast, residual = d + gap, now, residual + float(s.ridge) * (moved + gap)
    return (
        Fields(f.volumes, new, new + beta * step, f.slope, dual, u, d, contrast, residual, f.guide),
        np.array(sums),
    )


def _contrast(x: np.ndarray, s: Steps) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each element's part of the summed contrast, with both derivatives."""
    w, base = s.weights.astype(float)[:, None, None, None], np.maximum(x, 1e-6)
    slope = s.gamma * w * base ** (s.gamma - 1)
    return w * x**s.gamma, slope, (s.gamma - 1) * slope / base


def _newton(f: Fields, s: Steps, t: int, x: np.ndarray, dual: np.ndarray) -> np.ndarray:
    m, rho, tv = s.metric[t].astype(float)[:, None, None, None], float(s.rho[t]), float(s.tv[t])
    force = m * (x - f.point) + f.slope + tv * negative_divergence(dual.swapaxes(0, 1))
    if not f.u.size:
        return np.maximum(x - force / m, 0)
    if s.gamma == 1:
        return _minimum(x - force / m, f.u - f.multiplier, s, t)
    value, slope, bend = _contrast(x, s)
    misfit = value.sum(0) - f.u + f.multiplier
    diagonal = m + rho * bend * np.abs(misfit)
    step = (force + rho * slope * misfit) / diagonal
    lean = slope / diagonal
    pull = rho * (slope * step).sum(0) / (1 + rho * (slope * lean).sum(0))
    return np.maximum(x - step + lean * pull, 0)


def _minimum(center: np.ndarray, target: np.ndarray, s: Steps, t: int) -> np.ndarray:
    """Minimum of sum m/2 (x - center)^2 + rho/2 (w x - target)^2 over x >= 0, by bisection."""
    w, m = (v.astype(float)[:, None, None, None] for v in (s.weights, s.metric[t]))

    def at(pull: np.ndarray | float) -> np.ndarray:
        return np.maximum(center - float(s.rho[t]) * w / m * pull, 0)

    # pull = w x - target, whose right-hand side falls as pull rises
    low, high = -np.abs(target) - 1, np.maximum((w * at(0.0)).sum(0) - target, 0)
    for _ in range(100):
        middle = (low + high) / 2
        above = (w * at(middle)).sum(0) - target > middle
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return at(high)
