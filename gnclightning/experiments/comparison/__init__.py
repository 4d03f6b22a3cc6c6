"""What the solver is worth beside what a user would pick instead, and where it loses."""
