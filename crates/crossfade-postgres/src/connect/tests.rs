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

/// Of a single server.
fn password(config: &ConnectConfig) -> Option<&str> {
    config.endpoints[0].password.as_ref().map(Secret::expose)
}

fn refused(text: &str, variables: &[(&str, &str)]) -> String {
    resolve(text, variables).expect_err(text).to_string()
}

#[test]
fn the_string_wins_over_the_environment() {
    let variables = [
        ("PGHOST", "elsewhere"),
        ("PGPORT", "1"),
        ("PGUSER", "x"),
        ("PGPASSWORD", "x"),
        ("PGSSLMODE", "require"),
    ];
    let config = resolve(
        "postgres://ann:pw%40@db.example:6543/shop?connect_timeout=3&sslmode=disable",
        &variables,
    )
    .unwrap();
    assert_eq!(config.to_string(), "ann@db.example:6543/shop");
    assert_eq!(password(&config), Some("pw@"));
    assert_eq!(config.connect_timeout, Duration::from_secs(3));
    assert_eq!(config.tls.mode, TlsMode::Disable);
}

#[test]
fn the_environment_fills_what_is_left_open() {
    let variables = [
        ("PGHOST", "/run/pg"),
        ("PGPORT", "7"),
        ("USER", "ann"),
        ("PGPASSWORD", "pw"),
        ("PGSSLMODE", "verify-full"),
        ("PGSSLROOTCERT", "/roots"),
        ("PGAPPNAME", "mine"),
        ("PGCONNECT_TIMEOUT", "0"),
    ];
    let config = resolve("", &variables).unwrap();
    assert_eq!(config.to_string(), "ann@/run/pg:7/ann");
    assert_eq!(config.endpoints[0].host, Host::Unix("/run/pg".into()));
    assert_eq!(password(&config), Some("pw"));
    assert_eq!(config.tls.mode, TlsMode::VerifyFull);
    let roots = Roots::File {
        path: "/roots".into(),
        named: true,
    };
    assert_eq!(config.tls.roots, roots);
    assert_eq!(config.application_name, "mine");
    assert_eq!(config.connect_timeout, FOREVER);
}

#[test]
fn a_service_stands_between_the_string_and_the_environment() {
    let text = "[other]\nhost=no\n[shop]\nhost=db.example\nport=7\nuser=ann\nsslmode=require\n";
    let path = passfile("service", text, 0o644);
    let variables = [
        ("PGSERVICEFILE", path.to_str().unwrap()),
        ("PGHOST", "elsewhere"),
        ("PGDATABASE", "shop"),
    ];
    let config = resolve("service=shop port=8", &variables).unwrap();
    assert_eq!(config.to_string(), "ann@db.example:8/shop");
    assert_eq!(config.tls.mode, TlsMode::Require);
    let missing = refused("service=nowhere", &variables);
    assert!(
        missing.contains("`nowhere`") && missing.contains(path.to_str().unwrap()),
        "{missing}"
    );
    fs::remove_file(path).unwrap();
}

