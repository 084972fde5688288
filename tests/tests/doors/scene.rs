//! A server with TLS, its authority, and a folder of a user's files.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use crossfade_lab::server::{SUPERUSER, Server, ServerOptions};
use crossfade_postgres::causes::in_one_line;
use crossfade_postgres::connect::{ConnectConfig, Environment};
use crossfade_postgres::session::{Session, SessionOptions};
use crossfade_replication::transport::{Connection, TransportErrorClass};
use crossfade_tests::binary;
use crossfade_tests::process::Process;
use tempfile::TempDir;

use super::certificates::{Authority, Pair, Valid};

/// The role of most cases, and its password.
pub(crate) const ROLE: &str = "engine";
pub(crate) const PASSWORD: &str = "correct horse";

/// The longest that a closed door may take to say so, beyond a case's `connect_timeout`.
const TOLD_WITHIN: Duration = Duration::from_secs(20);

/// Each role by its own door.
const LINES: &str = "\
local   all,replication all           trust
hostssl all by_certificate 127.0.0.1/32 cert
hostssl all engine       127.0.0.1/32 scram-sha-256
hostssl all old          127.0.0.1/32 md5
hostssl all limited      127.0.0.1/32 scram-sha-256
hostnossl all plain      127.0.0.1/32 scram-sha-256
";

pub(crate) struct Scene {
    pub(crate) server: Server,
    pub(crate) authority: Authority,
    files: TempDir,
}

impl Scene {
    /// A server whose certificate is for `localhost`.
    pub(crate) async fn new() -> Scene {
        let server = Server::start(ServerOptions::default()).await.unwrap();
        for role in [ROLE, "by_certificate", "plain", "limited"] {
            let attributes = if role == "limited" {
                "REPLICATION CONNECTION LIMIT 0"
            } else {
                "REPLICATION"
            };
            server.create_role(role, PASSWORD, attributes).await.unwrap();
        }
        let superuser = server.connect(SUPERUSER, "postgres").await.unwrap();
        let old =
            "SET password_encryption = 'md5'; CREATE ROLE old LOGIN REPLICATION PASSWORD 'correct horse'";
        superuser.batch_execute(old).await.unwrap();
        let authority = Authority::new("authority");
        let mut scene = Scene {
            server,
            authority,
            files: TempDir::new().unwrap(),
        };
        scene.server.let_in(LINES).unwrap();
        scene.file("roots", &scene.authority.certificate);
        scene.shows(scene.authority.server("localhost", Valid::Now)).await;
        scene
    }

    /// The server is restarted with another certificate.
    pub(crate) async fn shows(&mut self, pair: Pair) {
        let certificate = self
            .server
            .write_private("server.crt", &pair.certificate)
            .unwrap();
        let key = self.server.write_private("server.key", &pair.key).unwrap();
        let roots = self
            .server
            .write_private("clients.crt", &self.authority.certificate)
            .unwrap();
        let files = [
            ("ssl_cert_file", certificate),
            ("ssl_key_file", key),
            ("ssl_ca_file", roots),
        ];
        for (name, path) in files {
            self.set(name, &path.display().to_string()).await;
        }
        self.set("ssl", "on").await;
        self.server.restart(false).await.unwrap();
    }

    /// From the next restart on.
    pub(crate) async fn set(&self, name: &str, value: &str) {
        let superuser = self.server.connect(SUPERUSER, "postgres").await.unwrap();
        let set = format!("ALTER SYSTEM SET {name} = '{value}'");
        superuser.batch_execute(&set).await.unwrap();
    }

    /// A file of the user's that nobody else may read; its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.files.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    }

    /// Others may read it.
    pub(crate) fn open_to_others(&self, name: &str) {
        let path = self.files.path().join(name);
        fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    }

    /// A connection string: what the case says, and the rest.
    pub(crate) fn url(&self, case: &str) -> String {
        let mut url = case.replace("{files}", &self.files.path().display().to_string());
        let rest = [
            ("host", "localhost".to_owned()),
            ("port", self.server.port().to_string()),
            ("user", ROLE.to_owned()),
            ("password", format!("'{PASSWORD}'")),
            ("dbname", "postgres".to_owned()),
            ("connect_timeout", "5".to_owned()),
        ];
        for (keyword, value) in rest {
            let said = url
                .split_whitespace()
                .any(|word| word.starts_with(&format!("{keyword}=")));
            if !said {
                url += &format!(" {keyword}={value}");
            }
        }
        url
    }

