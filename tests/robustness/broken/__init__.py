"""Bad input of every kind, made anew from a seed each time."""

# A pattern of what a refused run may leave in its folder `r`: what was asked of it.
RUN = r"r/(\.hydra/\w+\.yaml|train\.log|run\.json|dirty\.diff)"
