//! Results as of a watermark, and pages of them.

/// A value, and the watermark as of which it is exact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsOf<T> {
    /// The watermark.
    pub as_of: u64,
    /// The value.
    pub value: T,
}

impl<T> AsOf<T> {
    /// Another value as of the same watermark.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> AsOf<U> {
        AsOf { as_of: self.as_of, value: change(self.value) }
    }
}

/// A page of a list in order of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    /// The items of the page.
    pub items: Vec<T>,
    /// Whether more follow.
    pub more: bool,
}

impl<T> Listing<T> {
    /// The first `limit` of at most `limit + 1` items.
    #[must_use]
    pub fn cut(mut items: Vec<T>, limit: usize) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        Self { items, more }
    }
}
