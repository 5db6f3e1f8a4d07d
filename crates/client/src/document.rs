//! JSON documents of the server, kept as bytes.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::error::Error;

/// A JSON document of the server: the bytes as they arrived. [`Document::parse`] turns them into a `T`.
/// Passing a document on needs no parsing, and keeps members that this version does not know.
pub struct Document<T> {
    json: Bytes,
    parsed: PhantomData<fn() -> T>,
}

impl<T> Document<T> {
    /// A document of these bytes, which are not checked.
    #[must_use]
    pub fn new(json: Bytes) -> Self {
        Self { json, parsed: PhantomData }
    }

    /// The bytes as the server sent them: one line, without a line break at the end.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        self.json.trim_ascii_end()
    }
}

impl<T: DeserializeOwned> Document<T> {
    /// Parses the document.
    ///
    /// # Errors
    /// [`Error::Unexpected`]: the document does not have the form of a `T`.
    pub fn parse(&self) -> Result<T, Error> {
        read(&self.json)
    }
}

impl<T> Clone for Document<T> {
    fn clone(&self) -> Self {
        Self::new(self.json.clone())
    }
}

impl<T> PartialEq for Document<T> {
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl<T> Eq for Document<T> {}

/// Shows the size alone: the content may be a secret.
impl<T> fmt::Debug for Document<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({} bytes)", self.json.len())
    }
}

/// Parses the body of a response.
pub(crate) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| {
        Error::Unexpected(format!("the server's response cannot be read: {error}"))
    })
}

/// The documents in the array `member` of a response, as slices of its body.
pub(crate) fn list<T>(body: &Bytes, member: &str) -> Result<Vec<Document<T>>, Error> {
    let mut members: std::collections::HashMap<&str, &RawValue> = read(body)?;
    let Some(list) = members.remove(member) else {
        return Err(Error::Unexpected(format!("the server's response has no {member}")));
    };
    let list: Vec<&RawValue> = read(list.get().as_bytes())?;
    Ok(list.iter().map(|raw| Document::new(body.slice_ref(raw.get().as_bytes()))).collect())
}
