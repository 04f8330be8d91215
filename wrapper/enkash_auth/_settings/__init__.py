"""Where settings come from, and what may be in them."""
