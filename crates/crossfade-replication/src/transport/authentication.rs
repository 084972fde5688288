//! Answers the server's authentication requests: trust, cleartext password, md5, SCRAM-SHA-256 and, over TLS, its
//! variant that is bound to the server's certificate.
//!
//! A pure exchange, body in, answer out. The login is done only when the server says so *and*, once SCRAM was
//! begun, has proved that it knows the password too.

use bytes::{Bytes, BytesMut};
use crossfade_postgres::connect::{Binding, ConnectConfig, Route, Secret, Stream};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::frontend;

use super::TransportError;
use crate::frame::Fields;
use crate::violation::Violation;

const DURING: &str = "log in";

/// What is to be done after an authentication request.
#[derive(Debug)]
pub(super) enum Progress {
    /// Send this.
    Reply(BytesMut),
    /// Nothing to send; the server goes on.
    Wait,
    /// We are in.
    Done,
}

/// A login in progress.
pub(super) struct Login<'a> {
    user: &'a str,
    password: Option<Secret>,
    binding: Binding,
    /// What the exchange can be bound to.
    end_point: Option<Vec<u8>>,
    scram: Scram,
}

enum Scram {
    /// Not asked for.
    No,
    /// We have proved ourselves, the server not yet.
    Going(ScramSha256),
    /// The server has proved itself.
    Proved,
}

impl<'a> Login<'a> {
    pub(super) fn of(config: &'a ConnectConfig, route: &Route, stream: &Stream) -> Self {
        Login {
            user: &config.user,
            password: route.endpoint.password.clone(),
            binding: config.channel_binding,
            end_point: stream.end_point(),
            scram: Scram::No,
        }
    }

    /// Handles the body of one authentication request.
    pub(super) fn answer(&mut self, body: Bytes) -> Result<Progress, TransportError> {
        let mut fields = Fields::of(body);
        match fields.i32()? {
            0 => self.finished(),
            // Whoever is in between must not be given what could be played on.
            3 | 5 if self.binding == Binding::Require => Err(TransportError::NotBound {
                reason: "the server asks for a password that is bound to nothing",
            }),
            3 => password_reply(self.password()?.as_bytes()),
            5 => {
                let mut salt = [0; 4];
                salt.copy_from_slice(&fields.bytes(4)?);
                let hash = md5_hash(self.user.as_bytes(), self.password()?.as_bytes(), salt);
                password_reply(hash.as_bytes())
            }
            10 => self.begin_scram(fields),
            11 => self.continue_scram(&fields.rest()),
            12 => self.end_scram(&fields.rest()),
            code => Err(TransportError::MethodNotSupported {
                method: method_name(code),
            }),
        }
    }

    fn password(&self) -> Result<&str, TransportError> {
        let password = self.password.as_ref();
        password
            .map(Secret::expose)
            .ok_or(TransportError::PasswordMissing)
    }

    fn finished(&self) -> Result<Progress, TransportError> {
        match self.scram {
            Scram::No if self.binding == Binding::Require => Err(TransportError::NotBound {
                reason: "the server asks for no SCRAM-SHA-256 password",
            }),
            Scram::No | Scram::Proved => Ok(Progress::Done),
            // Letting this pass would let anyone in between play the server.
            Scram::Going(_) => Err(unexpected()),
        }
    }

    fn begin_scram(&mut self, mut mechanisms: Fields) -> Result<Progress, TransportError> {
        let (mut offered, mut offered_bound) = (false, false);
        while !mechanisms.is_empty() {
            let mechanism = mechanisms.text()?;
            offered |= mechanism == SCRAM_SHA_256;
            offered_bound |= mechanism == SCRAM_SHA_256_PLUS;
        }
        let end_point = self.end_point.take().filter(|_| self.binding != Binding::Disable);
        let (mechanism, binding) = match end_point {
            Some(end_point) if offered_bound => (
                SCRAM_SHA_256_PLUS,
                ChannelBinding::tls_server_end_point(end_point),
            ),
            _ if self.binding == Binding::Require => {
                return Err(TransportError::NotBound {
                    reason: "there is no TLS, or the server does not offer SCRAM-SHA-256-PLUS",
                });
            }
            _ if !offered => {
                return Err(TransportError::MethodNotSupported {
                    method: "a SASL mechanism other than SCRAM-SHA-256",
                });
            }
            // We could have: a server that could too then knows that somebody has taken its offer away.
            Some(_) => (SCRAM_SHA_256, ChannelBinding::unrequested()),
            None => (SCRAM_SHA_256, ChannelBinding::unsupported()),
        };
        let scram = ScramSha256::new(self.password()?.as_bytes(), binding);
        let mut out = BytesMut::new();
        frontend::sasl_initial_response(mechanism, scram.message(), &mut out).map_err(encode)?;
        self.scram = Scram::Going(scram);
        Ok(Progress::Reply(out))
    }

    fn continue_scram(&mut self, data: &[u8]) -> Result<Progress, TransportError> {
        let Scram::Going(scram) = &mut self.scram else {
            return Err(unexpected());
        };
        scram
            .update(data)
            .map_err(|source| TransportError::Scram { source })?;
        let mut out = BytesMut::new();
        frontend::sasl_response(scram.message(), &mut out).map_err(encode)?;
        Ok(Progress::Reply(out))
    }

