//! Why the handler of a job failed.

use std::time::Duration;

/// Why the handler of a job failed, and whether to try again. Every error converts into one that is tried again, so `?`
/// works in a handler.
///
/// ```
/// use agentbus_client::JobError;
///
/// fn read(path: &str) -> Result<String, JobError> {
///     if path.is_empty() {
///         return Err(JobError::permanent("the job names no file"));
///     }
///     Ok(std::fs::read_to_string(path)?)
/// }
///
/// assert!(read("").unwrap_err().is_permanent());
/// assert!(!read("/does/not/exist").unwrap_err().is_permanent());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobError {
    pub(crate) reason: String,
    pub(crate) delay: Option<Duration>,
    is_permanent: bool,
}

impl JobError {
    /// The job is tried again, after the wait that its queue has for it.
    #[must_use]
    pub fn retry(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), delay: None, is_permanent: false }
    }

    /// The job is tried again after `delay`.
    #[must_use]
    pub fn retry_after(reason: impl Into<String>, delay: Duration) -> Self {
        Self { delay: Some(delay), ..Self::retry(reason) }
    }

    /// The job can never succeed: it is a dead letter at once.
    #[must_use]
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self { is_permanent: true, ..Self::retry(reason) }
    }

    /// Whether the job is not tried again.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.is_permanent
    }

    /// Why, as a text for people.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

// Therefore `JobError` itself is no `std::error::Error`.
impl<E: std::error::Error> From<E> for JobError {
    fn from(error: E) -> Self {
        Self::retry(error.to_string())
    }
}
