"""Lightning training: the module and its callbacks. Knows no concrete network."""
