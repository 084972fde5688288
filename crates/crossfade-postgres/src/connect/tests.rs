//! Connection strings, environment and password file, without a server.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::*;

fn resolve(text: &str, variables: &[(&str, &str)]) -> Result<ConnectConfig, ConfigError> {
    ConnectConfig::resolve(text, &Environment::of(variables.iter().copied()))
}

fn passfile(name: &str, text: &str, mode: u32) -> PathBuf {
    let path = std::env::temp_dir().join(format!("pgpass-{}-{name}", std::process::id()));
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn the_string_wins_over_the_environment() {
    let variables = [
        ("PGHOST", "elsewhere"),
        ("PGPORT", "1"),
        ("PGUSER", "x"),
        ("PGPASSWORD", "x"),
    ];
    let config = resolve(
        "postgres://ann:pw%40@db.example:6543/shop?connect_timeout=3",
        &variables,
    )
    .unwrap();
    assert_eq!(config.to_string(), "ann@db.example:6543/shop");
    assert_eq!(config.password, Some(Secret::new("pw@")));
    assert_eq!(config.connect_timeout, Duration::from_secs(3));
}

#[test]
fn the_environment_fills_what_is_left_open() {
    let variables = [
        ("PGHOST", "/run/pg"),
        ("PGPORT", "7"),
        ("USER", "ann"),
        ("PGPASSWORD", "pw"),
    ];
    let config = resolve("", &variables).unwrap();
    assert_eq!(config.host, Host::Unix("/run/pg".into()));
    assert_eq!(
        (config.port, config.user.as_str(), config.database.as_str()),
        (7, "ann", "ann")
    );
    assert_eq!(config.password, Some(Secret::new("pw")));
    assert!(matches!(resolve("host=a", &[]), Err(ConfigError::NoUser)));
    let port = resolve("host=a user=u", &[("PGPORT", "x")]);
    assert!(matches!(port, Err(ConfigError::Variable { variable: "PGPORT" })));
}

#[test]
fn tls_is_refused_and_not_ignored() {
    for text in [
        "postgres://a@b/c?sslmode=require",
        "host=b user=a sslmode=verify-full",
        "host=b user=a sslmode = 'verify-ca'",
    ] {
        let refused = resolve(text, &[]);
        assert!(
            matches!(refused, Err(ConfigError::TlsNotSupported { .. })),
            "{text}"
        );
    }
    assert!(resolve("host=b user=a", &[("PGSSLMODE", "require")]).is_err());
    assert!(resolve("host=b user=a sslmode=disable", &[("PGSSLMODE", "require")]).is_ok());
}

#[test]
fn several_hosts_are_refused() {
    let several = resolve("postgres://u@a:1,b:2/c", &[]);
    assert!(matches!(several, Err(ConfigError::SeveralHosts)));
}

#[test]
fn a_password_is_shown_nowhere() {
    let config = resolve("postgres://ann:hunter2@h/d", &[]).unwrap();
    assert!(!format!("{config:?} {config}").contains("hunter2"));
}

#[test]
fn the_password_file_is_searched_in_order() {
    let text = "# comment\nother:*:*:*:no\nh:5432:d\\:b:ann:p\\:w\\\\:x\n*:*:*:*:last\n";
    let path = passfile("order", text, 0o600);
    let variables = [("PGPASSFILE", path.to_str().unwrap())];
    let exact = resolve("host=h user=ann dbname=d:b", &variables).unwrap();
    assert_eq!(exact.password, Some(Secret::new(r"p:w\:x")));
    let wildcard = resolve("host=h user=bob", &variables).unwrap();
    assert_eq!(wildcard.password, Some(Secret::new("last")));
    fs::remove_file(path).unwrap();
}

#[test]
fn a_password_file_that_others_may_read_is_refused() {
    let path = passfile("open", "*:*:*:*:pw\n", 0o640);
    let refused = resolve("host=h user=ann", &[("PGPASSFILE", path.to_str().unwrap())]);
    assert!(matches!(refused, Err(ConfigError::PassfileOpenToOthers { .. })));
    fs::remove_file(path).unwrap();
}
