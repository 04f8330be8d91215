"""One account's sign-in: the request, its answer, and the certificates it trusts."""
