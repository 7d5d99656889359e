"""A certificate for 127.0.0.1 that vouches for itself, and its key, as PEM files."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

BEGIN = datetime(2025, 1, 1, tzinfo=UTC)


def make_certificate(directory: Path, *, days: int = 36_500) -> tuple[Path, Path]:
    """Good from 2025 on."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name.from_rfc4514_string("CN=gateway")
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(BEGIN).not_valid_after(BEGIN + timedelta(days=days))
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    encoding, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    cert_path, key_path = directory / "cert.pem", directory / "key.pem"
    cert_path.write_bytes(certificate.public_bytes(encoding))
    key_path.write_bytes(key.private_bytes(encoding, kind, serialization.NoEncryption()))
    return cert_path, key_path
