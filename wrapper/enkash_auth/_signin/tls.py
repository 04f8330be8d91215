"""TLS contexts: loads the trusted certificates once, and shares them between providers."""

import ssl
from weakref import WeakValueDictionary

import httpx

from enkash_auth._policy.cause import cause_of
from enkash_auth._settings.environment import certificate_files
from enkash_auth.errors import ConfigurationError

_contexts: WeakValueDictionary[tuple[str | None, ...], ssl.SSLContext] = WeakValueDictionary()


def tls_context(verify: bool | ssl.SSLContext) -> ssl.SSLContext:
    """Return what `verify` means; providers that live at the same time share what True means.

    Reading the certificates takes 30 to 90 ms and 0.8 MB, most of what a provider costs. Raises `ConfigurationError`
    if those that `SSL_CERT_FILE` or `SSL_CERT_DIR` names cannot be read.
    """
    if verify is not True:
        return httpx.create_ssl_context(verify=verify)
    files = certificate_files()
    if context := _contexts.get(files):
        return context
    try:
        context = _contexts[files] = httpx.create_ssl_context()
        return context
    except OSError as error:
        why = cause_of(error)
    named = " or ".join(name for name in files if name)
    raise ConfigurationError(f"SSL_CERT_FILE or SSL_CERT_DIR: {named} cannot be read ({why}); correct or unset it")
