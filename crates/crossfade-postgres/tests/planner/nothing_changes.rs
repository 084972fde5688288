//! Planning changes nothing, whether it succeeds or is refused.

use crate::World;

/// Every object by its kind and name, every slot, the table's description.
const EVERYTHING: &str = "\
SELECT 'class ' || oid::text || ' ' || relname || ' ' || relfilenode::text FROM pg_class
UNION ALL SELECT 'schema ' || nspname FROM pg_namespace
UNION ALL SELECT 'constraint ' || oid::text || conname FROM pg_constraint
UNION ALL SELECT 'column ' || attrelid::text || attname || atttypid::text FROM pg_attribute
UNION ALL SELECT 'publication ' || pubname FROM pg_publication
UNION ALL SELECT 'type ' || oid::text FROM pg_type
UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots
UNION ALL SELECT 'dependency ' || objid::text || refobjid::text FROM pg_depend
UNION ALL SELECT 'rows ' || count(*)::text || ' ' || sum(hashtextextended(o::text, 0))::text FROM shop.orders o
UNION ALL SELECT 'sequence ' || last_value::text FROM shop.orders_id_seq
ORDER BY 1";

async fn everything(world: &World) -> Vec<String> {
    let rows = world.superuser.query(EVERYTHING, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn neither_with_a_plan_nor_with_refusals() {
    let world = World::create().await;
    let before = everything(&world).await;
    let good = "ALTER id TYPE bigint, ADD COLUMN x text DEFAULT 'x', ADD CHECK (id > 0)";
    world.plan("orders", &[good]).await;
    let session = world.session("engine").await;
    for bad in [
        "ALTER id TYPE nope",
        "ALTER note TYPE text USING note || random()",
        "OWNER TO nobody",
    ] {
        world.codes("orders", &[bad]).await;
    }
    assert_eq!(everything(&world).await, before);
    // Nothing is left open, and the session may be used again.
    let locks = "SELECT count(*) FROM pg_locks WHERE relation IN (SELECT oid FROM pg_class WHERE relnamespace = \
                 'shop'::regnamespace)";
    let row = session.query_one(locks, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
}
