"""Lightning callbacks that measure and show."""