#[test]
fn several_servers_are_tried_in_order() {
    let config = resolve("host=a,b,/run/pg port=1,,3 user=u dbname=c", &[]).unwrap();
    assert_eq!(config.to_string(), "u@a:1,b:5432,/run/pg:3/c");
    let one_port = resolve("host=a,b port=7 user=u hostaddr=10.0.0.1,", &[]).unwrap();
    assert_eq!(one_port.to_string(), "u@a:7,b:7/u");
    assert_eq!(one_port.endpoints[0].address, Some("10.0.0.1".parse().unwrap()));
    assert_eq!(one_port.endpoints[1].address, None);
    let address_alone = resolve("hostaddr=::1 user=u", &[]).unwrap();
    assert_eq!(address_alone.endpoints[0].host, Host::Tcp("::1".to_owned()));
    let text = "a:1:*:*:of_a\n*:*:*:*:of_others\n";
    let path = passfile("several", text, 0o600);
    let each = resolve(
        &format!("host=a,b port=1 user=u passfile={}", path.display()),
        &[],
    )
    .unwrap();
    let passwords = each
        .endpoints
        .iter()
        .map(|endpoint| endpoint.password.as_ref().unwrap().expose());
    assert_eq!(passwords.collect::<Vec<_>>(), ["of_a", "of_others"]);
    fs::remove_file(path).unwrap();
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_place() {
    let table = [
        (
            "host=a",
            "find out as whom to connect: name a user in the connection string or in PGUSER",
        ),
        (
            "host=a user=u port=x",
            "use port=x (from the connection string): it can be a number from 1 to 65535",
        ),
        (
            "host=a user=u port=0",
            "use port=0 (from the connection string): it can be a number from 1 to 65535",
        ),
        (
            "host=a,b user=u port=1,2,3",
            "match 3 ports to 2 hosts: give one for each",
        ),
        (
            "host=a,b user=u hostaddr=::1",
            "match 1 addresses to 2 hosts: give one for each",
        ),
        (
            "user=u hostaddr=db",
            "use hostaddr=db (from the connection string): it can be IP addresses",
        ),
        (
            "user=u sslmode=always",
            "use sslmode=always (from the connection string): it can be disable, allow, prefer, require, verify-ca or verify-full",
        ),
        (
            "user=u sslrootcert=system sslmode=require",
            "use sslmode=require (from the connection string): it can be verify-full, with sslrootcert=system",
        ),
        (
            "user=u sslnegotiation=direct",
            "use sslnegotiation=direct (from the connection string): it can be postgres, unless sslmode is require or stronger",
        ),
        (
            "user=u ssl_min_protocol_version=TLSv2",
            "use ssl_min_protocol_version=TLSv2 (from the connection string): it can be TLSv1.2 or TLSv1.3",
        ),
        (
            "user=u sslsni=yes",
            "use sslsni=yes (from the connection string): it can be 1 or 0",
        ),
        (
            "user=u target_session_attrs=standby",
            "use target_session_attrs=standby (from the connection string): it can be any, read-write or primary: only a server that takes writes will do",
        ),
        (
            "user=u options=-csearch_path=x",
            "honour the connection parameter `options` (from the connection string): it is not supported",
        ),
        (
            "user=u require_auth=none",
            "honour the connection parameter `require_auth` (from the connection string): it is not supported",
        ),
        (
            "user=u sslmod=require",
            "understand the connection parameter `sslmod` in the connection string",
        ),
        (
            "user=u channel_binding=yes",
            "use channel_binding=yes (from the connection string): it can be disable, prefer or require",
        ),
        (
            "user=u connect_timeout=soon",
            "use connect_timeout=soon (from the connection string): it can be a number of seconds",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(refused(text, &[]), expected, "{text}");
    }
    let range = "user=u ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2";
    assert!(refused(range, &[]).contains("not below ssl_min_protocol_version"));
    let required = [("PGREQUIRESSL", "1"), ("PGUSER", "u")];
    assert!(refused("", &required).contains("`requiressl` (from PGREQUIRESSL)"));
    // A variable that was not set, in either place, makes nothing less safe.
    let strict = [("PGSSLMODE", "verify-full"), ("PGUSER", "u")];
    assert!(refused("sslmode=''", &strict).starts_with("use sslmode= (from the connection string)"));
    assert!(refused("", &[("PGSSLMODE", ""), ("PGUSER", "u")]).starts_with("use sslmode= (from PGSSLMODE)"));
    let variables = [("PGREQUIREPEER", "postgres"), ("PGUSER", "u")];
    let expected = "honour the connection parameter `requirepeer` (from PGREQUIREPEER): it is not supported";
    assert_eq!(refused("", &variables), expected);
    resolve(
        "user=u gssencmode=disable keepalives=0 tcp_user_timeout=0 client_encoding=utf8",
        &[],
    )
    .unwrap();
}

#[test]
fn the_systems_roots_verify_in_full() {
    let config = resolve("host=h user=u sslrootcert=system", &[]).unwrap();
    assert_eq!(
        (config.tls.mode, config.tls.roots),
        (TlsMode::VerifyFull, Roots::System)
    );
    let home = resolve("host=h user=u", &[("HOME", "/home/u")]).unwrap();
    assert_eq!(home.tls.mode, TlsMode::Prefer);
    let usual = Roots::File {
        path: "/home/u/.postgresql/root.crt".into(),
        named: false,
    };
    assert_eq!(home.tls.roots, usual);
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
    assert_eq!(password(&exact), Some(r"p:w\:x"));
    let wildcard = resolve("host=h user=bob", &variables).unwrap();
    assert_eq!(password(&wildcard), Some("last"));
    fs::remove_file(path).unwrap();
}

#[test]
fn a_password_file_that_others_may_read_is_refused() {
    let path = passfile("open", "*:*:*:*:pw\n", 0o640);
    let refused = resolve("host=h user=ann", &[("PGPASSFILE", path.to_str().unwrap())]);
    assert!(matches!(refused, Err(ConfigError::PassfileOpenToOthers { .. })));
    fs::remove_file(path).unwrap();
}
