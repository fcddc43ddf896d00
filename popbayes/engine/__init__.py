"""Declarations in, compiled and differentiable solutions out (numpy, numba, pytensor)."""
