"""Other programs: our networks known to them, their options understood here."""
