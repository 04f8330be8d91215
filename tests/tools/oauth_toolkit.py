"""django-oauth-toolkit with one user and one application: an authorization server that is not Spring.

Takes the account as JSON, prints its URL, and serves until it is ended. Runs in an environment of its own.
"""

import json
import sys
from wsgiref.simple_server import make_server

import django
from django.conf import settings
from django.urls import include, path

account = json.loads(sys.argv[1])
settings.configure(
    SECRET_KEY="not a secret",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    OAUTH2_PROVIDER={"ACCESS_TOKEN_EXPIRE_SECONDS": 300, "SCOPES": {"read": "Read", "write": "Write"}},
    USE_TZ=True,
)
django.setup()
urlpatterns = [path("oauth/", include("oauth2_provider.urls", namespace="oauth2_provider"))]

if __name__ == "__main__":
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.core.wsgi import get_wsgi_application
    from oauth2_provider.models import Application

    call_command("migrate", verbosity=0)
    User.objects.create_user(account["username"], password=account["password"])
    Application.objects.create(
        client_id=account["client_id"],
        client_secret=account["client_secret"],
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Application.GRANT_PASSWORD,
    )
    application = get_wsgi_application()

    def slashed(environ, start_response):
        """The kit's path ends with a slash, EnKash's does not."""
        return application({**environ, "PATH_INFO": environ["PATH_INFO"].rstrip("/") + "/"}, start_response)

    with make_server("127.0.0.1", 0, slashed) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
