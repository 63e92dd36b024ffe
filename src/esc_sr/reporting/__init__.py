"""Runs side by side: what differs, what came of it, as documents, a page and pictures."""
