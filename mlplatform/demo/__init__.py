"""The demonstration: a real pipeline on real data, with nothing needed but this package."""
