//! Doors that are closed: what is said, by which exit code, within the time there is.

use std::net::TcpListener;
use std::time::Duration;

use crossfade_postgres::causes::in_one_line;
use crossfade_replication::transport::Connection;

use super::certificates::{Authority, SERIAL, Valid};
use super::scene::Scene;

#[tokio::test]
async fn each_has_words_of_its_own() {
    let scene = Scene::new().await;
    scene.file("stranger", &Authority::new("stranger").certificate);
    scene.file("nonsense", "no certificate");
    scene.file("revoked", &scene.authority.revoke(SERIAL));
    scene.file("others_revoked", &scene.authority.revoke(SERIAL + 1));
    let with_list = "sslmode=verify-full sslrootcert={files}/roots sslcrl={files}/others_revoked";
    scene.lets_in(with_list, true).await;
    let client = |name: &str, pair: super::certificates::Pair| {
        scene.file(&format!("{name}.crt"), &pair.certificate);
        scene.file(&format!("{name}.key"), &pair.key);
    };
    client("expired", scene.authority.client("by_certificate", Valid::NoMore));
    client(
        "unknown",
        Authority::new("stranger").client("by_certificate", Valid::Now),
    );
    client("other", scene.authority.client("somebody", Valid::Now));
    client("open", scene.authority.client("by_certificate", Valid::Now));
    scene.open_to_others("open.key");
    let by_certificate = |name: &str| {
        format!(
            "user=by_certificate sslmode=require sslcert={{files}}/{name}.crt sslkey={{files}}/{name}.key"
        )
    };
    let unused = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let nobody = unused.local_addr().unwrap().port();
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    drop(unused);
    let cases = [
        // Who the server is.
        (
            "sslmode=verify-full sslrootcert={files}/stranger".to_owned(),
            "the server's certificate comes from nobody that sslrootcert trusts",
        ),
        (
            "sslmode=verify-full sslrootcert={files}/roots host=127.0.0.1".to_owned(),
            "the server's certificate is not for `127.0.0.1`, which sslmode=verify-full asks for",
        ),
        (
            "sslmode=verify-full sslrootcert={files}/none".to_owned(),
            "name one with sslrootcert",
        ),
        (
            "sslmode=verify-ca sslrootcert={files}/nonsense".to_owned(),
            "it holds no certificate in PEM form",
        ),
        (
            "sslmode=verify-full sslrootcert={files}/roots sslcrl={files}/revoked".to_owned(),
            "the server's certificate is revoked by sslcrl",
        ),
        // Who we are.
        (
            by_certificate("expired"),
            "the server refused our certificate (sslcert): it has expired",
        ),
        (
            by_certificate("unknown"),
            "the server refused our certificate (sslcert): it comes from nobody that the server trusts",
        ),
        (by_certificate("other"), "certificate authentication failed"),
        (by_certificate("open"), "may be read by others: run `chmod 0600"),
        (by_certificate("missing"), "the client certificate"),
        (
            "user=by_certificate sslmode=require".to_owned(),
            "requires a valid client certificate",
        ),
        (
            "password=wrong sslmode=require".to_owned(),
            "password authentication failed",
        ),
        (
            "user=old password=wrong sslmode=require".to_owned(),
            "password authentication failed",
        ),
        ("user=nobody".to_owned(), "no pg_hba.conf entry"),
        // What is asked of the connection.
        ("sslmode=disable".to_owned(), "no encryption"),
        ("user=plain sslmode=require".to_owned(), "no pg_hba.conf entry"),
        (
            "user=plain channel_binding=require sslmode=disable".to_owned(),
            "channel",
        ),
        (
            "user=old channel_binding=require sslmode=require".to_owned(),
            "channel",
        ),
        // Whether there is room, and a server.
        ("dbname=nowhere".to_owned(), "database \"nowhere\" does not exist"),
        (format!("port={nobody}"), "reach the server at localhost"),
        (
            format!(
                "host=127.0.0.1 port={} connect_timeout=1",
                silent.local_addr().unwrap().port()
            ),
            "no answer within 1 s",
        ),
    ];
    for (case, words) in cases {
        scene.keeps_out(&case, words).await;
    }
    // Which does not count followers.
    scene
        .keeps_sessions_out("user=limited", "too many connections for role")
        .await;
}

#[tokio::test]
async fn a_server_whose_certificate_has_expired() {
    let mut scene = Scene::new().await;
    scene
        .shows(scene.authority.server("localhost", Valid::NoMore))
        .await;
    scene
        .keeps_out(
            "sslmode=verify-full sslrootcert={files}/roots",
            "the server's certificate has expired",
        )
        .await;
    // Nobody asked who it is.
    scene.lets_in("sslmode=require", true).await;
}

#[tokio::test]
async fn a_server_that_is_full_or_has_no_tls() {
    let mut scene = Scene::new().await;
    scene.set("max_connections", "5").await;
    scene.set("ssl", "off").await;
    scene.set("superuser_reserved_connections", "1").await;
    scene.set("max_wal_senders", "1").await;
    scene
        .server
        .let_in("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        .unwrap();
    scene.server.restart(false).await.unwrap();
    scene
        .keeps_out("sslmode=require", "the server does not offer TLS")
        .await;
    scene.lets_in("sslmode=prefer", false).await;
    let mut all = Vec::new();
    // A session that has just ended may still take its place, and then a reserved one is gone for a moment.
    let reserved = "remaining connection slots are reserved";
    loop {
        match scene.server.connect("plain", "postgres").await {
            Ok(client) => all.push(client),
            Err(error) if in_one_line(&error).contains(reserved) => break,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    scene.keeps_sessions_out("", reserved).await;
    let _follower = Connection::open(&scene.config("")).await.unwrap();
    // From 17 on the name of the setting that follows is in quotes.
    let words = "number of requested standby connections exceeds";
    scene.keeps_followers_out("", words).await;
}
