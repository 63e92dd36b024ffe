"""The networks that ESC is compared with, written from their papers."""
