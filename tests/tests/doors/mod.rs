//! Who is let in how, and what whoever is not let in is told: TLS, certificates, passwords, several servers. Each case for
//! SQL and for replication, which open their streams alike and log in differently.

mod balancer;
mod certificates;
mod closed;
mod managed;
mod open;
mod pooler;
mod scene;
