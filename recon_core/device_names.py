"""Names of devices, apart from what computes on them: ``--help`` must not wait for NumPy."""

from __future__ import annotations

from typing import Literal, get_args

DeviceName = Literal["auto", "cpu", "cuda", "cuda-half"]
DEVICES: tuple[DeviceName, ...] = get_args(DeviceName)
