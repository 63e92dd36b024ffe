"""Searches: what is varied, the study that remembers it, who works on which trial."""
