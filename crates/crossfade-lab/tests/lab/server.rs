//! A server starts, answers, restarts, and leaves neither process nor file, however its owner ends.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crossfade_lab::server::{self, LogStatement, Requirements, Server, ServerOptions};

const DEADLINE: Duration = Duration::from_secs(30);
/// Set in the process that is started to be killed.
const VICTIM: &str = "CROSSFADE_LAB_VICTIM";

#[tokio::test]
async fn a_server_answers_and_leaves_nothing() {
    let started = Instant::now();
    let server = Server::start(ServerOptions::default()).await.unwrap();
    println!("PostgreSQL {} in {:?}", server.version(), started.elapsed());
    let client = server.connect("postgres", "postgres").await.unwrap();
    let row = client.query_one("SHOW wal_level", &[]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "logical");
    let (folder, pid) = (server.folder().to_owned(), server.pid());
    assert!(folder.exists() && is_running(pid));
    drop(server);
    assert!(!folder.exists());
    assert!(!is_running(pid));
}

#[tokio::test]
async fn a_standby_follows_and_leaves_nothing() {
    let server = Server::start(ServerOptions::default()).await.unwrap();
    let standby = server.standby("copy", ServerOptions::default()).await.unwrap();
    let (folder, pid) = (standby.folder().to_owned(), standby.pid());
    let [writer, reader] = [&server, &standby].map(|server| server.connect("postgres", "postgres"));
    let (writer, reader) = (writer.await.unwrap(), reader.await.unwrap());
    writer.batch_execute("CREATE TABLE t AS SELECT 7").await.unwrap();
    let there = "SELECT pg_is_in_recovery() AND to_regclass('t') IS NOT NULL";
    let deadline = Instant::now() + DEADLINE;
    while !reader.query_one(there, &[]).await.unwrap().get::<_, bool>(0) {
        assert!(Instant::now() < deadline, "the table never came");
    }
    drop(standby);
    assert!(!folder.exists() && !is_running(pid));
}

#[tokio::test]
async fn a_panic_leaves_nothing() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let task = tokio::spawn(async move {
        let server = Server::start(ServerOptions::default()).await.unwrap();
        sender.send((server.folder().to_owned(), server.pid())).unwrap();
        panic!("on purpose");
    });
    assert!(task.await.unwrap_err().is_panic());
    let (folder, pid) = receiver.recv().unwrap();
    assert!(!folder.exists() && !is_running(pid));
}

#[tokio::test]
async fn roles_come_in_over_tcp_by_their_password_only() {
    let server = Server::start(ServerOptions::default()).await.unwrap();
    server
        .create_role("it's me", r"sec'ret\", "REPLICATION")
        .await
        .unwrap();
    server.create_database("Its own", "it's me").await.unwrap();
    let client = server::open(&server.tcp_connection("it's me", r"sec'ret\", "Its own"))
        .await
        .unwrap();
    let row = client.query_one("SELECT current_user::text", &[]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "it's me");
    assert!(
        server::open(&server.tcp_connection("it's me", "wrong", "Its own"))
            .await
            .is_err()
    );
    let super_user = server.connect("it's me", "Its own").await.unwrap();
    assert!(super_user.batch_execute("CREATE ROLE other").await.is_err());
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart_a_crash_and_a_kill() {
    let mut server = Server::start(ServerOptions {
        durable: true,
        ..ServerOptions::default()
    })
    .await
    .unwrap();
    let client = server.connect("postgres", "postgres").await.unwrap();
    client.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    for round in 1..=3 {
        let client = server.connect("postgres", "postgres").await.unwrap();
        client.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
        match round {
            1 => server.restart(false).await.unwrap(),
            2 => server.restart(true).await.unwrap(),
            _ => {
                server.kill().unwrap();
                server.restart(true).await.unwrap();
            }
        }
        let client = server.connect("postgres", "postgres").await.unwrap();
        let count: i64 = client
            .query_one("SELECT count(*) FROM t", &[])
            .await
            .unwrap()
            .get(0);
        assert_eq!(count, round);
    }
}

#[tokio::test]
async fn statements_are_logged_on_request() {
    let options = ServerOptions {
        log_statement: LogStatement::All,
        ..ServerOptions::default()
    };
    let server = Server::start(options).await.unwrap();
    let client = server.connect("postgres", "postgres").await.unwrap();
    client.batch_execute("SELECT 'a needle'").await.unwrap();
    assert!(server.log().unwrap().contains("SELECT 'a needle'"));
}

#[tokio::test]
async fn a_version_is_found_or_fetched() {
    let installation = server::search(Requirements::major(17)).await.unwrap();
    assert_eq!(installation.major, 17);
    let options = ServerOptions {
        installation: Some(installation),
        ..ServerOptions::default()
    };
    let server = Server::start(options).await.unwrap();
    println!(
        "PostgreSQL {} in {}",
        server.version(),
        server.installation().bin.display()
    );
    let client = server.connect("postgres", "postgres").await.unwrap();
    let version: String = client.query_one("SHOW server_version", &[]).await.unwrap().get(0);
    assert!(version.starts_with("17."), "{version}");
}

/// Runs this very test in another process, kills that outright, and looks for what it left.
#[tokio::test]
async fn the_watchdog_cleans_up_after_a_kill() {
    if std::env::var_os(VICTIM).is_some() {
        let server = Server::start(ServerOptions::default()).await.unwrap();
        println!("\nvictim {} {}", server.pid(), server.folder().display());
        return std::future::pending().await;
    }
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args([
            "server::the_watchdog_cleans_up_after_a_kill",
            "--exact",
            "--nocapture",
        ])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (pid, folder) = read_victim(BufReader::new(victim.stdout.take().unwrap()));
    assert!(is_running(pid) && folder.exists());
    victim.kill().unwrap();
    victim.wait().unwrap();
    let deadline = Instant::now() + DEADLINE;
    while is_running(pid) || folder.exists() {
        assert!(
            Instant::now() < deadline,
            "left: process {}, folder {}",
            is_running(pid),
            folder.exists()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn read_victim(output: impl BufRead) -> (u32, PathBuf) {
    for line in output.lines() {
        let line = line.unwrap();
        if let Some((pid, folder)) = line.strip_prefix("victim ").and_then(|rest| rest.split_once(' ')) {
            return (pid.parse().unwrap(), PathBuf::from(folder));
        }
    }
    panic!("the victim started no server");
}

/// Whether the process exists and is no zombie: an orphan is reaped when init finds the time.
fn is_running(pid: u32) -> bool {
    let output = Command::new("ps")
        .args(["-o", "stat=", "-p", &pid.to_string()])
        .output()
        .unwrap();
    let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    !state.is_empty() && !state.starts_with('Z')
}

#[test]
fn the_socket_folder_is_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Server::start(ServerOptions::default())).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(server.folder()), 0o700);
}
