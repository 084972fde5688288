//! Doors that are open.

use crossfade_lab::server::ServerOptions;

use super::certificates::{Authority, Valid, self_signed};
use super::scene::Scene;

#[tokio::test]
async fn each_mode_and_each_way_to_log_in() {
    let scene = Scene::new().await;
    let client = scene.authority.client("by_certificate", Valid::Now);
    scene.file("client.crt", &client.certificate);
    scene.file("client.key", &client.key);
    let cases = [
        // What libpq does without a word from anybody.
        ("", true),
        ("sslmode=require", true),
        ("sslmode=verify-full sslrootcert={files}/roots", true),
        (
            "sslmode=verify-full sslrootcert={files}/roots channel_binding=require",
            true,
        ),
        ("sslmode=verify-ca sslrootcert={files}/roots host=127.0.0.1", true),
        (
            "sslmode=require sslrootcert={files}/roots channel_binding=disable",
            true,
        ),
        ("sslmode=require ssl_min_protocol_version=TLSv1.3", true),
        (
            "sslmode=require ssl_max_protocol_version=TLSv1.2 channel_binding=require",
            true,
        ),
        (
            "sslmode=require sslsni=0 keepalives=0 tcp_user_timeout=1000",
            true,
        ),
        ("user=old sslmode=require", true),
        (
            "user=by_certificate sslmode=require sslcert={files}/client.crt sslkey={files}/client.key",
            true,
        ),
        // Refused without TLS, and with it.
        ("sslmode=allow", true),
        ("user=plain sslmode=prefer", false),
        ("user=plain sslmode=disable", false),
        ("user=plain sslmode=allow", false),
        // A name that leads nowhere is not asked for.
        ("host=nowhere.invalid hostaddr=127.0.0.1 sslmode=require", true),
    ];
    for (case, encrypted) in cases {
        scene.lets_in(case, encrypted).await;
    }
}

#[tokio::test]
async fn the_first_of_several_servers_that_takes_writes() {
    let scene = Scene::new().await;
    let standby = scene
        .server
        .standby("standby", ServerOptions::default())
        .await
        .unwrap();
    let (here, there) = (scene.server.port(), standby.port());
    // Nobody, one that takes no writes, and the one.
    scene
        .lets_in(
            &format!("host=localhost,localhost,localhost port=1,{there},{here}"),
            true,
        )
        .await;
    let none = format!("host=localhost,localhost port=1,{there}");
    scene
        .keeps_out(&none, "server that takes writes: localhost:1: reach")
        .await;
}

#[tokio::test]
async fn certificates_as_the_documentation_makes_them() {
    let mut scene = Scene::new().await;
    let own = self_signed("localhost");
    scene.file("own", &own.certificate);
    scene.shows(own).await;
    scene
        .lets_in("sslmode=require channel_binding=require", true)
        .await;
    scene
        .lets_in("sslmode=verify-full sslrootcert={files}/own", true)
        .await;
    scene
        .keeps_out(
            "sslmode=verify-full sslrootcert={files}/own host=127.0.0.1",
            "the server's certificate is not for `127.0.0.1`",
        )
        .await;
    scene.file("other", &Authority::new("localhost").certificate);
    scene
        .keeps_out(
            "sslmode=verify-ca sslrootcert={files}/other",
            "made for an authority, and sslrootcert does not hold it",
        )
        .await;
}

#[tokio::test]
async fn tls_at_once_where_the_server_knows_it() {
    let scene = Scene::new().await;
    let major = scene.server.installation().major;
    let case = "sslmode=require sslnegotiation=direct";
    match major >= 17 {
        true => scene.lets_in(case, true).await,
        false => scene.keeps_out(case, "encrypt the connection to localhost").await,
    }
}
