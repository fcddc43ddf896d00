"""What a DataTree says of a model: tables, residuals, predictive checks and comparisons."""
