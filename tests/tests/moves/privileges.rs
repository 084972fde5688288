//! What a role is told to be granted for a move is enough, on either server, and nothing of it is too much.

use anyhow::{Context as _, Result, ensure};
use crossfade_lab::server::{SUPERUSER, Server, ServerOptions};
use crossfade_tests::process::{Ended, Process};
use crossfade_tests::until;
use serde_json::Value;

const DATABASE: &str = "shop";
/// May log in, at first, and no more.
const ROLE: &str = "fresh role";
/// What a membership says since that is told apart.
const OF_16: &str = " WITH INHERIT TRUE, SET TRUE";
/// Of each list, where it is.
const SIDES: [&str; 2] = ["the source", "the target"];

const ROLES: &str =
    "CREATE ROLE sales; CREATE ROLE office; CREATE ROLE tools; CREATE ROLE \"fresh role\" LOGIN;
                     CREATE DATABASE shop";

/// Owners of their own for everything, and nothing that a role has because it is a member of one: a schema that the owner of
/// its tables may not use, a trigger's function of somebody else, a table that its owner may not read, policies that hold for
/// the owner, a grantee that the target lacks.
const SOURCE: &str = "
CREATE ROLE reader;
CREATE SCHEMA sales AUTHORIZATION sales;
CREATE SCHEMA tools AUTHORIZATION tools;
CREATE TABLE sales.orders (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, total integer NOT NULL);
CREATE TABLE sales.lines (id integer REFERENCES sales.orders, line integer, PRIMARY KEY (id, line));
CREATE TABLE sales.hidden (id integer PRIMARY KEY);
CREATE TABLE public.rooms (id integer PRIMARY KEY, name text);
CREATE FUNCTION tools.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TRIGGER touch BEFORE UPDATE ON sales.orders FOR EACH ROW EXECUTE FUNCTION tools.touch();
CREATE VIEW sales.totals AS SELECT sum(total) FROM sales.orders;
CREATE TYPE tools.mood AS ENUM ('good', 'bad');
INSERT INTO sales.orders (total) SELECT i FROM generate_series(1, 100) AS i;
INSERT INTO sales.lines SELECT i, 1 FROM generate_series(1, 100) AS i;
INSERT INTO sales.hidden VALUES (1);
INSERT INTO public.rooms VALUES (1, 'here');
ALTER TABLE sales.orders OWNER TO sales;
ALTER TABLE sales.lines OWNER TO sales;
ALTER TABLE sales.hidden OWNER TO sales;
ALTER VIEW sales.totals OWNER TO sales;
ALTER FUNCTION tools.touch() OWNER TO tools;
ALTER TYPE tools.mood OWNER TO tools;
REVOKE EXECUTE ON FUNCTION tools.touch() FROM PUBLIC;
REVOKE SELECT ON sales.hidden FROM sales;
GRANT SELECT ON sales.orders TO reader;
GRANT CREATE ON SCHEMA public TO office;
ALTER TABLE public.rooms OWNER TO office;
REVOKE CREATE ON SCHEMA public FROM office;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
ALTER TABLE public.rooms ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.rooms FORCE ROW LEVEL SECURITY;
CREATE POLICY known ON public.rooms USING (name = 'here')";

struct Scene {
    servers: [Server; 2],
}

impl Scene {
    async fn start() -> Result<Scene> {
        let servers = [
            Server::start(ServerOptions::default()).await?,
            Server::start(ServerOptions::default()).await?,
        ];
        let scene = Scene { servers };
        for server in &scene.servers {
            let postgres = server.connect(SUPERUSER, "postgres").await?;
            for sql in ROLES.split(';') {
                postgres.batch_execute(sql).await?;
            }
        }
        scene.sql(0, SOURCE).await?;
        // Also of the first versions that are served, where everybody may create in it.
        scene.sql(1, "REVOKE ALL ON SCHEMA public FROM PUBLIC").await?;
        Ok(scene)
    }

