//! Servers are upgraded one by one, one of them is downgraded again, and upgraded after all.

use std::path::Path;

use super::{Alerts, OVER, Operator, Runbook};

/// Versions may differ for an hour, which is a minute here.
const DIFFER: &[&str] = &["AgentbusVersionsDiffer"];

use crate::load::Load;
use crate::support::agentbus::BINARY;
use crate::support::{Agentbus, Nats, Postgres, programs};
use crate::verdict;

/// Runs the commands of a section at a server, which then runs what they have installed.
async fn walk(book: &Runbook, section: &str, operator: &Operator, server: &Agentbus) {
    operator
        .walks(book, section, async |unit| {
            assert_eq!(unit, "restart agentbus");
            server.set_program(&operator.program());
            server.restart_listening().await;
        })
        .await;
}

#[tokio::test]
async fn servers_are_upgraded_and_downgraded() {
    let book = Runbook::read("upgrade");
    let Some(previous) = programs::previous() else { return };
    let (nats, pg_url) = (Nats::start().await, Postgres::shared().await.database().await);
    let builder = Agentbus::builder().nats(&nats.url(), &pg_url).program(&previous);
    let first = builder.env("DRAIN_S", "2").start().await;
    let second = first.like().start().await;
    let servers = [&first, &second];
    let operators = servers.map(|at| Operator::at(at).installed(&previous).with("NEW", BINARY));
    let urls = servers.map(Agentbus::url);
    let load = Load::start(&urls, 4, 2);
    load.acknowledged(50).await;
    let told = operators[0].runs(&book, "Ask the new version").await;
    assert!(told.contains(r#""part":"schema""#), "{told}");
    let alerts = Alerts::of(&servers).await;
    for (operator, server) in operators.iter().zip(servers) {
        walk(&book, "Upgrade a server", operator, server).await;
        load.acknowledged(50).await;
        if std::ptr::eq(server, &raw const first) {
            alerts.fire(DIFFER).await;
        }
    }
    alerts.resolve(DIFFER).await;
    let told = operators[0].runs(&book, "Ask the new version").await;
    assert!(told.contains("the tables are up to date"), "{told}");
    walk(&book, "Downgrade a server", &operators[0], &first).await;
    load.acknowledged(50).await;
    operators[0].runs(&book, OVER).await;
    walk(&book, "Upgrade a server", &operators[0], &first).await;
    for operator in &operators {
        operator.runs(&book, OVER).await;
        let same = std::fs::read(operator.program()).expect("a program");
        assert!(same == std::fs::read(Path::new(BINARY)).expect("a program"), "not this version");
    }
    load.acknowledged(50).await;
    verdict::check("drill: upgrade and downgrade", load, &urls, Some(&nats)).await;
}
