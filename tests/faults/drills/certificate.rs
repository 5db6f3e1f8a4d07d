//! The certificate ends soon, and its files become useless.

use chrono::{TimeDelta, Utc};

use super::{ACTION, Alerts, OVER, Operator, Pace, Runbook};
use crate::support::tls::Tls;
use crate::support::{Agentbus, ports};

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

#[tokio::test]
async fn the_certificate_ends_soon_and_its_files_become_useless() {
    let book = Runbook::read("certificate");
    let (tls, metrics) = (Tls::new(), format!("127.0.0.1:{}", ports::free()));
    tls.install(&tls.issue_for(&NAMES, 2020, Some(Utc::now() + TimeDelta::days(3))));
    let builder = tls.settings(Agentbus::builder().memory_sqlite());
    let server = builder.env("METRICS_ADDR", &metrics).start().await;
    let operator = Operator::at(&server);
    let alerts = Alerts::at(std::slice::from_ref(&metrics), Pace::MINUTE).await;
    // An hour of its window is a few seconds here.
    let refusals = Alerts::at(&[metrics], Pace::HOUR).await;
    refusals.know("agentbus_tls_reloads_total").await;
    alerts.fire(&["AgentbusCertificateExpires"]).await;

    tls.replace(&tls.key(), "not a key");
    book.is_seen(&server).await;
    refusals.fire(&["AgentbusCertificateRefused"]).await;
    let said = operator.runs(&book, ACTION).await;
    assert!(said.contains("notAfter=") && said.contains(r#""part":"tls""#), "{said}");

    tls.install(&tls.issue());
    alerts.resolve(&["AgentbusCertificateExpires"]).await;
    refusals.resolve(&["AgentbusCertificateRefused"]).await;
    operator.runs(&book, OVER).await;
}
