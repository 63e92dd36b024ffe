"""Numbers as papers printed them, to compare with what is measured here."""
