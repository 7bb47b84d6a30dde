"""What a trial takes on a device: estimated, predicted, or as a journal has measured it."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..recon_core.errors import BadInput
from ..recon_core.gpu.cost import GPUS, Gpu, iteration_seconds
from ..recon_core.memory import fused_bytes
from ..recon_core.methods import Method
from .estimate import data_bytes, solve_size, trial_seconds
from .record import StudyFolder
from .record.lines import TrialLines, file_lines
from .study import Study
from .study.trial import Record, TrialStatus, is_final

TrialSeconds = Callable[[Study, Method], float]
"""Seconds of one trial of a study without axes on one device."""

HOST_VOXELS_PER_SECOND = 2.0e7
"""Voxels times elements that one core of the host of a GPU prepares and scores per second. At 64³
scores take 25 ns of each, and data 95 ns, which the four trials of a portion share."""

CPU = "cpu"


@dataclass(frozen=True)
class Price:
    """How long trials take on a device of one kind.

    Parameters
    ----------
    gpu : its data sheet; None for one core of a processor.
    factors : measured time over what is predicted, by method, where there are measurements.
    basis : where the numbers come from.
    """

    gpu: Gpu | None = None
    factors: Mapping[Method, float] = field(default_factory=dict)
    basis: str = "estimated"

    @property
    def device(self) -> str:
        """Its name, as in "one core"."""
        return "core" if self.gpu is None else self.gpu.name

    @property
    def hours(self) -> str:
        """What device-hours are called."""
        return "device-hours" if self.gpu is None else "GPU-hours"

    def seconds(self, study: Study, method: Method) -> float:
        """Seconds of one trial of a study without axes."""
        if self.gpu is None:
            seconds = trial_seconds(study, method)
        else:
            seconds = gpu_trial_seconds(study, method, self.gpu)
        return self._factor(method) * seconds

    def measured(self, study: Study, records: Iterable[Record], source: str) -> Price:
        """The price by the trials of a journal that ran on such a device.

        Parameters
        ----------
        study : whose journal it is.
        records : of the journal.
        source : what to call it.

        Raises
        ------
        BadInput : no trial of the journal ran on a GPU, or on the CPU if that is priced.
        """
        at = {cell.values: there for cell, there in study.conditions()}
        taken, due = defaultdict[Method, float](float), defaultdict[Method, float](float)
        devices = Counter[str]()
        for record in filter(self._counts, records):
            cell = at.get(tuple(record["cell"].items()))
            if cell is not None:
                method = Method(record["method"])
                taken[method] += record["seconds"]
                due[method] += self.seconds(cell, method)
                devices[record["device"]] += 1
        if not devices:
            wanted = "the CPU" if self.gpu is None else "a GPU"
            raise BadInput(f"no trial ran on {wanted}", key="--measured", value=source)
        # Ratios of sums, not means of ratios: long trials decide how long a study takes.
        factors = {method: taken[method] / due[method] for method in taken}
        names = ", ".join(sorted(devices))
        return replace(
            self, factors=factors, basis=f"measured: {devices.total()} trials on {names}"
        )

    def _counts(self, record: Record) -> bool:
        on_gpu = record["device"] != CPU
        return (
            is_final(record)
            and record["status"] == TrialStatus.OK
            and record["seconds"] > 0
            and on_gpu == (self.gpu is not None)
        )

    def _factor(self, method: Method) -> float:
        """Of this method; of one that was not measured, the mean of the others."""
        known = self.factors.get(method)
        if known is not None or not self.factors:
            return 1.0 if known is None else known
        # Geometric: twice as long and half as long leave the estimate where it is.
        return math.exp(sum(map(math.log, self.factors.values())) / len(self.factors))


ON_A_CORE = Price()


def price_on(name: str | None) -> Price:
    """The price on a GPU, or on one core, before anything has been measured.

    Parameters
    ----------
    name : of :data:`~tomoatlas.recon_core.gpu.cost.GPUS`; None for one core.

    Raises
    ------
    BadInput : another name.
    """
    if name is None:
        return ON_A_CORE
    if name not in GPUS:
        raise BadInput("unknown", key="--gpu", value=name, accepted=", ".join(GPUS))
    return Price(GPUS[name], basis="predicted from its data sheet")


def price_measured(price: Price, folder: StudyFolder) -> Price:
    """A price by the journal of a study, see :meth:`Price.measured`.

    Parameters
    ----------
    price : before it.
    folder : of the study that was run.

    Raises
    ------
    BadInput : not the folder of a study, or no trial of it ran on such a device.
    """
    study = folder.study()
    records = filter(None, map(TrialLines(study).take, file_lines(folder.journal_file)))
    return price.measured(study, records, str(folder.path))


def gpu_trial_seconds(study: Study, method: Method, gpu: Gpu) -> float:
    """Predict the seconds of one trial: its iterations, and data and scores on one core.

    Parameters
    ----------
    study : without axes.
    method : of the trial.
    gpu : what it is computed on.
    """
    size = solve_size(study)
    iterations = min(method.traits.iterations, study.solver.max_iterations)
    host = math.prod(size.shape) / HOST_VOXELS_PER_SECOND
    return iterations * iteration_seconds(size, method, gpu) + host


def gpu_memory(study: Study) -> tuple[int, int]:
    """Bytes of the GPU that the largest trial of a study takes, and of the computer it is in.

    Parameters
    ----------
    study : with its axes.
    """
    cells = [at for _, at in study.conditions()]
    own = max(fused_bytes(solve_size(at)) for at in cells)
    return own, max(map(data_bytes, cells))
