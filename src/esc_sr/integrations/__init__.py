"""What makes our networks known to other programs."""
