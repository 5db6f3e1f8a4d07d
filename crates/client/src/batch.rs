//! Sends many messages, or puts many jobs into a queue.
//!
//! Invariant: every item has an id before its first attempt. So if an outage affects a part of a batch, that part is
//! sent again, and the log still has each item once.

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::document::read;
use crate::error::Error;
use crate::limits::{BATCH_BYTES, BATCH_MESSAGES};
use crate::new_message::{NewMessage, encode};
use crate::notice::Notice;
use crate::problem::Problem;
use crate::queues::{Enqueued, NewJob};
use crate::send::{AckLevel, Sent};

/// The outcome for one item of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T = Sent> {
    /// The item is in the log, or in its queue.
    Accepted(T),
    /// The item was refused, and a retry would be refused too.
    Rejected(Box<Problem>),
}

#[derive(Deserialize)]
struct Batch<T> {
    results: Vec<ItemResult<T>>,
}

#[derive(Deserialize)]
struct ItemResult<T> {
    status: u16,
    #[serde(flatten)]
    accepted: T,
    #[serde(default)]
    error: Problem,
}

/// The response to one batch request.
enum Response<T> {
    Results(Vec<ItemResult<T>>),
    TooLarge(Box<Problem>),
}

/// Where items go.
struct Target {
    path: String,
    ack: Option<AckLevel>,
}

impl Client {
    /// Sends messages in order, in as many requests as they need. Returns one outcome for each. Messages without an id
    /// get one.
    ///
    /// # Errors
    /// The server was not reachable, or had an outage, for longer than the client retries; or the response is
    /// not one to a batch. Some messages may be in the log: send all of them again, under ids of your own.
    pub async fn send_many(
        &self,
        messages: &[NewMessage],
        ack: AckLevel,
    ) -> Result<Vec<Outcome>, Error> {
        let encoded: Result<Vec<_>, _> =
            messages.iter().map(|message| encode(&message.with_id())).collect();
        self.send_many_json(&encoded?, ack).await
    }

    /// Like [`Client::send_many`], with messages that are JSON objects with an id already, each in one line.
    ///
    /// # Errors
    /// As [`Client::send_many`].
    pub async fn send_many_json(
        &self,
        messages: &[Vec<u8>],
        ack: AckLevel,
    ) -> Result<Vec<Outcome>, Error> {
        let path = "/v1/messages/batch".to_owned();
        self.post_all(&Target { path, ack: Some(ack) }, messages).await
    }

    /// Puts jobs into a queue in order, in as many requests as they need. Returns one outcome for each.
    ///
    /// # Errors
    /// As [`Client::send_many`].
    pub async fn enqueue_many(
        &self,
        queue: &str,
        jobs: &[NewJob],
    ) -> Result<Vec<Outcome<Enqueued>>, Error> {
        let encoded: Result<Vec<_>, _> = jobs.iter().map(encode).collect();
        let path = format!("/v1/queues/{queue}/jobs/batch");
        self.post_all(&Target { path, ack: None }, &encoded?).await
    }

    async fn post_all<T: DeserializeOwned>(
        &self,
        target: &Target,
        items: &[Vec<u8>],
    ) -> Result<Vec<Outcome<T>>, Error> {
        let mut outcomes: Vec<Option<Outcome<T>>> = items.iter().map(|_| None).collect();
        let mut backoff = self.backoff();
        let mut reported = false;
        loop {
            let open: Vec<usize> = (0..items.len()).filter(|&at| outcomes[at].is_none()).collect();
            if open.is_empty() {
                return Ok(outcomes.into_iter().flatten().collect());
            }
            let Some(outage) = self.post_open(target, items, &open, &mut outcomes).await? else {
                continue;
            };
            if outcomes.iter().flatten().count() > items.len() - open.len() {
                backoff = self.backoff();
            }
            let error = Error::Refused(Box::new(outage));
            if !std::mem::replace(&mut reported, true) {
                self.notify(&Notice::Retrying(&error));
            }
            let Some(wait) = backoff.next_wait(None) else { return Err(error) };
            tokio::time::sleep(wait).await;
        }
    }