    /// As a superuser.
    async fn sql(&self, server: usize, sql: &str) -> Result<()> {
        let superuser = self.servers[server].connect(SUPERUSER, DATABASE).await?;
        superuser.batch_execute(sql).await.with_context(|| sql.to_owned())
    }

    fn start_as(&self, role: &str, arguments: &[&str]) -> Result<Process> {
        let [from, to] = [0, 1].map(|server: usize| self.servers[server].connection(role, DATABASE));
        let mut arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        arguments.extend(["--from".to_owned(), from, "--to".to_owned(), to]);
        arguments.extend(["--color", "never"].map(str::to_owned));
        Process::start(&arguments)
    }

    async fn run(&self, arguments: &[&str]) -> Result<Ended> {
        self.start_as(ROLE, arguments)?.end().await
    }

    /// Runs what `grants` prints on the server for which it is.
    async fn grant(&self, more: &[&str]) -> Result<()> {
        let mut arguments = vec!["grants"];
        arguments.extend(more);
        let printed = self.run(&arguments).await?.expect(0)?.stdout;
        let (source, target) = printed.split_once("-- ==== On the target").context("two parts")?;
        self.sql(0, source).await?;
        self.sql(1, &format!("-- {target}")).await
    }

    /// The statements for each server, with whether the role has it and can do without.
    async fn grants(&self) -> Result<[Vec<Grant>; 2]> {
        let object = self.run(&["grants", "--all", "--json"]).await?.expect(0)?.object;
        let of = |server: usize| {
            let grants = object.pointer(&format!("/servers/{server}/grants"));
            let grants = grants.and_then(Value::as_array).into_iter().flatten();
            let grant = |grant: &Value| Grant {
                statement: grant["statement"].as_str().unwrap_or_default().to_owned(),
                held: grant["held"] == true,
                optional: grant["optional"] == true,
            };
            grants.map(grant).collect()
        };
        Ok([of(0), of(1)])
    }
}

#[derive(Debug)]
struct Grant {
    statement: String,
    held: bool,
    optional: bool,
}

/// What takes a privilege away again.
fn inverse(statement: &str) -> String {
    let statement = statement.trim_end_matches(OF_16);
    if let Some(role) = statement.strip_prefix("CREATE ROLE ") {
        return format!("DROP OWNED BY {role}; DROP ROLE {role}");
    }
    match statement.strip_prefix("GRANT ") {
        Some(rest) => {
            let (what, role) = rest.rsplit_once(" TO ").unwrap_or_default();
            format!("REVOKE {what} FROM {role}")
        }
        None => statement
            .replace(" REPLICATION", " NOREPLICATION")
            .replace(" BYPASSRLS", " NOBYPASSRLS"),
    }
}

fn list<'a>(object: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    object[name].as_array().into_iter().flatten()
}

