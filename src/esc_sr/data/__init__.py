"""Datasets, degradations and the Lightning data module."""
