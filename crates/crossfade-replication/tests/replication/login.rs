//! Who is let in, who is not, and why.

use crossfade_lab::server::{Server, ServerOptions};
use crossfade_postgres::connect::{ConnectConfig, Secret};
use crossfade_replication::transport::{Connection, TransportError, TransportErrorClass};

use crate::scene::{self, DATABASE, PASSWORD, ROLE};

fn over_tcp(server: &Server) -> ConnectConfig {
    ConnectConfig::parse(&server.tcp_connection(ROLE, PASSWORD, DATABASE)).unwrap()
}

async fn refusal(config: &ConnectConfig) -> TransportError {
    Connection::open(config)
        .await
        .expect_err("nobody should have been let in")
}

#[tokio::test]
async fn scram_lets_in_only_who_knows_the_password() {
    let server = scene::server(ServerOptions::default()).await;
    let config = over_tcp(&server);
    let mut connection = Connection::open(&config).await.unwrap();
    let identity = connection.identify_system().await.unwrap();
    assert_eq!(identity.database, DATABASE);
    assert!(identity.system_identifier > 0 && identity.timeline == 1 && identity.flushed.0 > 0);
    assert!(!connection.session().in_recovery);

    let wrong = config.with_password(Some(Secret::new("wrong")));
    let error = refusal(&wrong).await;
    assert_eq!(error.class(), TransportErrorClass::NotPermitted);
    let TransportError::Server { source, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(source.sqlstate, "28P01");

    let none = config.with_password(None);
    assert!(matches!(refusal(&none).await, TransportError::PasswordMissing));
}

#[tokio::test]
async fn md5_and_cleartext_passwords_work() {
    let mut server = scene::server(ServerOptions::default()).await;
    let superuser = server.connect("postgres", "postgres").await.unwrap();
    let rules = superuser.query_one("SHOW hba_file", &[]).await.unwrap();
    let rules: String = rules.get(0);
    let md5 = format!("SET password_encryption = 'md5'; ALTER ROLE {ROLE} PASSWORD '{PASSWORD}'");
    superuser.batch_execute(&md5).await.unwrap();
    for method in ["md5", "password"] {
        let allowed = format!("local all all trust\nhost all all 127.0.0.1/32 {method}\n");
        std::fs::write(&rules, allowed).unwrap();
        server.restart(false).await.unwrap();
        Connection::open(&over_tcp(&server)).await.unwrap();
        let wrong = over_tcp(&server).with_password(Some(Secret::new("wrong")));
        assert_eq!(refusal(&wrong).await.class(), TransportErrorClass::NotPermitted);
    }
}

#[tokio::test]
async fn who_cannot_come_in_learns_why() {
    let server = scene::server(ServerOptions::default()).await;
    server.create_role("plain", PASSWORD, "").await.unwrap();
    let config = scene::config(&server);

    let plain = ConnectConfig {
        user: "plain".to_owned(),
        ..config.clone()
    };
    assert_eq!(refusal(&plain).await.class(), TransportErrorClass::NotPermitted);

    let nowhere = config.with_database("nowhere");
    assert_eq!(refusal(&nowhere).await.class(), TransportErrorClass::NotPermitted);

    let mut nobody = over_tcp(&server);
    nobody.endpoints[0].port = 1;
    let error = refusal(&nobody).await;
    assert_eq!(error.class(), TransportErrorClass::CannotConnect);
    assert_eq!(error.to_string(), "reach the server at 127.0.0.1:1");
}
