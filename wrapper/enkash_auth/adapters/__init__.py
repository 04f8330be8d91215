"""EnkashAuth for other HTTP clients, each in a module of its own, which imports that client."""
