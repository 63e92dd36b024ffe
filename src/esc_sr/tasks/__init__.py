"""The commands: each a `run(cfg)` that can be tested and a `main()` for the command line."""
