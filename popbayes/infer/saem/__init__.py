"""Stochastic approximation EM: point estimates of a population model, and the start of its sampling."""
