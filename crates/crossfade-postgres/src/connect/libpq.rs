//! The same connection for a program that is built on libpq: in its environment, never among its arguments.

use super::tls::{Roots, TlsMode};
use super::{Binding, ConnectConfig};

impl ConnectConfig {
    /// What makes a libpq program connect as we do. The password goes to the first server's, as libpq takes one for all.
    pub fn libpq_environment(&self) -> Vec<(&'static str, String)> {
        let each = |show: fn(&super::Endpoint) -> String| {
            let shown: Vec<String> = self.endpoints.iter().map(show).collect();
            shown.join(",")
        };
        let mut variables = vec![
            ("PGHOST", each(|endpoint| endpoint.host.to_string())),
            ("PGPORT", each(|endpoint| endpoint.port.to_string())),
            ("PGUSER", self.user.clone()),
            ("PGDATABASE", self.database.clone()),
            ("PGAPPNAME", self.application_name.clone()),
            ("PGSSLMODE", mode(self.tls.mode).to_owned()),
            (
                "PGCHANNELBINDING",
                match self.channel_binding {
                    Binding::Disable => "disable",
                    Binding::Prefer => "prefer",
                    Binding::Require => "require",
                }
                .to_owned(),
            ),
            ("PGTARGETSESSIONATTRS", "read-write".to_owned()),
        ];
        if self.endpoints.iter().any(|endpoint| endpoint.address.is_some()) {
            variables.push((
                "PGHOSTADDR",
                each(|endpoint| {
                    endpoint
                        .address
                        .map_or(String::new(), |address| address.to_string())
                }),
            ));
        }
        let password = self
            .endpoints
            .iter()
            .find_map(|endpoint| endpoint.password.as_ref());
        variables.extend(password.map(|password| ("PGPASSWORD", password.expose().to_owned())));
        match &self.tls.roots {
            Roots::File { path, .. } => variables.push(("PGSSLROOTCERT", path.display().to_string())),
            Roots::System => variables.push(("PGSSLROOTCERT", "system".to_owned())),
            _none => {}
        }
        if let Some(files) = &self.tls.identity {
            variables.push(("PGSSLCERT", files.certificate.display().to_string()));
            variables.push(("PGSSLKEY", files.key.display().to_string()));
        }
        let revoked = self.tls.revoked.as_ref();
        variables.extend(revoked.map(|path| ("PGSSLCRL", path.display().to_string())));
        variables
    }
}

fn mode(mode: TlsMode) -> &'static str {
    match mode {
        TlsMode::Disable => "disable",
        TlsMode::Allow => "allow",
        TlsMode::Prefer => "prefer",
        TlsMode::Require => "require",
        TlsMode::VerifyCa => "verify-ca",
        TlsMode::VerifyFull => "verify-full",
    }
}
