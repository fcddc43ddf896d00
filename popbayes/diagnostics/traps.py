"""Chains that stay in different modes: which subjects and parameters, where each chain is, what to do."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import xarray as xr

from popbayes.diagnostics.population import estimated_draws
from popbayes.diagnostics.result import Table
from popbayes.dims import CHAIN, DRAW
from popbayes.infer.pointwise import flat_draws, individual_theta
from popbayes.infer.tree import Study, posterior, study_of

APART = 2.0
"""Distance between groups of chains, in SDs within chains, from which they are in different modes.

With one chain of four so far from the rest, R-hat is about 1.4; chains of one mode are a tenth of it apart.
"""
POPULATION = "population"
FLIP_FLOP = "flip-flop"
TWO_MODES = "two modes"
COLUMNS = ("chains", "here", "there", "sds_apart", "kind")
MOST_NAMED = 3
ABSORPTION = "ka"
VOLUMES = ("V", "V1", "Vc")


def traps(dt: xr.DataTree) -> Table:
    r"""Chains whose individual parameters are in different modes.

    For each subject and parameter the means of the chains are put in order; where the widest gap between
    neighbours is more than 2 standard deviations (pooled within chains), the chains on its two sides are in
    different modes, and the fewer of them count as trapped. Positive parameters are compared by their
    logarithms. A mode is *flip-flop* where the subject's absorption is slower than its elimination
    (:math:`k_a < CL / V`) on one side and not on the other; the chains in which it is slower are those named.

    R-hat says that chains disagree; this says about whom, about what, and by how much.

    Parameters
    ----------
    dt : DataTree
        A fit of two or more chains.

    Returns
    -------
    Table
        Prints what was found and what to do (`messages`), then one row for each subject and parameter, the
        widest gap first. `table` is indexed by `subject` and `parameter` (subject "population": values of
        the population): `chains` (those that are apart), `here` and `there` (medians of the other chains
        and of those apart), `sds_apart` and `kind`. Empty where no chain is apart.

    Examples
    --------
    >>> import popbayes as pb
    >>> dt = pb.fit(model, data)                                             # doctest: +SKIP
    >>> pb.traps(dt)                                                         # doctest: +SKIP
    """
    study, draws = study_of(dt), posterior(dt)
    found = [*_of_population(study, draws), *_of_subjects(study, draws)]
    rows = [one.record for one in sorted(found, key=lambda one: -one.sds_apart)]
    index = pd.MultiIndex.from_tuples([row[:2] for row in rows], names=["subject", "parameter"])
    table = pd.DataFrame([row[2:] for row in rows], index=index, columns=list(COLUMNS))
    chains = draws.sizes[CHAIN]
    some = "no chain is apart" if table.empty else f"{len(table)} quantities with chains in two modes"
    return Table(
        table=table,
        printed=_printed(table),
        messages=_messages(table, chains),
        title=f"Modes of {chains} chains: {some}",
        notes=("here, there: medians of the chains that agree and of those apart.",),
    )


@dataclass(frozen=True)
class Trap:
    """One quantity with chains in two modes."""

    subject: str
    parameter: str
    chains: tuple[int, ...]
    here: float
    there: float
    sds_apart: float
    kind: str

    @property
    def record(self) -> tuple[object, ...]:
        """As a row: subject, parameter, and the columns of the table."""
        apart = ", ".join(map(str, self.chains))
        return self.subject, self.parameter, apart, self.here, self.there, self.sds_apart, self.kind


def _of_population(study: Study, draws: xr.Dataset) -> list[Trap]:
    """Population values whose chains are apart."""
    labels, values = estimated_draws(study.model.population_rows(), draws)
    found = []
    for k in range(len(labels)):
        split = _split(values[:, :, k : k + 1])
        found += [_trap(POPULATION, labels[k], one, values[:, :, k], TWO_MODES) for one in split.values()]
    return found


def _of_subjects(study: Study, draws: xr.Dataset) -> list[Trap]:
    """Individual parameters whose chains are apart, in each subject's first segment."""
    shape = (draws.sizes[CHAIN], draws.sizes[DRAW])
    design = study.design
    first = np.searchsorted(design.segment_subject, np.arange(design.n_subject))
    names = study.model.eta_names
    theta = individual_theta(study, flat_draws(draws)) if names else {}
    values = {
        name: np.broadcast_to(one, (shape[0] * shape[1], design.n_segment))[:, first].reshape(*shape, -1)
        for name, one in theta.items()
    }
    flipped = _flip_flop(values)
    found = []
    for name in names:
        for subject, one in _split(values[name]).items():
            label = str(study.events.subjects[subject])
            kind, named = _kind(one, None if flipped is None else flipped[:, subject])
            found.append(_trap(label, name, named, values[name][:, :, subject], kind))
    return found


