//! One address that leads to several servers, as that of a balancer does: each session may be on another one.

use anyhow::{Result, ensure};
use crossfade_lab::server::{Server, ServerOptions};
use crossfade_tests::balancer::Balancer;
use crossfade_tests::process::{Ended, Process};
use crossfade_tests::stage::{Stage, arguments_to};

const TABLE: &str = "items";
const ALTER: &str = "ALTER COLUMN id TYPE bigint";
const SCHEMA: &str = "CREATE TABLE items (id int PRIMARY KEY, name text); \
                      INSERT INTO items SELECT i, 'item ' || i FROM generate_series(1, 2000) AS i";

/// What comes of the run.
const ALTERED: &str = "CREATE TABLE items (id bigint PRIMARY KEY, name text)";

/// Of all rows, whatever type the key has.
const ROWS: &str = "SELECT count(*) || ' ' || coalesce(sum(hashtext(id || name)::int8), 0) FROM public.items";

/// What the application may do all the while.
const WRITTEN: &str = "UPDATE items SET name = name WHERE id = 1";

/// What an engine leaves on a server.
const LEFT: &str = "\
SELECT 'slot ' || slot_name::text FROM pg_replication_slots WHERE slot_name ~ '^crossfade'
UNION ALL SELECT 'publication ' || pubname::text FROM pg_publication
UNION ALL SELECT 'schema ' || nspname::text FROM pg_namespace WHERE nspname ~ '^crossfade'";

/// The servers behind the address: the one that is meant, and the other.
struct Behind {
    balancer: Balancer,
    meant: Stage,
    ports: [u16; 2],
}

impl Behind {
    async fn start(meant: Stage, other: &Server) -> Result<Behind> {
        let ports = [meant.server().port(), other.port()];
        Ok(Behind {
            balancer: Balancer::start(ports).await?,
            meant,
            ports,
        })
    }

    /// With so few connections as there can be: one a session. Who asks for encryption first takes two.
    fn url(&self, asks_for_encryption: bool) -> String {
        let mode = if asks_for_encryption { "prefer" } else { "disable" };
        format!(
            "{} sslmode={mode}",
            self.meant.engine_through(self.balancer.port())
        )
    }

    /// It ends with 11, says that there are two servers, which, and what to do.
    fn tells_them_apart(&self, ended: Ended) -> Result<()> {
        let ended = ended.expect(11)?;
        let words = [
            "leads to more than one server".to_owned(),
            format!("127.0.0.1:{}", self.ports[0]),
            format!("127.0.0.1:{}", self.ports[1]),
            "by its own host and port".to_owned(),
        ];
        ensure!(ended.object["code"] == "several_servers", "{}", ended.object);
        for word in words {
            ensure!(ended.says(&word), "no `{word}` in {}", ended.object);
        }
        Ok(())
    }

    /// However many connections come to the server that is meant before one comes to the other, that one is the last; and
    /// by the straight address the same run goes on from there to its end.
    async fn run(&self) -> Result<()> {
        let stage = &self.meant;
        let before = rows(stage).await?;
        let more = ["--cutover", "auto", "--way-back", "none"];
        let run = stage.arguments(&["run", "--yes"], TABLE, ALTER, &more);
        // Planned, then stored, then by an engine in each of its beginnings.
        for straight in [0, 1, 4, 8, 13] {
            self.balancer.straight(straight);
            let url = self.url(straight == 4);
            self.tells_them_apart(Process::start(&arguments_to(&url, &run))?.end().await?)?;
            ensure!(stage.column_type(TABLE, "id").await? == "integer");
        }
        stage.ended(&run).await?.expect(0)?;
        ensure!(stage.column_type(TABLE, "id").await? == "bigint");
        ensure!(before == rows(stage).await?);
        Ok(())
    }

    /// The same of a move, whose source is behind the address.
    async fn move_away(&self) -> Result<()> {
        let (stage, target) = (&self.meant, self.meant.double().await?);
        let to = target.engine();
        let before = rows(stage).await?;
        // Not every build of PostgreSQL comes with `pg_dump`, and it has to be as new as the server.
        let schema = match stage.server().installation().bin.join("pg_dump").exists() {
            true => "dump",
            false => {
                target.client().await?.batch_execute(ALTERED).await?;
                "existing"
            }
        };
        let moving = |from: &str| {
            let arguments = [
                "move",
                "--tables",
                TABLE,
                "--yes",
                "--name",
                "moved",
                "--cutover",
                "auto",
                "--until-cutover",
                "--schema-from",
                schema,
                "--json",
                "--color",
                "never",
                "--from",
                from,
                "--to",
                &to,
            ];
            Process::start(&arguments.map(str::to_owned))
        };
        for straight in [0, 5, 8] {
            self.balancer.straight(straight);
            let ended = moving(&self.url(straight == 5))?.end().await?;
            // A move that has come far takes few connections to its end: this one met no other server.
            if self.balancer.in_turns() == 0 {
                ended.expect(0)?;
                ensure!(before == rows(&target).await?);
                return Ok(());
            }
            self.tells_them_apart(ended)?;
            stage.client().await?.batch_execute(WRITTEN).await?;
        }
        moving(&stage.engine())?.end().await?.expect(0)?;
        ensure!(before == rows(&target).await?);
        Ok(())
    }
}

async fn rows(stage: &Stage) -> Result<String> {
    Ok(stage.client().await?.query_one(ROWS, &[]).await?.get(0))
}

async fn left(stage: &Stage) -> Result<Vec<String>> {
    let rows = stage.superuser().await?.query(LEFT, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn stage() -> Result<Stage> {
    let stage = Stage::own(ServerOptions::default()).await?;
    stage.client().await?.batch_execute(SCHEMA).await?;
    Ok(stage)
}

#[tokio::test]
async fn t20_an_address_that_leads_to_a_standby_too() -> Result<()> {
    let stage = stage().await?;
    let standby = stage
        .server()
        .standby("standby", ServerOptions::default())
        .await?;
    let behind = Behind::start(stage, &standby).await?;
    behind.run().await?;
    behind.move_away().await
}

#[tokio::test]
async fn t20_an_address_that_leads_to_two_clusters() -> Result<()> {
    let stage = stage().await?;
    let other = stage.double().await?;
    other.client().await?.batch_execute(SCHEMA).await?;
    let before = rows(&other).await?;
    let behind = Behind::start(stage, other.server()).await?;
    behind.run().await?;
    behind.move_away().await?;
    let left = left(&other).await?;
    ensure!(left.is_empty(), "left on the other server: {left:?}");
    ensure!(before == rows(&other).await?);
    Ok(())
}
