"""`pk`: what the body does to the drug. The models that can be chosen from."""

from popbayes.structural.absorption import Intravenous
from popbayes.structural.first_order import FirstOrder, Parallel, Sequential, ZeroOrder
from popbayes.structural.linear_bodies import OneCompartment, ThreeCompartment, TwoCompartment
from popbayes.structural.linear_system import Input, LinearSystem
from popbayes.structural.saturable import MichaelisMenten, ParentMetabolite, TargetMediated
from popbayes.structural.transit import Savic, Transit

__all__ = [
    "FirstOrder",
    "Input",
    "Intravenous",
    "LinearSystem",
    "MichaelisMenten",
    "OneCompartment",
    "Parallel",
    "ParentMetabolite",
    "Savic",
    "Sequential",
    "TargetMediated",
    "ThreeCompartment",
    "Transit",
    "TwoCompartment",
    "ZeroOrder",
]
