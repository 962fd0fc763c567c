"""The application, told of the client that Caddy names: what Granian and Hypercorn load.

Uvicorn does that by an option. Both of these have it for applications to wrap themselves in, so it
is theirs that is used here. Only Caddy can reach the socket: its headers are to be trusted.
"""

import importlib
import os
from functools import reduce

module, _, name = os.environ["PERGOLA_ASGI"].partition(":")
found = reduce(getattr, name.split("."), importlib.import_module(module))
if os.environ["PERGOLA_FACTORY"]:
    found = found()

if os.environ["PERGOLA_SERVER"] == "granian":
    from granian.utils.proxies import wrap_asgi_with_proxy_headers

    app = wrap_asgi_with_proxy_headers(found, trusted_hosts="*")
else:
    from hypercorn.middleware import ProxyFixMiddleware

    app = ProxyFixMiddleware(found, mode="legacy", trusted_hops=1)
