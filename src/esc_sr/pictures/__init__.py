"""Picture files of users to arrays and back: every bit, alpha, colour profile and metadata."""