/// Whether the text of a refusal or notice has the statement; names are quoted where they need not be.
fn names(found: &Value, field: &str, side: &str, statement: &str) -> bool {
    let plain = |text: &str| text.replace('"', "");
    let text = |field: &str| found[field].as_str().unwrap_or_default();
    text("object").starts_with(side) && plain(text(field)).contains(&plain(statement))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_grant_of_a_move_is_needed_and_all_are_enough() -> Result<()> {
    let scene = Scene::start().await?;
    let needed = scene.grants().await?;
    ensure!(needed.iter().flatten().all(|grant| !grant.held), "{needed:#?}");
    let refused = scene.run(&["check", "--all", "--json"]).await?.expect(10)?;
    for (grants, side) in needed.iter().zip(SIDES) {
        for grant in grants.iter().filter(|grant| !grant.optional) {
            let named = list(&refused.object, "refusals")
                .any(|refusal| names(refusal, "remedy", side, &grant.statement));
            ensure!(named, "{side}: {}: {}", grant.statement, refused.object);
        }
    }
    scene.grant(&["--all"]).await?;
    let held = scene.grants().await?;
    ensure!(held.iter().flatten().all(|grant| grant.held), "{held:#?}");
    for arguments in [
        &["check", "--json"][..],
        &["check", "--all", "--json"],
        &["move", "--all", "--plan", "--json"],
    ] {
        let ended = scene.run(arguments).await?.expect(0)?;
        ensure!(list(&ended.object, "refusals").count() == 0, "{}", ended.object);
    }
    for ((server, grants), side) in needed.iter().enumerate().zip(SIDES) {
        for Grant {
            statement, optional, ..
        } in grants
        {
            scene.sql(server, &inverse(statement)).await?;
            let exit = if *optional { 0 } else { 10 };
            let ended = scene.run(&["check", "--all", "--json"]).await?;
            let ended = ended
                .expect(exit)
                .with_context(|| format!("without {statement}"))?;
            let (which, field) = match optional {
                true => ("notices", "offer"),
                false => ("refusals", "remedy"),
            };
            let mut found = list(&ended.object, which);
            ensure!(
                found.any(|found| names(found, field, side, statement)),
                "without {statement}: {}",
                ended.object
            );
            scene.sql(server, statement).await?;
        }
    }
    scene.run(&["check", "--all", "--json"]).await?.expect(0)?;
    Ok(())
}

/// Single tables come without their schema; and a role is told what it takes before there is one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_without_their_schema_take_one_that_is_there() -> Result<()> {
    let scene = Scene::start().await?;
    let arguments = ["grants", "--schema", "sales", "--role", "nobody yet"];
    let printed = scene.run(&arguments).await?.expect(0)?.stdout;
    ensure!(
        printed.matches("CREATE ROLE \"nobody yet\" LOGIN;").count() == 2,
        "{printed}"
    );
    let of_schema = ["check", "--schema", "sales", "--json"];
    let refused = scene.run(&of_schema).await?.expect(10)?;
    let schema = "CREATE SCHEMA sales AUTHORIZATION sales";
    let mut found = list(&refused.object, "refusals");
    ensure!(
        found.any(|found| names(found, "remedy", SIDES[1], schema)),
        "{}",
        refused.object
    );
    scene.grant(&["--schema", "sales"]).await?;
    scene.run(&of_schema).await?.expect(0)?;
    let no_program = [&of_schema[..], &["--pg-dump", "/no/such/program"]].concat();
    let refused = scene.run(&no_program).await?.expect(10)?;
    let codes: Vec<&Value> = list(&refused.object, "refusals")
        .map(|found| &found["code"])
        .collect();
    ensure!(codes == ["no_pg_dump"], "{}", refused.object);
    scene
        .run(&[&no_program[..], &["--schema-from", "existing"]].concat())
        .await?
        .expect(10)?;
    Ok(())
}

/// There and back by what was granted, and by nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_with_these_grants_moves_there_and_back() -> Result<()> {
    let scene = Scene::start().await?;
    scene.grant(&[]).await?;
    let there = ["move", "--all", "--yes", "--until-cutover", "--json"];
    scene
        .run(&[&there[..], &["--cutover", "auto"]].concat())
        .await?
        .expect(0)?;
    let write = "INSERT INTO sales.orders (total) VALUES (0); UPDATE public.rooms SET name = 'there'";
    scene.sql(1, write).await?;
    let back = scene.start_as(ROLE, &there)?;
    let target = scene.servers[1].connection(ROLE, DATABASE);
    let ask = async |verb: &str| {
        let arguments = [verb, DATABASE, "--url", &target, "--json"];
        Process::start(&arguments.map(str::to_owned))?.end().await
    };
    until::so("the source follows, and was compared", || async {
        let status = ask("status").await?.object;
        let progress = status.pointer("/migrations/0/progress");
        Ok(progress.is_some_and(|progress| progress["leg"] == 1 && progress["verified"] == true))
    })
    .await?;
    ask("rollback").await?.expect(0)?;
    back.end().await?.expect(0)?;
    scene.sql(0, write).await?;
    let source = scene.servers[0].connect(SUPERUSER, DATABASE).await?;
    let row = source.query_one("SELECT count(*) FROM sales.orders", &[]).await?;
    ensure!(
        row.get::<_, i64>(0) == 102,
        "what was written on either server is there"
    );
    Ok(())
}
