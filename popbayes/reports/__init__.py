"""One self-contained page of a fit."""
