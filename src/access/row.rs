//! Grants and limits as rows, tokens and sessions have them: JSON that is known whole, or not at all.

use crate::message::ObjectReader;

/// Reads a JSON object. `None` if it is none, or has members that this version does not know.
pub fn read_object<T>(
    json: &str,
    parse: impl FnOnce(&mut ObjectReader<'_>) -> Option<T>,
) -> Option<T> {
    let mut object = ObjectReader::parse(json.as_bytes()).ok()?;
    let value = parse(&mut object);
    object.finish("a row", value).ok()
}
