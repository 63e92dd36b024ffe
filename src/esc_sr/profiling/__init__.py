"""Measure latency, memory, multiply-adds and parameters; print nothing."""
