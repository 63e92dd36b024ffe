"""Pure tensor-to-tensor functions: geometry, colour, resize and image-quality formulas."""
