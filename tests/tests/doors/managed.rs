//! Servers as providers have them: a role that stands for REPLICATION, and a standby that only reads.

use anyhow::{Context as _, Result, ensure};
use crossfade_lab::server::ServerOptions;
use crossfade_tests::process::{Ended, Process};
use crossfade_tests::stage::{ENGINE, PASSWORD, Stage, arguments_to};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

const TABLE: &str = "items";
const ALTER: &str = "ALTER COLUMN id TYPE bigint";
const SCHEMA: &str = "CREATE TABLE items (id int PRIMARY KEY, name text); \
                      INSERT INTO items SELECT i, 'item ' || i FROM generate_series(1, 2000) AS i";

/// Who replicates in the name of the members of `rds_replication`, for lack of a server that lets them do it.
const REPLICATES: &str = "replicates";

/// The function is of the same server, which would ask for the attribute.
const AS_AT_RDS: &str = "
ALTER ROLE engine NOREPLICATION;
CREATE ROLE rds_replication;
ALTER FUNCTION pg_catalog.pg_drop_replication_slot(name) RENAME TO drop_replication_slot_of_anybody;
CREATE FUNCTION pg_catalog.pg_drop_replication_slot(name) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF NOT pg_catalog.pg_has_role(session_user, 'rds_replication', 'MEMBER') THEN
        RAISE insufficient_privilege;
    END IF;
    PERFORM pg_catalog.drop_replication_slot_of_anybody($1);
END $$";

/// What a provider's server does with a connection for replication: whoever is a member comes in. The port.
async fn provider(server_port: u16) -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            // A client that goes away ends its task with an error, which is nobody's concern.
            tokio::spawn(async move { carry(client, server_port).await.ok() });
        }
    });
    Ok(port)
}

async fn carry(mut client: TcpStream, server_port: u16) -> Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", server_port)).await?;
    let length = client.read_u32().await?;
    let mut startup = vec![0; length as usize - 4];
    client.read_exact(&mut startup).await?;
    let text = String::from_utf8(startup)?;
    let startup = match text.contains("\0replication\0database\0") {
        true => text.replacen(&format!("user\0{ENGINE}\0"), &format!("user\0{REPLICATES}\0"), 1),
        false => text,
    };
    server.write_u32(u32::try_from(startup.len() + 4)?).await?;
    server.write_all(startup.as_bytes()).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

#[tokio::test]
async fn t42_a_role_whose_membership_stands_for_replication() -> Result<()> {
    let stage = Stage::own(ServerOptions::default()).await?;
    stage.client().await?.batch_execute(SCHEMA).await?;
    let superuser = stage.superuser().await?;
    superuser
        .batch_execute("SET allow_system_table_mods = on")
        .await?;
    superuser.batch_execute(AS_AT_RDS).await?;
    stage
        .server()
        .create_role(REPLICATES, PASSWORD, "REPLICATION")
        .await?;
    let port = provider(stage.server().port()).await?;
    let url = format!("{} sslmode=disable", stage.engine_through(port));
    let crossfade = async |arguments: &[&str]| -> Result<Ended> {
        Process::start(&arguments_to(&url, arguments))?.end().await
    };
    let more = ["--cutover", "auto", "--way-back", "none"];
    let plan = stage.arguments(&["plan"], TABLE, ALTER, &[]);
    let run = stage.arguments(&["run", "--yes"], TABLE, ALTER, &more);

    // Without it everybody asks for the membership, and nobody for the attribute that cannot be given.
    const GRANT: &str = "GRANT \"rds_replication\" TO \"engine\"";
    for arguments in [&["check"][..], &plan, &run] {
        let ended = crossfade(arguments).await?.expect(10)?;
        let refusals = ended.object["refusals"].as_array().context("refusals")?;
        let found = refusals
            .iter()
            .find(|refusal| refusal["code"] == "role_cannot_replicate");
        let remedy = found.and_then(|refusal| refusal["remedy"].as_str());
        ensure!(
            remedy.is_some_and(|remedy| remedy.contains(GRANT)),
            "{}",
            ended.object
        );
    }
    let grants = crossfade(&["grants", "--table", TABLE]).await?;
    let asked = grants.object["grants"].as_array().context("grants")?;
    let asked = asked
        .iter()
        .find(|grant| grant["statement"] == "GRANT rds_replication TO engine" && grant["held"] == false);
    ensure!(asked.is_some(), "{}", grants.object);

    superuser.batch_execute(GRANT).await?;
    crossfade(&["check"]).await?.expect(0)?;
    crossfade(&plan).await?.expect(0)?;
    crossfade(&run).await?.expect(0)?;
    ensure!(stage.column_type(TABLE, "id").await? == "bigint");
    Ok(())
}

#[tokio::test]
async fn t42_a_hot_standby_is_refused_as_the_source() -> Result<()> {
    let stage = Stage::own(ServerOptions::default()).await?;
    stage.client().await?.batch_execute(SCHEMA).await?;
    let standby = stage
        .server()
        .standby("standby", ServerOptions::default())
        .await?;
    let url = standby.connection(ENGINE, stage.database());
    let (plan, run) = (["plan"], ["run", "--yes"]);
    let of_table = ["check", "--table", TABLE, "--alter", ALTER];
    let to = stage.engine();
    let moved = [
        "move", "--all", "--yes", "--from", &url, "--to", &to, "--json", "--color", "never",
    ];
    let commands = [
        arguments_to(&url, &["check"]),
        arguments_to(&url, &of_table),
        arguments_to(&url, &stage.arguments(&plan, TABLE, ALTER, &[])),
        arguments_to(&url, &stage.arguments(&run, TABLE, ALTER, &[])),
        moved.map(str::to_owned).to_vec(),
    ];
    for command in commands {
        let ended = Process::start(&command)?.end().await?.expect(30)?;
        ensure!(ended.object["code"] == "in_recovery", "{}", ended.object);
        for words in [
            "a standby, which takes no writes",
            "its primary",
            &standby.port().to_string(),
        ] {
            ensure!(ended.says(words), "no `{words}` in {}", ended.object);
        }
    }
    let traces = stage.traces().await?;
    ensure!(traces.is_empty(), "{traces:?}");
    Ok(())
}
