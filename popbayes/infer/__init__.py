"""A population model and its data in, a DataTree out: sampling, pointwise values, storage."""
