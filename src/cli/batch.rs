//! Posts messages in batches until each is accepted or refused for good.
//!
//! Invariant: every message must bring its own id. Then a batch whose answer
//! was lost, and the part of a batch that met an outage, is posted again under
//! the same ids, and the log holds each message once.

use bytes::Bytes;
use serde::Deserialize;

use super::backoff::Backoff;
use super::client::Client;
use super::failure::Failure;
use super::problem::Problem;
use super::refusal::Refusal;

/// What became of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the log.
    Accepted {
        /// It had been before.
        duplicate: bool,
    },
    /// It will never be; why, in words.
    Rejected(String),
}

#[derive(Deserialize)]
struct Answer {
    results: Vec<Verdict>,
}

#[derive(Deserialize)]
struct Verdict {
    status: u16,
    #[serde(default)]
    duplicate: bool,
    #[serde(default)]
    error: Problem,
}

/// What one request came to.
enum Posted {
    Verdicts(Vec<Verdict>),
    TooLarge(String),
}

/// Posts the messages, in order; gives one outcome for each.
///
/// # Errors
/// The server could not be reached or had an outage for longer than the client
/// waits, or answers what is no answer to a batch.
pub async fn post(client: &Client, messages: &[Vec<u8>]) -> Result<Vec<Outcome>, Failure> {
    let mut outcomes: Vec<Option<Outcome>> = vec![None; messages.len()];
    let mut backoff = Backoff::trying_for(client.retry_for());
    let mut told = false;
    loop {
        let open: Vec<usize> = (0..messages.len()).filter(|&at| outcomes[at].is_none()).collect();
        if open.is_empty() {
            return Ok(outcomes.into_iter().flatten().collect());
        }
        let outage = post_open(client, messages, &open, &mut outcomes).await?;
        let Some(words) = outage else { continue };
        if outcomes.iter().flatten().count() > messages.len() - open.len() {
            backoff = Backoff::trying_for(client.retry_for());
        }
        if !std::mem::replace(&mut told, true) {
            client.notice(&format!("{words}; trying again"));
        }
        let wait = backoff.next_wait(None).ok_or(Failure::Failed(words))?;
        tokio::time::sleep(wait).await;
    }
}

/// One round over what is open: in halves where a whole is too large (a proxy
/// may allow less than the server). Gives the words of an outage, if one was met.
async fn post_open(
    client: &Client,
    messages: &[Vec<u8>],
    open: &[usize],
    outcomes: &mut [Option<Outcome>],
) -> Result<Option<String>, Failure> {
    let mut parts = vec![open];
    let mut outage = None;
    while let Some(part) = parts.pop() {
        match post_part(client, messages, part).await? {
            Posted::TooLarge(_) if part.len() > 1 => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
            Posted::TooLarge(words) => outcomes[part[0]] = Some(Outcome::Rejected(words)),
            Posted::Verdicts(verdicts) => {
                for (&at, verdict) in part.iter().zip(verdicts) {
                    match verdict.status {
                        200..=299 => {
                            outcomes[at] = Some(Outcome::Accepted { duplicate: verdict.duplicate })
                        }
                        429 | 503 => outage = Some(verdict.error.words(verdict.status)),
                        status => {
                            outcomes[at] = Some(Outcome::Rejected(verdict.error.words(status)))
                        }
                    }
                }
            }
        }
    }
    Ok(outage)
}

async fn post_part(
    client: &Client,
    messages: &[Vec<u8>],
    part: &[usize],
) -> Result<Posted, Failure> {
    let mut body = Vec::with_capacity(part.iter().map(|&at| messages[at].len() + 1).sum());
    for &at in part {
        body.extend_from_slice(&messages[at]);
        body.push(b'\n');
    }
    let body = Bytes::from(body);
    let request = || client.post("/v1/messages/batch", &[], "application/x-ndjson", body.clone());
    let answer = match client.call(request).await {
        Ok(answer) => answer,
        Err(refusal @ Refusal::Refused { status: 413, .. }) => {
            return Ok(Posted::TooLarge(refusal.words()));
        }
        Err(refusal) => return Err(refusal.into()),
    };
    let answer: Answer = serde_json::from_slice(&answer)
        .map_err(|error| Failure::Failed(format!("the server's answer cannot be read: {error}")))?;
    if answer.results.len() != part.len() {
        let (got, sent) = (answer.results.len(), part.len());
        return Err(Failure::Failed(format!(
            "the server answered {sent} messages with {got} results"
        )));
    }
    Ok(Posted::Verdicts(answer.results))
}
