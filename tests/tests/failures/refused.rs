//! What is refused before anything is touched, since the rows would not be the right ones afterwards.

use crossfade_core::limits::Limits;

use super::scene::Scene;

const RELATIVES: &str = "
CREATE TABLE public.parent (id integer PRIMARY KEY, n integer);
CREATE TABLE public.child (PRIMARY KEY (id)) INHERITS (public.parent);
CREATE TABLE public.whole (id integer PRIMARY KEY, n integer) PARTITION BY RANGE (id);
CREATE TABLE public.part PARTITION OF public.whole FOR VALUES FROM (0) TO (100);
CREATE TABLE public.published (id integer PRIMARY KEY, n integer);";

async fn refused(scene: &Scene, table: &str) -> Vec<String> {
    let alters = ["ALTER COLUMN n TYPE bigint"];
    let refusals = scene.try_plan(table, &alters, Limits::default()).await;
    let refusals = refusals.expect_err("the change is refused");
    refusals
        .into_iter()
        .map(|refusal| format!("{}: {}", refusal.code, refusal.object))
        .collect()
}

/// Their rows are those of other tables too: read twice, or not at all, and a ctid is not theirs alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t17_parents_children_and_partitions_are_refused() {
    let scene = Scene::new(RELATIVES).await;
    for (table, expected) in [
        ("public.parent", "inheritance_parent: public.parent"),
        ("public.child", "inheritance_child: public.child"),
        ("public.whole", "partitioned_table: public.whole"),
        ("public.part", "partition: public.part"),
    ] {
        let refusals = refused(&scene, table).await;
        assert!(
            refusals.iter().any(|refusal| refusal == expected),
            "{table}: {refusals:?}"
        );
    }
}

/// Their subscribers would go on with the retired table, or be sent the shadow, which they do not have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t34_publications_of_others_that_send_the_table_are_refused() {
    let scene = Scene::new(RELATIVES).await;
    let admin = scene.admin().await;
    for kind in [
        "FOR TABLE public.published",
        "FOR TABLES IN SCHEMA public",
        "FOR ALL TABLES",
    ] {
        admin
            .batch_execute(&format!("CREATE PUBLICATION others {kind}"))
            .await
            .unwrap();
        let refusals = refused(&scene, "public.published").await;
        let expected = "publication: publication others of public.published";
        assert!(
            refusals.iter().any(|refusal| refusal == expected),
            "{kind}: {refusals:?}"
        );
        admin.batch_execute("DROP PUBLICATION others").await.unwrap();
    }
    scene
        .plan(
            "public.published",
            &["ALTER COLUMN n TYPE bigint"],
            Limits::default(),
        )
        .await;
}