    /// Posts the items without an outcome once. What is too large for a request all the same is posted in halves: a
    /// proxy may allow less than the server. Stops after a request with an outage, so that items that follow do not
    /// overtake those that failed. Returns the problem of the outage, if there was one.
    async fn post_open<T: DeserializeOwned>(
        &self,
        target: &Target,
        items: &[Vec<u8>],
        open: &[usize],
        outcomes: &mut [Option<Outcome<T>>],
    ) -> Result<Option<Problem>, Error> {
        let mut parts = parts(items, open);
        parts.reverse();
        while let Some(part) = parts.pop() {
            let mut outage = None;
            match self.post_part(target, items, part).await? {
                Response::TooLarge(_) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                Response::TooLarge(problem) => {
                    outcomes[part[0]] = Some(Outcome::Rejected(problem));
                }
                Response::Results(results) => {
                    for (&at, ItemResult { status, accepted, error }) in part.iter().zip(results) {
                        let problem = Problem { status, ..error };
                        outcomes[at] = match status {
                            200..=299 => Some(Outcome::Accepted(accepted)),
                            _ if problem.is_transient() => {
                                outage = Some(problem);
                                None
                            }
                            _ => Some(Outcome::Rejected(Box::new(problem))),
                        };
                    }
                }
            }
            if outage.is_some() {
                return Ok(outage);
            }
        }
        Ok(None)
    }

    async fn post_part<T: DeserializeOwned>(
        &self,
        target: &Target,
        items: &[Vec<u8>],
        part: &[usize],
    ) -> Result<Response<T>, Error> {
        let mut body = Vec::with_capacity(part.iter().map(|&at| items[at].len() + 1).sum());
        for &at in part {
            body.extend_from_slice(&items[at]);
            body.push(b'\n');
        }
        let query: Vec<_> = target.ack.iter().map(|ack| ("ack", ack.as_str().to_owned())).collect();
        let request = self.request(Method::POST, &target.path, &query);
        let request = request.header(CONTENT_TYPE, "application/x-ndjson").body(body);
        let body: Bytes = match self.call_large(request).await {
            Ok(body) => body,
            Err(Error::Refused(problem)) if problem.status == 413 => {
                return Ok(Response::TooLarge(problem));
            }
            Err(error) => return Err(error),
        };
        let Batch { results } = read(&body)?;
        if results.len() != part.len() {
            let (got, sent) = (results.len(), part.len());
            let text = format!("the server answered {sent} items with {got} results");
            return Err(Error::Unexpected(text));
        }
        Ok(Response::Results(results))
    }
}

/// Cuts the items at these places into parts that a request may have.
fn parts<'a>(items: &[Vec<u8>], open: &'a [usize]) -> Vec<&'a [usize]> {
    let (mut parts, mut begin, mut bytes) = (Vec::new(), 0, 0);
    for (place, &at) in open.iter().enumerate() {
        let size = items[at].len() + 1;
        if place > begin && (place - begin == BATCH_MESSAGES || bytes + size > BATCH_BYTES) {
            parts.push(&open[begin..place]);
            (begin, bytes) = (place, 0);
        }
        bytes += size;
    }
    parts.push(&open[begin..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(items: &[Vec<u8>]) -> Vec<usize> {
        let open: Vec<usize> = (0..items.len()).collect();
        parts(items, &open).iter().map(|part| part.len()).collect()
    }

    #[test]
    fn a_part_keeps_both_limits() {
        assert_eq!(sizes(&vec![vec![b'x'; 10]; 2_300]), [1_000, 1_000, 300]);
        assert_eq!(sizes(&vec![vec![b'x'; 1024 * 1024]; 16]), [7, 7, 2]);
        assert_eq!(sizes(&vec![vec![b'x'; 1024 * 1024 - 1]; 9]), [8, 1]);
        assert_eq!(sizes(&[vec![b'x'; BATCH_BYTES + 1], vec![b'x'; 5]]), [1, 1]);
    }
}
