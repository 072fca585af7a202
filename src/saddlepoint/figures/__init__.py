"""Pictures from arrays, without a screen: grids, plots, series, film."""
