"""TLS contexts: loads the trusted certificates once, and shares them between providers."""

import ssl
from pathlib import Path
from weakref import WeakValueDictionary

import httpx

from enkash_auth._policy.cause import cause_of
from enkash_auth._settings.environment import certificate_files
from enkash_auth.errors import ConfigurationError

try:
    import truststore
except ImportError:
    truststore = None  # type: ignore[assignment]  # a module or nothing

Verify = bool | ssl.SSLContext
Certificates = tuple[str | int | None, ...]
_contexts: WeakValueDictionary[Certificates, ssl.SSLContext] = WeakValueDictionary()


def certificates() -> Certificates:
    """Return which certificates are trusted by default: other ones once the file was replaced."""
    file, folder = certificate_files()
    try:
        stat = Path(file).stat() if file else None
    except OSError:
        stat = None
    return (file, folder, stat.st_mtime_ns, stat.st_size, stat.st_ino) if stat else (file, folder)


def tls_context(verify: Verify) -> ssl.SSLContext:
    """Return what `verify` means; raise `ConfigurationError` if the certificates that are named cannot be read.

    True is what `SSL_CERT_FILE` or `SSL_CERT_DIR` names, else the system's store if `truststore` is installed, else
    certifi's. Providers share that: reading it takes 30 to 90 ms and 0.8 MB, most of what a provider costs.
    """
    if verify is not True:
        return httpx.create_ssl_context(verify=verify)
    trusted = certificates()
    if truststore and not any(trusted):  # a context for each: its lock is held while one connects, and over a fork
        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if context := _contexts.get(trusted):
        return context
    try:
        context = _contexts[trusted] = httpx.create_ssl_context()
        return context
    except OSError as error:
        why, keys = cause_of(error), error.filename  # Python names no file of certificates
    if keys:
        raise ConfigurationError(f"SSLKEYLOGFILE: {keys} cannot be written ({why}); correct or unset it")
    named = " or ".join(name for name in certificate_files() if name)
    raise ConfigurationError(f"SSL_CERT_FILE or SSL_CERT_DIR: {named} cannot be read ({why}); correct or unset it")
