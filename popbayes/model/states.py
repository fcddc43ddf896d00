"""What is not observed of a subject beside its random effects: its class, and missing covariates.

A *state* of a subject is one combination of its class and of the levels of its missing categories; states are
summed out of the likelihood. Missing numbers are values of the graph.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from popbayes import dims
from popbayes.data.design import Design
from popbayes.data.values import missing
from popbayes.parameters.effect import Values
from popbayes.parameters.impute import Impute

if TYPE_CHECKING:
    from popbayes.model.popmodel import PopModel


@dataclass(frozen=True, eq=False)
class States:
    """The states of all subjects, those of one subject together.

    Attributes
    ----------
    model : PopModel
    design : Design
    subject : (n_state,) int
        Subject of each state.
    first : (n_subject,) int
        First state of each subject.
    code : name -> (n_state,) int
        "class" -> class, from 0; column of a categorical `Impute` -> level, -1 where the value is known.
    """

    model: "PopModel"
    design: Design
    subject: np.ndarray
    first: np.ndarray
    code: dict[str, np.ndarray]

    @property
    def size(self) -> int:
        """Number of states of all subjects."""
        return len(self.subject)

    @property
    def several(self) -> bool:
        """Whether any subject has more than one state."""
        return self.size > self.design.n_subject

    def columns(
        self, segment: np.ndarray, state: np.ndarray, values: Mapping[str, Values], xp: Any
    ) -> dict[str, Any]:
        """Covariates and the class at some places, each (n,), none missing.

        Parameters
        ----------
        segment : (n,) segment of the design at each place
        state : (n,) state that holds there
        values : with the missing numbers, `imputed_{column}` (..., n_missing)
        """
        found: dict[str, Any] = {name: own[segment] for name, own in self.design.covariates.items()}
        for one in self.model.imputation:
            gone = missing(found[one.column])
            if one.discrete:
                code = self.code[one.column][state]
                found[one.column] = np.where(gone, one.of_codes(np.maximum(code, 0)), found[one.column])
            else:
                owner = self.design.segment_subject[segment]
                found[one.column] = filled(
                    found[one.column], gone, place_of(self.design, one)[owner], values, one, xp
                )
        if self.model.mixture is not None:
            found[dims.CLASS] = self.code[dims.CLASS][state]
        return found

    @property
    def first_segment(self) -> np.ndarray:
        """First segment of the subject of each state."""
        return first_segments(self.design)[self.subject]

    def at_subjects(self, values: Mapping[str, Values], xp: Any) -> dict[str, Any]:
        """Columns of every state: covariates that are constant within a subject."""
        return self.columns(self.first_segment, np.arange(self.size), values, xp)

    def at_base(self, values: Mapping[str, Values], xp: Any) -> dict[str, Any]:
        """Columns of every segment with each subject in its first state."""
        every = np.arange(self.design.n_segment)
        return self.columns(every, self.first[self.design.segment_subject], values, xp)

    def log_prior(self, values: Mapping[str, Values], xp: Any) -> Values:
        """Log density of class and covariates, known ones included, in every state, (..., n_state)."""
        columns = self.at_subjects(values, xp)
        total: Any = np.zeros(self.size)
        for one in self.model.imputation:
            if one.discrete:
                total = total + _picked(
                    one.odds.log_probabilities(columns, values, xp), one.codes(columns[one.column]), xp
                )
            else:
                total = total + one.log_density(columns, values, xp)
        if self.model.mixture is not None:
            each = self.model.mixture.odds.log_probabilities(columns, values, xp)
            total = total + _picked(each, self.code[dims.CLASS], xp)
        return total


def states_of(model: "PopModel", design: Design) -> States | None:
    """The states of all subjects of a design; None where the model has neither classes nor imputation."""
    if model.mixture is None and not model.imputation:
        return None
    first = first_segments(design)
    choices: dict[str, list[range | tuple[int]]] = {}
    if model.mixture is not None:
        choices[dims.CLASS] = [range(model.mixture.classes)] * design.n_subject
    for one in model.imputation:
        if one.discrete:
            gone = missing(design.covariates[one.column][first])
            choices[one.column] = [range(len(one.levels or ())) if lost else (-1,) for lost in gone]
    rows = [
        (subject, *combination)
        for subject in range(design.n_subject)
        for combination in product(*(each[subject] for each in choices.values()))
    ]
    table = np.array(rows, dtype=np.int64).reshape(len(rows), 1 + len(choices))
    starts = np.searchsorted(table[:, 0], np.arange(design.n_subject))
    return States(
        model, design, table[:, 0], starts, {name: table[:, k + 1] for k, name in enumerate(choices)}
    )


def first_segments(design: Design) -> np.ndarray:
    """First segment of each subject, (n_subject,)."""
    return np.searchsorted(design.segment_subject, np.arange(design.n_subject))


def missing_subjects(design: Design, one: Impute) -> np.ndarray:
    """Subjects whose value of a column is missing: the order of `imputed_{column}`."""
    return np.flatnonzero(missing(design.covariates[one.column][first_segments(design)]))


def place_of(design: Design, one: Impute) -> np.ndarray:
    """Place of each subject among those whose value is missing, (n_subject,); -1 elsewhere."""
    lost = missing_subjects(design, one)
    place = np.full(design.n_subject, -1)
    place[lost] = np.arange(len(lost))
    return place


def filled(
    column: np.ndarray,
    gone: np.ndarray,
    place: np.ndarray,
    values: Mapping[str, Values],
    one: Impute,
    xp: Any,
) -> Any:
    """A column with missing values put in, (..., n); the typical value where they are not among `values`."""
    if not gone.any():
        return column
    if one.name not in values:
        known = column[~gone]
        return np.where(gone, np.median(known) if len(known) else one.typical.start(), column)
    own = values[one.name]
    if xp is np:
        own = np.asarray(own)
        return np.where(gone, own[..., np.maximum(place, 0)], column)
    return xp.set_subtensor(xp.as_tensor(np.where(gone, 0.0, column))[np.flatnonzero(gone)], own[place[gone]])


def drawn_columns(model: "PopModel", values: Mapping[str, Values], design: Design, xp: Any) -> dict[str, Any]:
    """Covariates and the class of every segment, with what `values` hold of them, (..., n_segment).

    `values` may have `class_of` (..., n_subject), from 1, and `imputed_{column}` (..., n_missing); what is
    absent is the first class, the first level and the typical value.
    """
    found: dict[str, Any] = dict(design.covariates)
    for one in model.imputation:
        column = design.covariates[one.column]
        gone = missing(column)
        if not gone.any():
            continue
        place = place_of(design, one)[design.segment_subject]
        if not one.discrete:
            found[one.column] = filled(column, gone, place, values, one, xp)
            continue
        code = np.asarray(values.get(one.name, np.zeros(1 + place.max())), dtype=np.int64)
        found[one.column] = np.where(gone, one.of_codes(code)[..., np.maximum(place, 0)], column)
    if model.mixture is not None:
        which = values.get(dims.CLASS_OF)
        found[dims.CLASS] = (
            np.zeros(design.n_segment, dtype=np.int64)
            if which is None
            else np.asarray(which, dtype=np.int64)[..., design.segment_subject] - 1
        )
    return found


def _picked(each: list[Values], codes: np.ndarray, xp: Any) -> Values:
    """Of several values at every place the one of its class, (..., n)."""
    total: Any = 0.0
    for k, one in enumerate(each):
        total = total + one * (codes == k)
    return total


def affected(states: States) -> tuple[str, ...]:
    """Parameters whose locations depend on the state of some subject."""
    model, design = states.model, states.design
    lost = {one.column for one in model.imputation if one.discrete and len(missing_subjects(design, one))}
    mixed = set() if model.mixture is None else set(model.mixture.names)
    return tuple(
        name
        for name, parameter in model.parameters.items()
        if name in mixed or any(lost & set(one.columns) for one in parameter.covariates)
    )


def shared_names(states: States) -> tuple[str, ...]:
    """Random effects that are sampled as individual values, one for all states; empty where they cannot be.

    They can be where the state moves only locations of parameters with normal random effects, by the same
    amount throughout a subject: the prediction is then the same in all states. Effects that are correlated
    with these are among them.
    """
    model, names = states.model, affected(states)
    if not states.several or not names or (model.mixture is not None and model.mixture.centred is False):
        return ()
    tailed = {name for some, _ in model.tails for name in some}
    for name in names:
        if name not in model.eta_names or name in tailed or model.parameters[name].scale == "boxcox":
            return ()
        if _moves_unevenly(states, name):
            return ()
    together = [set(some) for some, _ in (*model.correlated_blocks, *model.fixed_correlations)]
    wanted = set(names).union(*(some for some in together if some & set(names)))
    return () if wanted & tailed else tuple(name for name in model.eta_names if name in wanted)


def _moves_unevenly(states: States, name: str) -> bool:
    """Whether what a state adds to the location changes within a subject."""
    model, design = states.model, states.design
    parameter = model.parameters[name]
    first = first_segments(design)[design.segment_subject]
    varying = {
        column for column, own in design.covariates.items() if np.any((own != own[first]) & ~missing(own))
    }
    if parameter.scale == "identity" and varying & {c for one in parameter.covariates for c in one.columns}:
        return True
    lost = {one.column for one in model.imputation if one.discrete}
    return any(lost & set(one.columns) and varying & set(one.columns) for one in parameter.covariates)