    pub(crate) fn config(&self, case: &str) -> ConnectConfig {
        ConnectConfig::resolve(&self.url(case), &Environment::of([])).unwrap()
    }

    /// Whether both kinds of session come in, encrypted or not as said.
    pub(crate) async fn lets_in(&self, case: &str, encrypted: bool) {
        let config = self.config(case);
        let session = Session::open(&config, &SessionOptions::default()).await;
        let session = session.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert!(self.encrypted(session.pid()).await == encrypted, "{case}, SQL");
        session.canceler().cancel().await.unwrap();
        let connection = Connection::open(&config).await;
        let connection = connection.unwrap_or_else(|error| panic!("{case}: {}", in_one_line(&error)));
        let pid = connection.session().backend_pid.cast_signed();
        assert!(self.encrypted(pid).await == encrypted, "{case}, replication");
        connection.canceller().cancel().await.unwrap();
    }

    async fn encrypted(&self, pid: i32) -> bool {
        let superuser = self.server.connect(SUPERUSER, "postgres").await.unwrap();
        let ask = "SELECT ssl FROM pg_stat_ssl WHERE pid = $1";
        superuser.query_one(ask, &[&pid]).await.unwrap().get(0)
    }

    /// Neither kind of session comes in; each says why, in these words, and so does the program.
    pub(crate) async fn keeps_out(&self, case: &str, words: &str) {
        self.keeps_sessions_out(case, words).await;
        self.keeps_followers_out(case, words).await;
    }

    /// No session for SQL, and the program ends with 11.
    pub(crate) async fn keeps_sessions_out(&self, case: &str, words: &str) {
        // Not the time that it takes to build it.
        binary::crossfade().unwrap();
        let begun = Instant::now();
        let session = Session::open(&self.config(case), &SessionOptions::default()).await;
        let told = session.err().map(|error| in_one_line(&error)).unwrap_or_default();
        assert!(told.contains(words), "{case}, SQL: {told}");
        self.program_refuses(case, words).await;
        assert!(begun.elapsed() < TOLD_WITHIN, "{case}: {:?}", begun.elapsed());
    }

    /// The program ends with 11 and says these words.
    pub(crate) async fn program_refuses(&self, case: &str, words: &str) {
        let program = [
            "plan",
            "--table",
            "t",
            "--alter",
            "ALTER COLUMN id TYPE bigint",
            "--url",
        ];
        let mut arguments: Vec<String> = program.map(str::to_owned).into();
        arguments.push(self.url(case));
        let ended = Process::start(&arguments).unwrap().end().await.unwrap();
        let ended = ended.expect(11).unwrap();
        assert!(ended.stderr.contains(words), "{case}: {}", ended.stderr);
        assert!(!ended.stderr.contains(PASSWORD), "{case}: {}", ended.stderr);
    }

    /// A session for SQL.
    pub(crate) async fn session(&self, case: &str) -> Session {
        Session::open(&self.config(case), &SessionOptions::default())
            .await
            .unwrap()
    }

    /// No session for replication.
    pub(crate) async fn keeps_followers_out(&self, case: &str, words: &str) {
        let begun = Instant::now();
        let Err(error) = Connection::open(&self.config(case)).await else {
            panic!("{case}, replication: let in");
        };
        let told = in_one_line(&error);
        assert!(told.contains(words), "{case}, replication: {told}");
        let class = error.class();
        let expected = [
            TransportErrorClass::CannotConnect,
            TransportErrorClass::NotPermitted,
        ];
        // The connection was there already.
        let after = class == TransportErrorClass::Closed && words.contains("sslcert");
        assert!(expected.contains(&class) || after, "{case}: {class:?}");
        assert!(begun.elapsed() < TOLD_WITHIN, "{case}: {:?}", begun.elapsed());
    }
}
