"""A sign-in shared by all processes that have the same store."""
