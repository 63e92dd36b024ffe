"""Image-quality metrics as torchmetrics classes over `esc_sr.functional`."""
