//! A full disk (a small tmpfs) under JetStream or PostgreSQL: nothing is acknowledged that is not stored,
//! reads continue, and once there is room again everything acknowledged is there.

use serde_json::json;

use crate::disk::Disk;
use crate::load::{Load, PATIENCE};
use crate::support::times;
use crate::support::{Agentbus, Http, Nats, Postgres, eventually};
use crate::verdict;

const SMALL_MIB: u32 = 6;
/// Size of the file system of a database, in MiB: an empty database alone takes 8.
const SMALL_DATABASE_MIB: u32 = 14;
const LARGE_MIB: u32 = 512;
/// JetStream's own limit in bytes: more than the disk has, so that the disk is full first.
const PROMISED: u64 = 1 << 30;

/// Posts a message of 20 kB that cannot be compressed; returns the status.
async fn post_large(http: &Http) -> u16 {
    let content: String = std::iter::repeat_with(fastrand::alphanumeric).take(20_000).collect();
    let message = json!({"kind": "message", "type": "x", "sender_id": "probe", "content": content});
    http.post_json("/v1/messages", &message).await.status
}

#[tokio::test]
async fn full_under_jetstream() {
    for _ in 0..times(1, 5) {
        let Some(disk) = Disk::mount(SMALL_MIB) else { return };
        let nats = Nats::builder().store_dir(disk.path()).max_file_store(PROMISED).start().await;
        let pg_url = Postgres::shared().await.database().await;
        let agentbus = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
        let http = agentbus.http();
        let load = Load::start(&[agentbus.url()], 6, 2);
        eventually(PATIENCE, "the disk is full", async || {
            (post_large(&http).await == 503).then_some(())
        })
        .await;
        http.get("/v1/messages?limit=1").await.expect(200);
        disk.resize(LARGE_MIB);
        nats.restart().await;
        let took = load.acknowledged(100).await;
        eprintln!("full disk: {took:.1?} from the restart with room to 100 acknowledgements");
        verdict::check("full disk", load, &[agentbus.url()], Some(&nats)).await;
        drop(nats);
    }
}

#[tokio::test]
async fn full_under_postgres_behind_nats() {
    for _ in 0..times(1, 3) {
        let Some(disk) = Disk::mount(SMALL_DATABASE_MIB) else { return };
        let (nats, postgres) = (Nats::start().await, Postgres::start().await);
        let pg_url = postgres.database_in(disk.path()).await;
        let agentbus = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
        let http = agentbus.http();
        let load = Load::start(&[agentbus.url()], 6, 2);
        eventually(PATIENCE, "PostgreSQL's disk is full", async || {
            post_large(&http).await;
            postgres.log().contains("No space left on device").then_some(())
        })
        .await;
        let took = load.acknowledged(200).await;
        eprintln!("full disk under PostgreSQL: 200 more acknowledged in {took:.1?}");
        http.get("/v1/messages?limit=1").await.expect(200);
        disk.resize(LARGE_MIB);
        load.acknowledged(100).await;
        let what = "full disk under PostgreSQL";
        verdict::check(what, load, &[agentbus.url()], Some(&nats)).await;
        drop(postgres);
    }
}

#[tokio::test]
async fn full_under_postgres_of_the_memory_bus() {
    for _ in 0..times(1, 3) {
        let Some(disk) = Disk::mount(SMALL_DATABASE_MIB) else { return };
        let postgres = Postgres::start().await;
        let pg_url = postgres.database_in(disk.path()).await;
        let agentbus = Agentbus::builder().memory_postgres(&pg_url).start().await;
        let http = agentbus.http();
        let load = Load::start(&[agentbus.url()], 4, 2);
        eventually(PATIENCE, "nothing is accepted", async || {
            (post_large(&http).await == 503).then_some(())
        })
        .await;
        http.get("/v1/messages?limit=1").await.expect(200);
        disk.resize(LARGE_MIB);
        let took = load.acknowledged(100).await;
        eprintln!("memory bus, full disk under PostgreSQL: {took:.1?} to 100 acknowledgements");
        let what = "memory bus, full disk under PostgreSQL";
        verdict::check(what, load, &[agentbus.url()], None).await;
        drop(postgres);
    }
}