def _kind(split: "Split", flipped: np.ndarray | None) -> tuple[str, "Split"]:
    """What the two modes are, from the shares of draws in flip-flop (chain,); there, its chains are apart."""
    if flipped is None:
        return TWO_MODES, split
    others = tuple(k for k in range(len(flipped)) if k not in split.chains)
    more = flipped[list(split.chains)].mean() - flipped[list(others)].mean()
    if abs(more) <= 0.5:
        return TWO_MODES, split
    return FLIP_FLOP, split if more > 0 else replace(split, chains=others)


def _flip_flop(values: dict[str, np.ndarray]) -> np.ndarray | None:
    """Share of draws in which absorption is slower than elimination, (chain, subject); None without both."""
    volume = next((values[name] for name in VOLUMES if name in values), None)
    if volume is None or ABSORPTION not in values or "CL" not in values:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        return (values[ABSORPTION] < values["CL"] / volume).mean(axis=1)


@dataclass(frozen=True)
class Split:
    """Which chains are apart, and how far."""

    chains: tuple[int, ...]
    sds_apart: float


def _split(values: np.ndarray) -> dict[int, Split]:
    """Quantities whose chains are apart, from (chain, draw, n): number -> chains and distance."""
    if values.shape[0] < 2 or values.shape[1] < 2:
        return {}
    positive = np.all(values > 0, axis=(0, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.where(positive, np.log(values), values)
    means, within = values.mean(axis=1), np.sqrt(values.var(axis=1, ddof=1).mean(axis=0))
    order = np.argsort(means, axis=0, kind="stable")
    gaps = np.diff(np.take_along_axis(means, order, axis=0), axis=0)
    widest = gaps.argmax(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = gaps.max(axis=0) / within
    found = {}
    for k in np.flatnonzero(size > APART):
        low, high = order[: widest[k] + 1, k], order[widest[k] + 1 :, k]
        fewer = min((high, low), key=len)
        found[int(k)] = Split(tuple(sorted(int(one) for one in fewer)), float(size[k]))
    return found


def _trap(subject: str, name: str, split: Split, values: np.ndarray, kind: str) -> Trap:
    """One row, from draws (chain, draw)."""
    here = np.median(np.delete(values, split.chains, axis=0))
    there = np.median(values[list(split.chains)])
    return Trap(subject, name, split.chains, float(here), float(there), split.sds_apart, kind)


def _printed(table: pd.DataFrame) -> pd.DataFrame:
    index = pd.Index([f"{subject}: {name}" for subject, name in table.index], name="subject: parameter")
    cells = {
        "chains apart": table["chains"].astype(str).tolist(),
        "here": [f"{value:.3g}" for value in table["here"]],
        "there": [f"{value:.3g}" for value in table["there"]],
        "SDs apart": [f"{value:.1f}" for value in table["sds_apart"]],
        "diagnosis": table["kind"].tolist(),
    }
    return pd.DataFrame(cells, index=index)


def _messages(table: pd.DataFrame, chains: int) -> tuple[str, ...]:
    """What was found and what to do; empty where nothing was."""
    if chains < 2:
        return ("There is only one chain: it cannot disagree with another. Sample with chains=4.",)
    if table.empty:
        return ()
    subjects = [one for one in dict.fromkeys(table.index.get_level_values(0)) if one != POPULATION]
    places = [(str(subject), str(name)) for subject, name in table.index[:MOST_NAMED]]
    named = [
        f"{name} of {'the population' if subject == POPULATION else f'subject {subject}'} is {row.here:.3g} "
        f"but {row.there:.3g} in chain {row.chains}"
        for (subject, name), row in zip(places, table.itertuples(), strict=False)
    ]
    more = len(table) - len(named)
    where = "; ".join(named) + (f"; and {more} more" if more > 0 else "")
    whose = f" ({len(subjects)} subject(s) in all)" if subjects else ""
    return (f"Chains are trapped in different modes: {where}{whose}. {_remedy(table)}",)


def _remedy(table: pd.DataFrame) -> str:
    general = "sample with warm_start=pb.Saem(), which starts every chain where the data put each subject"
    if (table["kind"] == FLIP_FLOP).any():
        return (
            "It is flip-flop: absorption and elimination have changed places, ka < CL/V. Keep them in order "
            "(a prior on ka that lies above CL/V, or a model in which ka is the elimination rate plus a "
            f"positive number), or {general}. Do not use these results."
        )
    return (
        "Two sets of values describe the data about as well. Use what is known to tell them apart (a sharper "
        f"prior, an order of the parameters that can change places), or {general}. Do not use these results."
    )


def trap_messages(dt: xr.DataTree) -> tuple[str, ...]:
    """The message of `traps` for the head of other tables; empty where no chain is apart or there is one."""
    return traps(dt).messages if posterior(dt).sizes[CHAIN] > 1 else ()
