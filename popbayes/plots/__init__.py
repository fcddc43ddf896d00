"""Pictures of diagnostics: one figure for each function of `popbayes.diagnostics`."""
