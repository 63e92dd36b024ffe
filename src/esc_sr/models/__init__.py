"""The networks, each to be read like a figure of its paper."""
