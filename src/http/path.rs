//! Parses segments of paths.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use uuid::Uuid;

use super::problem::Problem;
use crate::message::{Kind, Token, parse_uuid};
use crate::services::{Code, Error};

/// A segment of the path; an error if it is not UTF-8 once decoded.
pub(super) type Segment = Result<Path<String>, PathRejection>;

/// The token in a path segment, if it is one.
pub(super) fn token(segment: Segment) -> Option<Token> {
    segment.ok()?.0.parse().ok()
}

/// The UUID in a path segment, if it is one.
pub(super) fn uuid(segment: Segment) -> Option<Uuid> {
    parse_uuid(&segment.ok()?.0).ok()
}

/// Two segments of the path.
pub(super) type Segments = Result<Path<(String, String)>, PathRejection>;

/// The kind and type of messages in two path segments.
///
/// # Errors
/// 404 if they are not UTF-8, 422 `invalid_name` if they are none.
pub(super) fn kind_and_type(segments: Segments) -> Result<(Kind, Token), Problem> {
    let Ok(Path((kind, type_))) = segments else {
        return Err(Error::not_found("kind and type must be UTF-8").into());
    };
    let invalid =
        |what, rule| Error::new(Code::InvalidName, format!("the {what} of messages {rule}"));
    let kind = kind.parse().map_err(|rule| invalid("kind", rule))?;
    let type_ = type_.parse().map_err(|rule| invalid("type", rule))?;
    Ok((kind, type_))
}

/// The name of a queue in a path segment.
///
/// # Errors
/// 404 if it is not UTF-8, 422 `invalid_name` if it is no token.
pub(super) fn queue(segment: Segment) -> Result<Token, Problem> {
    let Ok(Path(name)) = segment else {
        return Err(Error::not_found("the name of a queue must be UTF-8").into());
    };
    let invalid = |rule| {
        let detail = format!("the name of a queue {rule}");
        Error::new(Code::InvalidName, detail).into()
    };
    name.parse().map_err(invalid)
}
