"""The rules, pure: values in, values out. No clock, lock, thread or file, and no import of the rest but its errors."""
