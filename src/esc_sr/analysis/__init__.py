"""Look into networks: similarity of layers, attribution, receptive fields, kernels, spectra.

Everything but `kernels` works on any `nn.Module` that maps `(B, 3, H, W)` to `(B, 3, s·H, s·W)`.
"""
