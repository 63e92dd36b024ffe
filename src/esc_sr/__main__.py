"""`python -m esc_sr` is `esc-sr`."""

from esc_sr.cli import main

if __name__ == "__main__":
    main()
