"""Why the machine that this one dials does not answer: zenoh retries without a word."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Collection

from dora_rt.network.gateway_plan import Security

_CONNECT_S = 1.0
# The far end looks at our certificate after our end of the handshake is over.
_VERDICT_S = 0.5
_ALERTS = (
    ("certificate required", "wants a certificate, and this machine has shown none"),
    ("unknown ca", "does not know the authority of our certificate; make both with one `pair`"),
    ("decrypt error", "does not know the authority of our certificate; make both with one `pair`"),
    ("bad certificate", "does not take our certificate"),
    ("certificate expired", "says that our certificate is no longer valid"),
)


def trouble_with(endpoint: str, security: Security, names: Collection[str]) -> str | None:
    """Return why nobody that we want is at `HOST:PORT`, or None: he is there.

    Args:
        endpoint: what to dial.
        security: what we show and ask for.
        names: what the certificate there may be called.
    """
    host, _, port = endpoint.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S) as connection:
            return _trouble_of_tls(connection, security, names) if security.certificate else None
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return error.strerror or str(error)


def _trouble_of_tls(
    connection: socket.socket, security: Security, names: Collection[str]
) -> str | None:
    from dora_rt.network.certificates import name_in_certificate

    assert security.authority and security.certificate
    context = ssl.create_default_context(cafile=security.authority)
    context.load_cert_chain(security.certificate, security.private_key)
    # The name of a machine, and not that of a host: see session_config.
    context.check_hostname = False
    try:
        with context.wrap_socket(connection) as channel:
            certificate = channel.getpeercert(binary_form=True)
            channel.settimeout(_VERDICT_S)
            with contextlib.suppress(TimeoutError):
                channel.recv(1)
    except ssl.SSLCertVerificationError:
        return "its certificate is from another authority than ours; make both with one `pair`"
    except ssl.SSLError as error:
        text = str(error).lower().replace("_", " ")
        said = next((said for sign, said in _ALERTS if sign in text), None)
        return said or f"it does not speak TLS ({error.reason or error})"
    except (ConnectionError, TimeoutError) as error:
        return f"it ended the TLS handshake: {error}"
    assert certificate is not None
    name = name_in_certificate(certificate)
    return None if name in names else f"{name} is there, and not {' or '.join(names)}"
