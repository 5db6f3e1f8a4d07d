//! Typed contents: a Rust type for each type of message.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::message::Message;

/// The content of messages of one type, as JSON.
///
/// ```
/// use agentbus_client::{Content, Message, NewMessage};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Debug, PartialEq)]
/// struct ReviewRequest {
///     branch: String,
///     lines: u32,
/// }
///
/// impl Content for ReviewRequest {
///     const TYPE: &'static str = "review_request";
/// }
///
/// let request = ReviewRequest { branch: "parser".to_owned(), lines: 120 };
/// let message = NewMessage::of(&request)?.from("ann").to("bob");
/// assert_eq!(message.type_, "review_request");
///
/// let read = Message { type_: message.type_, content: message.content, ..Message::default() };
/// assert_eq!(read.content_as::<ReviewRequest>()?, Some(request));
/// # Ok::<(), agentbus_client::Error>(())
/// ```
pub trait Content: Serialize + DeserializeOwned {
    /// The type of the messages with this content.
    const TYPE: &'static str;
}

impl Message {
    /// The typed content; `None` if the message is of another type.
    ///
    /// # Errors
    /// [`Error::Content`]: the message is of this type, and its content is not.
    pub fn content_as<T: Content>(&self) -> Result<Option<T>, Error> {
        if self.type_ == T::TYPE { self.content_json().map(Some) } else { Ok(None) }
    }

    /// The metadata as a value of this type.
    ///
    /// # Errors
    /// [`Error::Content`]: the metadata does not have this form.
    pub fn metadata_as<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let json = self.metadata.as_ref().map_or("{}", |metadata| metadata.get());
        serde_json::from_str(json).map_err(|error| {
            Error::Content(format!("the metadata of message {} cannot be read: {error}", self.seq))
        })
    }

    /// The content, as JSON of this form, whatever the type of the message.
    ///
    /// # Errors
    /// [`Error::Content`]: the content is no JSON of this form.
    pub fn content_json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(&self.content).map_err(|error| {
            let Self { seq, type_, .. } = self;
            Error::Content(format!("the content of message {seq} is not of type {type_}: {error}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    struct Port(u16);

    impl Content for Port {
        const TYPE: &'static str = "port";
    }

    #[test]
    fn another_type_is_none_and_another_form_an_error() {
        let message = |type_: &str, content: &str| Message {
            type_: type_.to_owned(),
            content: content.to_owned(),
            ..Message::default()
        };
        assert_eq!(message("port", "80").content_as::<Port>(), Ok(Some(Port(80))));
        assert_eq!(message("note", "80").content_as::<Port>(), Ok(None));
        assert!(matches!(message("port", "eighty").content_as::<Port>(), Err(Error::Content(_))));
    }
}
