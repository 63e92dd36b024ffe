"""Using a trained network on images."""