    fn end_scram(&mut self, data: &[u8]) -> Result<Progress, TransportError> {
        let Scram::Going(scram) = &mut self.scram else {
            return Err(unexpected());
        };
        scram
            .finish(data)
            .map_err(|source| TransportError::Scram { source })?;
        self.scram = Scram::Proved;
        Ok(Progress::Wait)
    }
}

fn password_reply(password: &[u8]) -> Result<Progress, TransportError> {
    let mut out = BytesMut::new();
    frontend::password_message(password, &mut out).map_err(encode)?;
    Ok(Progress::Reply(out))
}

fn encode(source: std::io::Error) -> TransportError {
    TransportError::Encode {
        during: DURING,
        source,
    }
}

fn unexpected() -> TransportError {
    Violation::Unexpected {
        tag: b'R',
        during: DURING,
    }
    .into()
}

fn method_name(code: i32) -> &'static str {
    match code {
        2 => "Kerberos V5",
        7 | 8 => "GSSAPI",
        9 => "SSPI",
        _ => "an unknown way to authenticate",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(password: Option<&Secret>) -> Login<'static> {
        Login {
            user: "u",
            password: password.cloned(),
            binding: Binding::Prefer,
            end_point: None,
            scram: Scram::No,
        }
    }

    fn request(code: i32, rest: &[u8]) -> Bytes {
        Bytes::from([&code.to_be_bytes(), rest].concat())
    }

    #[test]
    fn trust_needs_no_password_and_the_others_do() {
        assert!(matches!(login(None).answer(request(0, b"")), Ok(Progress::Done)));
        for (code, rest) in [(3, &b""[..]), (5, b"salt"), (10, b"SCRAM-SHA-256\0\0")] {
            let answer = login(None).answer(request(code, rest));
            assert!(matches!(answer, Err(TransportError::PasswordMissing)), "{code}");
        }
    }

    #[test]
    fn md5_is_salted() {
        let secret = Secret::new("p");
        let Ok(Progress::Reply(reply)) = login(Some(&secret)).answer(request(5, b"salt")) else {
            panic!("no reply");
        };
        assert_eq!(reply[0], b'p');
        assert_eq!(&reply[5..8], b"md5");
    }

    #[test]
    fn a_server_that_skips_its_own_proof_is_not_trusted() {
        let secret = Secret::new("p");
        let mut login = login(Some(&secret));
        let begun = login.answer(request(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"));
        assert!(matches!(begun, Ok(Progress::Reply(_))));
        assert!(matches!(
            login.answer(request(0, b"")),
            Err(TransportError::Wire(_))
        ));
    }

    #[test]
    fn an_exchange_is_bound_where_that_is_wanted_and_offered() {
        const PLAIN: &[u8] = b"SCRAM-SHA-256\0\0";
        const BOTH: &[u8] = b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";
        let begun = |binding, end_point: Option<&[u8]>, offered| {
            let secret = Secret::new("p");
            let mut login = Login {
                binding,
                end_point: end_point.map(<[u8]>::to_vec),
                ..login(Some(&secret))
            };
            match login.answer(request(10, offered)) {
                Ok(Progress::Reply(reply)) => {
                    let text = String::from_utf8_lossy(&reply[5..]).into_owned();
                    let (mechanism, rest) = text.split_once('\0').unwrap();
                    format!("{mechanism} {}", rest[4..].split(',').next().unwrap())
                }
                Ok(_) => panic!("no reply"),
                Err(error) => error.to_string(),
            }
        };
        use Binding::{Disable, Prefer, Require};
        let tls = Some(&b"digest"[..]);
        assert_eq!(
            begun(Prefer, tls, BOTH),
            "SCRAM-SHA-256-PLUS p=tls-server-end-point"
        );
        assert_eq!(
            begun(Require, tls, BOTH),
            "SCRAM-SHA-256-PLUS p=tls-server-end-point"
        );
        assert_eq!(begun(Prefer, tls, PLAIN), "SCRAM-SHA-256 y");
        assert_eq!(begun(Disable, tls, BOTH), "SCRAM-SHA-256 n");
        assert_eq!(begun(Prefer, None, BOTH), "SCRAM-SHA-256 n");
        for refused in [begun(Require, tls, PLAIN), begun(Require, None, BOTH)] {
            assert!(refused.contains("channel_binding=require"), "{refused}");
        }
        let unasked = Login {
            binding: Require,
            ..login(None)
        }
        .answer(request(0, b""));
        assert!(matches!(unasked, Err(TransportError::NotBound { .. })));
        let secret = Secret::new("p");
        for (code, rest) in [(3, &b""[..]), (5, b"salt")] {
            let unbound = Login {
                binding: Require,
                ..login(Some(&secret))
            }
            .answer(request(code, rest));
            assert!(matches!(unbound, Err(TransportError::NotBound { .. })), "{code}");
        }
    }

    #[test]
    fn what_is_not_built_is_named() {
        let secret = Secret::new("p");
        for (code, rest) in [(7, &b""[..]), (9, b""), (99, b""), (10, b"OTHER\0\0")] {
            let answer = login(Some(&secret)).answer(request(code, rest));
            assert!(
                matches!(answer, Err(TransportError::MethodNotSupported { .. })),
                "{code}"
            );
        }
    }
}
