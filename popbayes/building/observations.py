"""What is refused before a likelihood is written: observations that the residual error cannot describe."""

import numpy as np

from popbayes.building.starts import design_for, initial_values
from popbayes.data.events import EventTable
from popbayes.engine.solve import evaluate
from popbayes.model import PopModel

ROWS_SHOWN = 8


def check_observations(model: PopModel, data: EventTable) -> None:
    """Refuse observations that the residual error cannot describe.

    Raises
    ------
    ValueError
        With the rows concerned, why, and what to do.
    """
    if not data.has_dv:
        raise ValueError(
            "There are no observed values (DV) to build a likelihood on: this is a design. "
            "Use pb.simulate(model, data) for it, or pb.solve(structural, data, parameters)."
        )
    if np.any(data.cens[data.obs_record] != 0):
        bad = _rows(data, data.cens[data.obs_record] != 0)
        raise ValueError(
            f"Censored observations (CENS) are not supported yet: {bad}. "
            "Leave them out (a biased choice, Beal's M1) until they are."
        )
    if len(np.unique(data.dvid[data.obs_record])) > 1:
        kinds = ", ".join(map(str, np.unique(data.dvid[data.obs_record])))
        raise ValueError(
            f"The observations are of several kinds (DVID {kinds}), but the model has one residual error "
            f"for one output ({model.structural.outputs[0]}). Keep the observations of one DVID."
        )
    residual = model.residual
    if residual.needs_positive_dv and np.any(data.obs_dv <= 0):
        raise ValueError(
            f"residual.{residual.kind} needs positive observations, but DV <= 0 in "
            f"{_rows(data, data.obs_dv <= 0)}. Use residual.Combined or residual.Additive, "
            "or leave these records out."
        )
    if residual.needs_positive_prediction:
        _check_predictions(model, data)


def _check_predictions(model: PopModel, data: EventTable) -> None:
    """Refuse predictions of zero, of a typical subject at the prior medians, where the error would vanish."""
    model = model.resolved(data)
    design = design_for(model, data)
    theta = model.individual_parameters(initial_values(model, data), None, design)
    prediction = evaluate(model.structural, design, theta)
    if np.any(prediction <= 0):
        raise ValueError(
            f"residual.{model.residual.kind} has no density where the prediction is 0, since its error "
            f"vanishes there; the model predicts 0 (as before the first dose) in "
            f"{_rows(data, prediction <= 0)}. Use residual.Combined, which has an additive part, or leave "
            "these records out."
        )


def _rows(data: EventTable, which: np.ndarray) -> str:
    """Data rows with their subjects, in words."""
    records = data.obs_record[which]
    shown = [f"row {data.row[r]} (ID {data.subjects[data.record_subject[r]]})" for r in records[:ROWS_SHOWN]]
    more = f" and {len(records) - ROWS_SHOWN} more" if len(records) > ROWS_SHOWN else ""
    return ", ".join(shown) + more
