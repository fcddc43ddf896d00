"""What the body does to the drug and the drug to the body: declarations only."""

from popbayes.structural import ode as ode
from popbayes.structural import pd as pd
from popbayes.structural import pk as pk

__all__ = ["ode", "pd", "pk"]
