"""Point estimates of a population: methods that integrate, linearise or simulate over random effects."""
