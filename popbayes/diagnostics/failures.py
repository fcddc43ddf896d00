"""What to say of differential equations that could not be solved."""

import json

import xarray as xr

from popbayes.infer.failed import FAILED, WHY, failed_text

STAGES = {
    "warm_start": "in the warm start",
    "sampling": "while sampling, warm-up included",
    "estimation": "while estimating",
}


def failure_messages(dt: xr.DataTree) -> tuple[str, ...]:
    """How many solutions failed and for which subjects, by stage; empty where none did."""
    stages = json.loads(dt.attrs.get(FAILED, "{}"))
    found = [f"{failed_text(counts)} {STAGES[stage]}" for stage, counts in stages.items() if stage in STAGES]
    if not found:
        return ()
    return (
        f"Differential equations could not be solved {'; '.join(found)}: {WHY}. Such parameters were taken "
        "as impossible. That is harmless where they are far from the data; if draws diverged, or "
        "many solutions failed for the same subject, look at its records, raise max_steps, try "
        "solver='stiff', or narrow the priors.",
    )
