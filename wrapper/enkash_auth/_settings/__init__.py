"""Settings: reads and checks them."""
