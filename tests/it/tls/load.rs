//! Certificates are replaced while a thousand streams are open.

use std::time::Duration;

use futures_util::future::join_all;

use super::server;
use crate::support::http2::{Http2, Http2Stream, tls};
use crate::support::streams::{messages, publish};
use crate::support::{Sse, eventually, metrics};

const LIMIT: Duration = Duration::from_secs(60);
/// Streams over HTTP/1.1, a connection each.
const SINGLE: usize = 500;
/// Streams over HTTP/2, [`SHARED`] on a connection.
const MULTIPLEXED: usize = 500;
const SHARED: usize = 50;
const RELOADS: usize = 3;
const MESSAGES: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_reloaded_under_a_thousand_streams_without_a_cut() {
    let (server, files) = server().await;
    let http = server.http();
    let opening = (0..SINGLE).map(|_| http.stream("from=1", None));
    let mut single: Vec<Sse> = join_all(opening).await;
    let mut connections = Vec::new();
    let mut multiplexed: Vec<Http2Stream> = Vec::new();
    for _ in 0..MULTIPLEXED / SHARED {
        let connection = Http2::connect(server.url(), &files.ca_pem()).await;
        multiplexed.extend(join_all((0..SHARED).map(|_| connection.stream("from=1"))).await);
        connections.push(connection);
    }
    let open = metrics::value(&http, "agentbus_streams_open").await;
    assert_eq!(open, (SINGLE + MULTIPLEXED) as f64);

    let reloads = async {
        for round in 0..RELOADS {
            let next = files.issue();
            // The two files are not replaced at once: for a moment they do not belong together.
            files.replace(&files.cert(), &next.cert);
            publish(&http, &messages(MESSAGES)).await;
            files.replace(&files.key(), &next.key);
            eventually(LIMIT, "the new certificate", async || {
                let socket = tls(server.url(), &files.ca_pem(), &["h2"], false).await.expect("TLS");
                let served =
                    socket.get_ref().1.peer_certificates().expect("a certificate")[0].to_vec();
                (served == next.der).then_some(())
            })
            .await;
            publish(&http, &messages(MESSAGES)).await;
            eprintln!("reload {} is served", round + 1);
        }
    };
    let all = RELOADS * MESSAGES * 2;
    let wanted: Vec<u64> = (1..=all as u64).collect();
    let over_http1 = join_all(single.iter_mut().map(|stream| stream.collect_messages(all, LIMIT)));
    let over_http2 = join_all(multiplexed.iter_mut().map(|stream| stream.messages(all)));
    let ((), over_http1, over_http2) = tokio::join!(reloads, over_http1, over_http2);
    for frames in over_http1 {
        assert_eq!(frames.iter().map(crate::support::Frame::seq).collect::<Vec<_>>(), wanted);
    }
    for seqs in over_http2 {
        assert_eq!(seqs, wanted);
    }
    assert!(connections.iter().all(|connection| !connection.ended.is_finished()));
    assert_eq!(metrics::value(&http, "agentbus_streams_open").await, open);
    let served = r#"agentbus_tls_reloads_total{result="served"}"#;
    assert_eq!(metrics::value(&http, served).await, RELOADS as f64);
    assert!(metrics::value(&http, "agentbus_tls_certificate_expiry_seconds").await > 1.9e9);
}
