"""Training losses: modules mapping `(sr, gt)` to a scalar."""
