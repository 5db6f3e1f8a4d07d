//! A result with the watermark as of which it is exact, and a page of a list.

/// A value, and the watermark as of which it is exact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsOf<T> {
    /// The watermark.
    pub as_of: u64,
    /// The value.
    pub value: T,
}

impl<T> AsOf<T> {
    /// Changes the value; the watermark stays.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> AsOf<U> {
        AsOf { as_of: self.as_of, value: change(self.value) }
    }
}

/// A page of a list in order of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    /// The items of the page.
    pub items: Vec<T>,
    /// Whether more items follow.
    pub more: bool,
}

impl<T> Listing<T> {
    /// Makes a page from a read of up to `limit + 1` items: the first `limit`. One item beyond them means that more
    /// follow.
    #[must_use]
    pub fn cut(mut items: Vec<T>, limit: usize) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        Self { items, more }
    }
}
