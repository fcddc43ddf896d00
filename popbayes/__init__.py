"""popbayes."""
