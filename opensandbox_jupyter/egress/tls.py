"""TLS that ends here: for the hosts of a vault, the proxy is the server that the sandbox sees.

Each sandbox has an authority of its own. Its key is in this process's memory alone; its certificate
is what the sandbox trusts beside the usual ones.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from opensandbox_jupyter.egress.addresses import Address

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["Authority", "decrypted"]

_LIFETIME = timedelta(days=3650)
"""Longer than any sandbox lives: neither it nor its authority gets another certificate."""
_MOST_LEAVES = 256
_HANDSHAKE_SECONDS = 10.0
_BLOCK = 256 << 10


class Authority:
    """Signs certificates for one sandbox."""

    def __init__(self) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec

        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign("OpenSandbox credential proxy", self._key, None)
        self._contexts: OrderedDict[str, ssl.SSLContext] = OrderedDict()

    @property
    def certificate(self) -> bytes:
        """The authority's certificate, PEM."""
        from cryptography.hazmat.primitives.serialization import Encoding

        return self._certificate.public_bytes(Encoding.PEM)

    def context_for(self, host: str | Address) -> ssl.SSLContext:
        """Return what a server called ``host`` would speak TLS with."""
        name = str(host)
        if name not in self._contexts:
            self._contexts[name] = self._context(name, host)
            if len(self._contexts) > _MOST_LEAVES:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(name)
        return self._contexts[name]

    def _context(self, name: str, host: str | Address) -> ssl.SSLContext:
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._sign(name, key, host)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        memory = os.memfd_create("leaf")  # OpenSSL only reads files, and this one is on no disk
        try:
            os.write(memory, private + leaf.public_bytes(Encoding.PEM))
            context.load_cert_chain(f"/proc/self/fd/{memory}")
        finally:
            os.close(memory)
        return context

    def _sign(
        self, name: str, key: ec.EllipticCurvePrivateKey, host: str | Address | None
    ) -> x509.Certificate:
        """Return a certificate for ``host``, or for the authority itself."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.x509.oid import NameOID

        now = datetime.now(timezone.utc)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if host is None else self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + _LIFETIME)
            .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if host is None:
            usage = x509.KeyUsage(
                digital_signature=True, key_cert_sign=True, crl_sign=True,
                content_commitment=False, key_encipherment=False, data_encipherment=False,
                key_agreement=False, encipher_only=False, decipher_only=False,
            )  # fmt: skip
            builder = builder.add_extension(usage, critical=True)
        else:
            called = x509.DNSName(host) if isinstance(host, str) else x509.IPAddress(host)
            builder = builder.add_extension(x509.SubjectAlternativeName([called]), critical=False)
        return builder.sign(self._key, hashes.SHA256())


@asynccontextmanager
async def decrypted(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    early: bytes,
    context: ssl.SSLContext,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Be the TLS server of whoever is at ``reader`` and ``writer``; give what is inside.

    Args:
        reader: where the client's bytes come from.
        writer: where bytes for the client go.
        early: what the client has said already.
        context: the server's certificate.

    Raises:
        OSError: there is no TLS at the other end, or none that trusts the certificate.
    """
    near, far = socket.socketpair()
    loop = asyncio.get_running_loop()
    raw_reader, raw_writer = await asyncio.open_connection(sock=near)
    raw_writer.write(early)
    pumps = [
        asyncio.ensure_future(_pump(reader, raw_writer)),
        asyncio.ensure_future(_pump(raw_reader, writer)),
    ]
    inner = asyncio.StreamReader(limit=_BLOCK, loop=loop)
    protocol = asyncio.StreamReaderProtocol(inner, loop=loop)
    try:
        far.setblocking(False)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, far, ssl=context, ssl_handshake_timeout=_HANDSHAKE_SECONDS
        )
        outer = asyncio.StreamWriter(transport, protocol, inner, loop)
        try:
            yield inner, outer
        finally:
            transport.abort()
        # Only after an orderly end: a client that reads nothing must not hold up a cut.
        await asyncio.wait(pumps[1:], timeout=_HANDSHAKE_SECONDS)
    finally:
        far.close()
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        raw_writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_BLOCK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
