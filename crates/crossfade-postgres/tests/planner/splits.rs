//! `[[target]]`: what is refused, each with its place in the file; and the plan of what is not.

use crossfade_core::plan::{CopyMode, Stage};
use crossfade_postgres::change::ChangeRequest;
use crossfade_postgres::planner::{self, PlanError, Planned};

use crate::{NAME, World, shown, step};

const EVENTS: &str = "
SET ROLE app;
CREATE TABLE shop.events (id int PRIMARY KEY, kind text NOT NULL, payload jsonb, tags text[],
                          twice int GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE shop.taken (id int);
CREATE TYPE shop.mood AS ENUM ('sad');
CREATE TABLE shop.numbered (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL);
CREATE INDEX ON shop.numbered (at);
CREATE FUNCTION shop.three() RETURNS int VOLATILE LANGUAGE sql AS 'SELECT 3';
INSERT INTO shop.events (id, kind) SELECT i, 'k' || i % 3 FROM generate_series(1, 100) AS i;
RESET ROLE";

/// The rest of the file after `table = "events"` and what becomes of the table.
const BAD: &[&str] = &[
    // What the file itself shows.
    "[[target]]\ncolumns = []",
    "[[target]]\nname = \"a b\"",
    "[[target]]\nname = \"new\"",
    "[[target]]\nname = \"new\"\ncolumns = [{ name = \"id\", value = \"id\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"nr\"]\ncolumns = [{ name = \"id\", value = \"id\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"id\", value = \"kind\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"note\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", type = \"int\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\nrows = \"unnest(tags)\"\ncolumns = [{ name = \"id\", value = \"id\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\nrows_as = [\"tag\"]\ncolumns = [{ name = \"id\", value = \"id\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\", typ = \"int\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }]\nconstraints = [\"FOREIGN KEY (id) REFERENCES orders\"]",
    "[[target]]\nname = \"events\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }]\n\n[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }]",
    // What the server knows.
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"x\", value = \"knd\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"x\", value = \"kind\", type = \"int\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"x\", value = \"kind\", type = \"nonsense\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"x\", value = \"(SELECT max(id) FROM events)\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"x\", value = \"max(id)\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"x\", value = \"random()\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"x\", value = \"three()\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"x\", value = \"now()\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"x\", value = \"twice\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"x\", value = \"unnest(tags)\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"x\", value = \"events\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"x\", value = \"ctid\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\nfilter = \"kind\"\ncolumns = [{ name = \"id\", value = \"id\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\nfilter = \"random() < 0.5\"\ncolumns = [{ name = \"id\", value = \"id\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\nfilter = \"exists (SELECT FROM orders)\"\ncolumns = [{ name = \"id\", value = \"id\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"x\"]\ncolumns = [{ name = \"x\", value = \"kind\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id % 7\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\", type = \"smallint\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\", type = \"int GENERATED ALWAYS AS IDENTITY\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\", \"n\"]\nrows = \"(SELECT 1)\"\nrows_as = [\"t\", \"n\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"n\", value = \"n\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\", \"n\"]\nrows = \"generate_series(1, three())\"\nrows_as = [\"t\", \"n\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"n\", value = \"n\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\", \"n\"]\nrows = \"unnest(tags)\"\nrows_as = [\"id\", \"n\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"n\", value = \"n\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\", \"n\"]\nrows = \"unnest(tags)\"\nrows_as = [\"n\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"n\", value = \"n\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\", \"n\"]\nrows = \"unnest(tags)\"\nrows_as = [\"t\", \"n\", \"m\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"n\", value = \"n\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\", \"n\"]\nrows = \"generate_series(1, twice)\"\nrows_as = [\"t\", \"n\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"n\", value = \"n\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }]\nconstraints = [\"CHECK (nr > 0)\"]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }]\nindexes = [\"(nr)\"]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }]\nindexes = [\"(id); DROP TABLE shop.events\"]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\", type = \"int REFERENCES orders\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\", \"n\"]\nrows = \"unnest(tags)) AS a, orders, ROWS FROM (unnest(tags)\"\nrows_as = [\"t\", \"n\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"n\", value = \"n\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\npartitions = [{ name = \"p\", values = \"DEFAULT\" }]\ncolumns = [{ name = \"id\", value = \"id\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\npartition_by = \"LIST (kind)\"\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"kind\", value = \"kind\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\npartition_by = \"LIST (kind)\"\npartitions = [{ name = \"p\", values = \"DEFAULT\" }]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"kind\", value = \"kind\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\", \"kind\"]\npartition_by = \"LIST (kind)\"\npartitions = [{ name = \"p\", values = \"IN ('a')\" }, { name = \"q\", values = \"IN ('b', 'a')\" }]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"kind\", value = \"kind\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\", \"kind\"]\npartition_by = \"LIST (kind)\"\npartitions = [{ name = \"p\", values = \"IN ('a') PARTITION BY LIST (id)\" }]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"kind\", value = \"kind\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\npartition_by = \"RANGE (id)\"\npartition_every = \"1 month\"\ncolumns = [{ name = \"id\", value = \"id\" }]",
    "[[target]]\nname = \"a\"\nkey = [\"id\"]\nindexes = [\"(b_c)\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"b_c\", value = \"kind\" }]\n\n[[target]]\nname = \"a_b\"\nkey = [\"id\"]\nindexes = [\"(c)\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"c\", value = \"kind\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\", \"n\"]\nrows = \"jsonb_each_text(to_jsonb(events))\"\nrows_as = [\"k\", \"v\", \"n\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"n\", value = \"n\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\", \"n\"]\nrows = \"unnest(ARRAY[events.ctid::text])\"\nrows_as = [\"t\", \"n\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"n\", value = \"n\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\", \"n\"]\nrows = \"unnest(tags)\"\nrows_as = [\"ctid\", \"n\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"n\", value = \"n\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"a_name_that_is_longer_than_the_sixty_three_bytes_which_the_server_keeps\", value = \"kind\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"x\", type = \"bigserial\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"x\", type = \"int\", not_null = true }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }, { name = \"x\", type = \"int\", default = \"0) REFERENCES orders(id\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\nconstraints = [\"CHECK (id > 0), ENABLE ROW LEVEL SECURITY\"]\ncolumns = [{ name = \"id\", value = \"id\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\npartition_by = \"LIST (id)\"\npartitions = [{ name = \"p\", values = \"IN (1) WITH (fillfactor = 50)\" }]\ncolumns = [{ name = \"id\", value = \"id\" }]",
    "[[target]]\nname = \"mood\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }]",
    "[[target]]\nname = \"taken\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }]",
    "[[target]]\nname = \"nowhere.new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }]",
    "[[target]]\nname = \"pg_catalog.new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }]",
];

/// The same, of a table that is retired.
const BAD_SPLITS: &[&str] = &[
    // A row in two, and one in none.
    "[[target]]\nname = \"a\"\nkey = [\"id\"]\nfilter = \"id < 60\"\ncolumns = [{ name = \"id\", value = \"id\" }]\n\n[[target]]\nname = \"b\"\nkey = [\"id\"]\nfilter = \"id > 50\"\ncolumns = [{ name = \"id\", value = \"id\" }]",
    "[[target]]\nname = \"a\"\nkey = [\"id\"]\nfilter = \"kind = 'k1'\"\ncolumns = [{ name = \"id\", value = \"id\" }]\n\n[[target]]\nname = \"b\"\nkey = [\"id\"]\nfilter = \"kind = 'k2'\"\ncolumns = [{ name = \"id\", value = \"id\" }]",
];

/// A table that is split in two, and the queries that shall give its rows again.
const NOTES: &str = "
SET ROLE app;
CREATE TABLE shop.notes (id int PRIMARY KEY, kind text NOT NULL, body varchar(20), tags jsonb,
                         half numeric GENERATED ALWAYS AS (id / 2.0) STORED);
INSERT INTO shop.notes SELECT i, 'k' || i % 3, 'b' || i, jsonb_build_object('a', i) FROM generate_series(1, 50) AS i;
RESET ROLE";

const SPLIT: &str = "
table = \"notes\"
source = \"retire\"
[[target]]
name = \"heads\"
key = [\"id\"]
columns = [{ name = \"id\", value = \"id\", type = \"bigint\" }, { name = \"kind\", value = \"kind\" },
           { name = \"body\", value = \"body\" }]
[[target]]
name = \"tags\"
key = [\"note_id\", \"tag\"]
rows = \"jsonb_each_text(tags)\"
rows_as = [\"tag\", \"content\", \"n\"]
columns = [{ name = \"note_id\", value = \"id\", type = \"bigint\" }, { name = \"tag\", value = \"tag\" },
           { name = \"content\", value = \"content\" }]
";

/// Queries that cannot be used, each for another reason.
const BAD_SHAPES: &[&str] = &[
    "SELECT",
    "SELECT id, kind, body FROM notes",
    "SELECT id, kind, body, knd FROM heads",
    "SELECT id, kind, body FROM shop.heads",
    "SELECT id, kind, body FROM heads WHERE EXISTS (SELECT FROM shop.orders)",
    "SELECT id, kind, body, now() AS tags FROM heads",
    "SELECT id, kind || random() AS kind, body FROM heads",
    "SELECT id, kind, body, 1 AS more FROM heads",
    "SELECT id, kind, body, 1 AS half FROM heads",
    "SELECT kind, body FROM heads",
    "SELECT id, body FROM heads",
    "SELECT id::int AS id, kind, body FROM heads",
    "SELECT id, kind, body, 'x'::text AS tags FROM heads",
    "SELECT id, kind, body, (SELECT jsonb_agg(content) FROM tags WHERE note_id = id) AS tags FROM heads",
    "SELECT id, kind, body, (SELECT to_jsonb(content) FROM tags WHERE note_id = id LIMIT 1) AS tags FROM heads",
    "SELECT DISTINCT ON (id) id, kind, body FROM heads",
    "SELECT id, kind, body FROM heads; DROP TABLE shop.notes",
];

/// Queries that lose something of existing rows, or give a row twice.
const LOSSY: &[&str] = &[
    "SELECT id, kind, body, (SELECT jsonb_object_agg(tag, content) FROM tags WHERE note_id = id) AS tags FROM heads",
    "SELECT id, upper(kind) AS kind, body FROM heads",
    "SELECT id, kind, body FROM heads WHERE id <> 7",
    "SELECT id, kind, body FROM heads UNION ALL SELECT id, kind, body FROM heads WHERE id = 7",
    "SELECT id, kind, (SELECT content FROM tags) AS body FROM heads",
];

/// Names that a view of it cannot have.
const BAD_VIEWS: &[&str] = &[
    "heads",
    "shop.orders",
    "nowhere.notes",
    "pg_catalog.notes",
    "a b",
    "notes\"\nquery = \"SELECT 1",
];

/// What cannot be asked of a table that is kept.
const BAD_KEPT: &[&str] = &[
    "[[target]]\nname = \"events\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }]",
    "[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }]\n[old_shape]\nquery = \"SELECT 1\"",
    "readers = [\"app\", \"nobody\"]\n[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }]",
    "each_row = \"once\"\n[[target]]\nname = \"new\"\nkey = [\"id\"]\ncolumns = [{ name = \"id\", value = \"id\" }]",
];

fn with_query(query: &str) -> String {
    format!("{SPLIT}\n[old_shape]\nquery = \"\"\"\n{query}\n\"\"\"")
}

/// Its readers go on, nothing of it is changed or dropped, and it gets its identity back.
#[tokio::test]
async fn a_table_that_is_kept_is_locked_for_its_writers_only() {
    let world = World::create().await;
    world.sql(EVENTS).await;
    world
        .sql("ALTER TABLE shop.events REPLICA IDENTITY NOTHING; CREATE ROLE \"the reader\"")
        .await;
    let file = "
table = \"events\"
source = \"keep\"
readers = [\"the reader\"]

[[target]]
name = \"kinds\"
columns = [{ name = \"id\", value = \"id\" }, { name = \"kind\", value = \"kind\" }]
key = [\"id\"]
";
    let planned = planned(&world, file).await;
    let step = step(&planned.plan);
    assert!(step.keeps_source && step.back.is_none());
    let stages = [
        Stage::Analyze,
        Stage::LockTarget,
        Stage::Lock,
        Stage::LockSequences,
        Stage::Swap,
        Stage::AfterSwap,
        Stage::Complete,
        Stage::Drop,
    ];
    let statements = stages.into_iter().flat_map(|stage| step.statements_of(stage));
    let notices = planned.plan.notices.iter();
    let text = notices
        .map(|notice| format!("{}: {}\n", notice.code, notice.message))
        .chain(
            statements.map(|statement| format!("{}\n    {}\n", statement.sql, statement.locks.join("; "))),
        );
    insta::assert_snapshot!(text.collect::<String>());
}

#[tokio::test]
async fn queries_of_the_old_shape_are_refused_with_their_place_and_a_remedy() {
    let world = World::create().await;
    world.sql(NOTES).await;
    let mut text = String::new();
    for query in BAD_SHAPES {
        let told = told(&world, &with_query(query)).await;
        assert!(told.contains("change.toml, line "), "{query}\n{told}");
        text += &format!("{query}\n--> {told}\n");
    }
    let query = "SELECT id, kind, body FROM heads";
    for view in BAD_VIEWS {
        let file = format!("{SPLIT}\n[old_shape]\nview = \"{view}\"\nquery = \"{query}\"");
        text += &format!("view {view}\n--> {}\n", told(&world, &file).await);
    }
    // What the new tables are made from is not in it.
    let file = format!("{SPLIT}\n[old_shape]\nview = \"as_it_was\"\nquery = \"{query}\"");
    text += &format!("{query}\n--> {}\n", told(&world, &file).await);
    let alone = "table = \"notes\"\nalter = [\"ADD COLUMN x int\"]\n[old_shape]\nquery = \"SELECT 1\"";
    let columns = format!("{SPLIT}\n[back]\nkind = \"kind\"");
    for file in [alone, &columns] {
        text += &format!("--> {}\n", told(&world, file).await);
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn what_a_query_of_the_old_shape_loses_is_said_before_anything_runs() {
    let world = World::create().await;
    world.sql(NOTES).await;
    let mut text = String::new();
    let kept = "SELECT id, kind, body, (SELECT jsonb_object_agg(tag, content::int) FROM tags WHERE note_id = id) AS tags
                  FROM heads";
    for query in LOSSY.iter().chain(&[kept, "SELECT id, kind, body FROM heads"]) {
        let request = ChangeRequest::from_toml("change.toml", &with_query(query)).unwrap();
        let session = world.session("engine").await;
        let planned = planner::plan(&session, &request, &NAME.parse().unwrap())
            .await
            .unwrap();
        let step = step(&planned.plan);
        assert_eq!(step.back.is_some(), !LOSSY.contains(query), "{query}");
        text += &format!(
            "{query}\n--> {}\n\n",
            serde_json::to_string(&step.way_back).unwrap()
        );
    }
    insta::assert_snapshot!(text);
}

async fn told(world: &World, file: &str) -> String {
    let request = match ChangeRequest::from_toml("change.toml", file) {
        Ok(request) => request,
        Err(error) => return format!("{error}\n"),
    };
    let session = world.session("engine").await;
    match planner::plan(&session, &request, &NAME.parse().unwrap()).await {
        Ok(planned) => panic!("planned: {file}\n{:#?}", planned.plan),
        Err(PlanError::Refused(refusals)) => shown(&refusals),
        Err(error) => panic!("{file}\n{error:?}"),
    }
}

async fn planned(world: &World, file: &str) -> Planned {
    let request = ChangeRequest::from_toml("change.toml", file).unwrap();
    let session = world.session("engine").await;
    let name = NAME.parse().unwrap();
    planner::plan(&session, &request, &name).await.unwrap()
}

/// The view would call the function of the tables' schema: that one is judged, whatever comes first for the user.
#[tokio::test]
async fn a_query_of_the_old_shape_is_judged_by_what_the_view_will_call() {
    let world = World::create().await;
    world.sql(NOTES).await;
    world
        .sql(
            "CREATE FUNCTION public.label(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1';
             CREATE FUNCTION shop.label(text) RETURNS text VOLATILE LANGUAGE sql AS 'SELECT $1 || random()'",
        )
        .await;
    let query = "SELECT id, label(kind) AS kind, body FROM heads";
    let file = format!("search_path = \"public, shop\"\n{}", with_query(query));
    let told = told(&world, &file).await;
    assert!(told.contains("shop.label") && told.contains("volatile"), "{told}");
}

#[tokio::test]
async fn bad_files_are_refused_with_their_place_and_a_remedy() {
    let world = World::create().await;
    world.sql(EVENTS).await;
    let altered = BAD.iter().map(|rest| ("alter = [\"ADD COLUMN more int\"]", rest));
    let retired = BAD_SPLITS.iter().map(|rest| ("source = \"retire\"", rest));
    let mut text = String::new();
    let kept = BAD_KEPT.iter().map(|rest| ("source = \"keep\"", rest));
    for (source, rest) in altered.chain(retired).chain(kept) {
        let file = format!("table = \"events\"\n{source}\n{rest}");
        let told = told(&world, &file).await;
        assert!(
            told.contains("line ") || rest.matches("[[target]]").count() > 1,
            "{rest}\n{told}"
        );
        text += &format!("{rest}\n--> {told}\n");
    }
    let numbered = |rest: &str| {
        format!(
            "table = \"numbered\"\nsource = \"retire\"\n[[target]]\nname = \"new\"\nkey = [\"id\", \"at\"]\n\
             partition_by = \"RANGE (at)\"\n{rest}"
        )
    };
    let columns = "columns = [{ name = \"id\", value = \"id\" }, { name = \"at\", value = \"at\" }]";
    for rest in [
        "partition_every = \"1 month\"\npartitions_from = \"-infinity\"",
        "partition_every = \"1 second\"\npartitions_from = \"2001-01-01\"",
        "partition_every = \"-1 month\"\npartitions_from = \"2001-01-01\"",
        "partition_every = \"0 days\"",
        "partition_every = \"a while\"",
    ] {
        let file = numbered(&format!("{rest}\n{columns}"));
        text += &format!("{rest}\n--> {}\n", told(&world, &file).await);
    }
    let drawing = "partition_every = \"1 year\"\ncolumns = [{ name = \"id\", value = \"id\", default = \"nextval('numbered_id_seq')\" }, { name = \"at\", value = \"at\" }]";
    text += &format!("{drawing}\n--> {}\n", told(&world, &numbered(drawing)).await);
    for rest in [
        "",
        "source = \"retire\"",
        "alter = []\nsource = \"retire\"",
        "alter = [\"ADD COLUMN more int\"]\neach_row = \"once\"",
    ] {
        text += &format!(
            "{rest}\n--> {}\n",
            told(&world, &format!("table = \"events\"\n{rest}")).await
        );
    }
    insta::assert_snapshot!(text);
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'crossfade%'";
    assert_eq!(
        world
            .superuser
            .query_one(left, &[])
            .await
            .unwrap()
            .get::<_, i64>(0),
        0
    );
}

#[tokio::test]
async fn what_refers_to_a_retired_table_stands_in_the_way() {
    let world = World::create().await;
    let file = "table = \"orders\"\nsource = \"retire\"\n[[target]]\nname = \"new\"\nkey = [\"id\"]\n\
                columns = [{ name = \"id\", value = \"id\" }]";
    insta::assert_snapshot!(told(&world, file).await);
}

#[tokio::test]
async fn a_split_is_planned() {
    let world = World::create().await;
    world.sql(EVENTS).await;
    let file = "
table = \"events\"
source = \"retire\"
copy = \"incremental\"

[[target]]
name = \"public.event_tags\"
rows = \"unnest(tags)\"
rows_as = [\"tag\", \"n\"]
filter = \"tag <> ''\"
columns = [
    { name = \"nr\", type = \"bigint GENERATED ALWAYS AS IDENTITY\" },
    { name = \"event_id\", value = \"id\", type = \"bigint\" },
    { name = \"n\", value = \"n\" },
    { name = \"tag\", value = \"lower(events.kind || tag)\", type = \"varchar(40)\", not_null = true, default = \"'x'\" },
]
key = [\"event_id\", \"n\"]
constraints = [\"CHECK (n > 0)\", \"UNIQUE (nr)\"]
indexes = [\"UNIQUE (tag, event_id)\", \"USING hash (tag)\"]

[[target]]
name = \"kinds\"
columns = [{ name = \"id\", value = \"id\" }, { name = \"kind\", value = \"kind\" }]
key = [\"id\"]
";
    world.sql("GRANT CREATE ON SCHEMA public TO app, engine").await;
    let planned = planned(&world, file).await;
    let step = step(&planned.plan);
    assert_eq!(step.copy_mode, CopyMode::Incremental);
    assert!(step.targets[0].derived.is_some() && step.targets[1].derived.is_none());
    // Whatever decides over the rows of a target comes with every change.
    let names: Vec<&str> = step
        .source
        .never_missing
        .iter()
        .map(|place| step.source.columns[*place].name.as_str())
        .collect();
    assert_eq!(names, ["id", "kind", "tags"]);
    let stages = [
        Stage::Prepare,
        Stage::KeyIndex,
        Stage::Index,
        Stage::LockTarget,
        Stage::Lock,
        Stage::Swap,
    ];
    let statements = step
        .statements
        .iter()
        .filter(|statement| stages.contains(&statement.stage));
    let statements: Vec<&str> = statements.map(|statement| statement.sql.as_str()).collect();
    let _bound = world.by_version();
    insta::assert_snapshot!(statements.join(";\n"));
}
