//! When a response on a connection that carries several, or that TLS wraps, is cut off.
//!
//! Invariants: a client that takes nothing of a response for [`UNREAD_TIMEOUT`] loses this response, and no other one of
//! its connection. A stream whose credential has ended is over after [`STREAM_CUT_TIME`], whether its client reads or
//! not.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::timed_socket::count_unread;
use crate::access::EndWatch;
use crate::limits::{STREAM_CUT_TIME, UNREAD_TIMEOUT};

/// What is known of a response: shared by the task that sends it, its handler, and its body.
#[derive(Clone, Default)]
pub(super) struct Cutoff(Arc<Mutex<Facts>>);

#[derive(Default)]
struct Facts {
    /// Since when the client owes room for what it was sent.
    unread_since: Option<Instant>,
    /// The credential of a stream, until its timer has it.
    credential: Option<EndWatch>,
}

impl Cutoff {
    /// Cuts the response off once the credential has ended.
    pub(super) fn with_credential(&self, credential: EndWatch) {
        self.0.lock().credential = Some(credential);
    }

    /// A piece of the body waits for the client.
    pub(super) fn offered(&self) {
        self.0.lock().unread_since = Some(Instant::now());
    }

    /// The client has taken all pieces.
    pub(super) fn taken(&self) {
        self.0.lock().unread_since = None;
    }

    /// A timer for the task that sends the response.
    pub(super) fn timer(&self) -> CutoffTimer {
        CutoffTimer { cutoff: self.clone(), unread: None, ended: None }
    }
}

/// Tells when the response is to be cut off.
pub(super) struct CutoffTimer {
    cutoff: Cutoff,
    unread: Option<Pin<Box<Sleep>>>,
    ended: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl CutoffTimer {
    /// Polls what sends the response, until that is over or the response is to be cut off.
    pub(super) async fn limit(mut self, sending: impl Future<Output = ()>) {
        let mut sending = std::pin::pin!(sending);
        std::future::poll_fn(|cx| match sending.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            // After the poll, which may have changed what is known.
            Poll::Pending => self.poll(cx),
        })
        .await;
    }

    /// Ready once the response is to be cut off. Call it after each poll of what sends the response.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (since, credential) = {
            let mut facts = self.cutoff.0.lock();
            (facts.unread_since, facts.credential.take())
        };
        if let Some(mut credential) = credential {
            self.ended = Some(Box::pin(async move {
                credential.ended().await;
                sleep(STREAM_CUT_TIME).await;
            }));
        }
        if let Some(ended) = &mut self.ended
            && ended.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(());
        }
        match since {
            Some(since) => self.poll_unread(since + UNREAD_TIMEOUT, cx),
            None => {
                self.unread = None;
                Poll::Pending
            }
        }
    }

    fn poll_unread(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.unread.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        let is_over = timer.as_mut().poll(cx);
        if is_over.is_ready() {
            count_unread();
        }
        is_over
    }
}
