"""esc_sr: train, ablate, measure and ship efficient image super-resolution."""

__version__ = "0.1.0"
