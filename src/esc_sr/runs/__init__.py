"""What a run folder says about its run: what was asked, with which code, and what came of it."""
