"""laboratories."""
