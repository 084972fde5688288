//! Whether a server's certificate is believed, and what of it a password is bound to.
//!
//! Beyond what webpki verifies, two kinds of certificate that OpenSSL accepts, and with it libpq, are accepted here
//! too, since PostgreSQL's own documentation makes them (19.9.5): one that is itself among the trusted, and one
//! that names its host only as its common name.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256, Sha384, Sha512};
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::oid::db::{rfc4519, rfc5280, rfc5912};
use x509_cert::der::{Decode as _, Encode as _};

/// Who is believed.
pub(super) struct Trust {
    /// Whoever these vouch for, and these.
    pub(super) roots: Vec<CertificateDer<'static>>,
    /// But none of these.
    pub(super) revoked: Vec<CertificateRevocationListDer<'static>>,
    /// And only for the host that was asked for.
    pub(super) names: bool,
}

/// Verifies servers.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    trusted: Option<Trusted>,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
struct Trusted {
    chains: Arc<WebPkiServerVerifier>,
    roots: Vec<CertificateDer<'static>>,
    names: bool,
}

impl ServerVerifier {
    /// Anybody who has the key of the certificate that is shown.
    pub(super) fn of_anybody(provider: &CryptoProvider) -> Self {
        ServerVerifier {
            trusted: None,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    /// Only these; why they cannot be trusted otherwise.
    pub(super) fn of_trusted(provider: &Arc<CryptoProvider>, trust: Trust) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        // One of them that makes no sense does not take the others' trust away: so has the system's store.
        let (usable, _) = store.add_parsable_certificates(trust.roots.iter().cloned());
        if usable == 0 {
            return Err("none of its certificates can be read".to_owned());
        }
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider));
        let chains = builder
            .with_crls(trust.revoked)
            .enforce_revocation_expiration()
            .build();
        Ok(ServerVerifier {
            trusted: Some(Trusted {
                chains: chains.map_err(|error| error.to_string())?,
                roots: trust.roots,
                names: trust.names,
            }),
            algorithms: provider.signature_verification_algorithms,
        })
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(trusted) = &self.trusted else {
            return Ok(ServerCertVerified::assertion());
        };
        if trusted.roots.iter().any(|root| **root == **end_entity) {
            in_its_time(end_entity, now)?;
        } else {
            let chains = &trusted.chains;
            let verified =
                chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
            match verified {
                Ok(_) => {}
                // The name is looked at last, when the chain is verified.
                Err(Error::InvalidCertificate(error)) if is_about_the_name(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if trusted.names {
            is_for(end_entity, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match verify_tls13_signature(message, certificate, signed, &self.algorithms) {
            // Of version 1, which webpki does not read. Its key is enough where nobody has to vouch for it.
            Err(Error::InvalidCertificate(_)) if self.trusted.is_none() => {
                let key = parsed(certificate)?
                    .tbs_certificate()
                    .subject_public_key_info()
                    .to_der();
                let key = SubjectPublicKeyInfoDer::from(key.map_err(|_| bad_encoding())?);
                verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
            }
            verified => verified,
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn parsed(certificate: &CertificateDer<'_>) -> Result<Certificate, Error> {
    Certificate::from_der(certificate).map_err(|_| bad_encoding())
}

fn bad_encoding() -> Error {
    CertificateError::BadEncoding.into()
}

fn is_about_the_name(error: &CertificateError) -> bool {
    matches!(
        error,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
    )
}

fn in_its_time(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let certificate = parsed(certificate)?;
    let validity = certificate.tbs_certificate().validity();
    let now = Duration::from_secs(now.as_secs());
    if now < validity.not_before.to_unix_duration() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.to_unix_duration() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

fn is_for(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    match verify_server_name(&ParsedCertificate::try_from(certificate)?, name) {
        Err(Error::InvalidCertificate(error)) if is_about_the_name(&error) => {
            match common_name(certificate)?.is_some_and(|common| is_named(name, &common)) {
                true => Ok(()),
                false => Err(error.into()),
            }
        }
        other => other,
    }
}

/// What it is called, if it does not name its hosts where they belong.
fn common_name(certificate: &CertificateDer<'_>) -> Result<Option<String>, Error> {
    let certificate = parsed(certificate)?;
    let certificate = certificate.tbs_certificate();
    let mut extensions = certificate.extensions().into_iter().flatten();
    if extensions.any(|extension| extension.extn_id == rfc5280::ID_CE_SUBJECT_ALT_NAME) {
        return Ok(None);
    }
    let mut attributes = certificate.subject().iter();
    let name = attributes.find(|attribute| attribute.oid == rfc4519::CN);
    Ok(name.and_then(|name| std::str::from_utf8(name.value.value()).ok().map(str::to_owned)))
}

/// A `*` stands for the first label.
fn is_named(name: &ServerName<'_>, common: &str) -> bool {
    let name = name.to_str();
    match common.strip_prefix("*.") {
        None => common.eq_ignore_ascii_case(&name),
        Some(domain) => name
            .split_once('.')
            .is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(domain)),
    }
}

/// `tls-server-end-point` (RFC 5929, 4.1): the digest of the certificate by the hash of its signature, SHA-256 in place of
/// weaker ones. `None` where that is not defined.
pub(super) fn end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let algorithm = Certificate::from_der(certificate).ok()?.signature_algorithm().oid;
    let is = |all: &[ObjectIdentifier]| all.contains(&algorithm);
    let bytes = certificate.as_ref();
    if is(&[rfc5912::SHA_384_WITH_RSA_ENCRYPTION, rfc5912::ECDSA_WITH_SHA_384]) {
        Some(Sha384::digest(bytes).to_vec())
    } else if is(&[rfc5912::SHA_512_WITH_RSA_ENCRYPTION, rfc5912::ECDSA_WITH_SHA_512]) {
        Some(Sha512::digest(bytes).to_vec())
    } else if is(&[
        rfc5912::MD_5_WITH_RSA_ENCRYPTION,
        rfc5912::SHA_1_WITH_RSA_ENCRYPTION,
        rfc5912::SHA_256_WITH_RSA_ENCRYPTION,
        rfc5912::ECDSA_WITH_SHA_256,
    ]) {
        Some(Sha256::digest(bytes).to_vec())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_name_stands_for_its_host() {
        let name = |text: &'static str| ServerName::try_from(text).unwrap();
        assert!(is_named(&name("db.example"), "DB.example"));
        assert!(is_named(&name("db.example"), "*.example"));
        assert!(!is_named(&name("a.db.example"), "*.example"));
        assert!(!is_named(&name("db.example"), "b.example"));
        assert!(is_named(&name("127.0.0.1"), "127.0.0.1"));
    }
}
