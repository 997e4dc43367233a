"""The authority of a user's machines, and the certificate that it signs for each of them."""

from __future__ import annotations

import datetime
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dora_rt.errors import ExtraMissingError, LaunchError
from dora_rt.network.gateway_plan import Security

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError as error:
    raise ExtraMissingError(
        "TLS between machines needs the package cryptography; run: pip install 'dora_rt[network]'"
    ) from error

ROUTER_NAME = "router"
"""The name in the certificate of a router, which passes on what all machines send."""
AUTHORITY_FILE = "authority.pem"
AUTHORITY_KEY_FILE = "authority.key"

# Robots without a clock of their own wake up in 1970, and know better only once they are connected.
_BEGINNING = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_VALIDITY = datetime.timedelta(days=20 * 365)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, in files."""

    name: str
    """The common name: of a machine, of a machine of one robot (`laptop.r7`), or of a router."""
    certificate: Path
    private_key: Path

    @classmethod
    def of(cls, folder: Path, name: str) -> Pair:
        """Return where the pair of a name is kept."""
        return cls(name, folder / f"{name}.pem", folder / f"{name}.key")


def certificate_folder(environ: Mapping[str, str]) -> Path:
    """Return where the certificates of this user are."""
    config = (
        environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "~")).expanduser() / ".config"
    )
    return Path(config) / "dora_rt" / "pki"


def common_names(machine: str, robot: str) -> tuple[str, str]:
    """Return the names that a machine of a robot may have in its certificate, narrow ones first."""
    return f"{machine}.{robot}", machine


def make_authority(folder: Path) -> bool:
    """Make the authority of the machines, unless there is one. Return whether it is new.

    Raises LaunchError.
    """
    if (folder / AUTHORITY_KEY_FILE).exists():
        return False
    if (folder / AUTHORITY_FILE).exists():
        raise LaunchError(
            f"{folder}: there is {AUTHORITY_FILE} without its key, so the authority is on another "
            "machine; run `dora-rt pair` there"
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = _distinguished("dora_rt authority")
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    _write_key(folder / AUTHORITY_KEY_FILE, key)
    _write(folder / AUTHORITY_FILE, certificate.public_bytes(serialization.Encoding.PEM))
    return True


def make_pair(folder: Path, name: str) -> bool:
    """Make the certificate of a name, unless there is one. Return whether it is new.

    Raises LaunchError: the name cannot be in a certificate, or the authority cannot be used.
    """
    if not _NAME.fullmatch(name):
        raise LaunchError(
            f"{name!r} cannot be the name in a certificate: it must have 1 to 63 letters, digits, "
            "'_', '-' or '.', and begin with a letter, a digit or '_'"
        )
    pair = Pair.of(folder, name)
    if pair.certificate.exists() and pair.private_key.exists():
        return False
    authority = _read_certificate(folder / AUTHORITY_FILE)
    authority_key = _read_key(folder / AUTHORITY_KEY_FILE)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(_distinguished(name), authority.subject, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        # What is dialled is an address, which may change; the name says which machine it is.
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(_host_name(name))]), critical=False
        )
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    _write_key(pair.private_key, key)
    _write(pair.certificate, certificate.public_bytes(serialization.Encoding.PEM))
    return True


def find_security(
    folder: Path | None,
    machine: str,
    *,
    is_insecure: bool,
    environ: Mapping[str, str],
    robot: str = "default",
) -> Security:
    """Return the certificates that a machine shows and asks for. Looked at before anything starts.

    Raises LaunchError: there are none, others may read the key, or they do not belong together.
    """
    if is_insecure:
        return Security(is_insecure=True)
    folder = (folder or certificate_folder(environ)).absolute()
    names = common_names(machine, robot)
    try:
        pair = next(
            (pair for name in names if (pair := Pair.of(folder, name)).certificate.exists()), None
        )
        has_authority = (folder / AUTHORITY_FILE).exists()
    except OSError as error:
        raise LaunchError(f"the certificates cannot be read: {error}") from error
    if pair is None or not has_authority:
        raise LaunchError(
            f"machine {machine!r} has no certificate in {folder}: run `dora-rt pair` with the "
            "names of all machines on one of them, and the line that it prints for each other "
            "one; or write `insecure: true` into `machines:` for links that nothing protects"
        )
    check_pair(folder, pair, allowed=names)
    return Security(
        authority=str(folder / AUTHORITY_FILE),
        certificate=str(pair.certificate),
        private_key=str(pair.private_key),
    )


def name_in_certificate(certificate: bytes) -> str:
    """Return the common name in a certificate, which is given as DER."""
    return _common_name(x509.load_der_x509_certificate(certificate))


def check_pair(folder: Path, pair: Pair, *, allowed: tuple[str, ...]) -> None:
    """Check that a pair is one, signed by the authority of the folder, and private.

    Raises LaunchError.
    """
    authority, certificate = (
        _read_certificate(folder / AUTHORITY_FILE),
        _read_certificate(pair.certificate),
    )
    if (name := _common_name(certificate)) not in allowed:
        raise LaunchError(
            f"{pair.certificate} is the certificate of {name!r}, not of {allowed[-1]!r}; run "
            f"`dora-rt pair {allowed[-1]}` where the authority is"
        )
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError) as error:
        raise LaunchError(
            f"{pair.certificate} was not signed by {folder / AUTHORITY_FILE}; copy both from the "
            "same machine"
        ) from error
    now = datetime.datetime.now(datetime.timezone.utc)
    if now > certificate.not_valid_after_utc:
        raise LaunchError(
            f"{pair.certificate} was valid until {certificate.not_valid_after_utc:%Y-%m-%d}; "
            "remove it, and run `dora-rt pair` again"
        )
    if _read_key(pair.private_key).public_key() != certificate.public_key():
        raise LaunchError(
            f"{pair.private_key} is not the key of {pair.certificate}; copy both from the same "
            "machine"
        )


def _distinguished(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGINNING)
        .not_valid_after(datetime.datetime.now(datetime.timezone.utc) + _VALIDITY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _host_name(name: str) -> str:
    """Return a name of DNS for a name: a certificate of today needs one."""
    labels = (re.sub(r"[^a-z0-9-]", "-", label).strip("-") for label in name.lower().split("."))
    return ".".join(label or "x" for label in labels)


def _common_name(certificate: x509.Certificate) -> str:
    return "".join(
        str(found.value)
        for found in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    )


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise LaunchError(f"{path}: cannot be read as a certificate: {error}") from error


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        if (mode := stat.S_IMODE(path.stat().st_mode)) & 0o077:
            raise LaunchError(
                f"{path}: others may read this private key (mode {mode:o}); run "
                f"`chmod 600 {path}`, and make new certificates if somebody has"
            )
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise LaunchError(f"{path}: cannot be read as a private key: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise LaunchError(f"{path}: is not a key that `dora-rt pair` has made")
    return key


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    _write(
        path,
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _write(path: Path, content: bytes) -> None:
    """Write a file that nobody else has ever been able to read, whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    beside.replace(path)
