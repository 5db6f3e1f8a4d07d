//! A schema, ready to check messages.

use std::fmt;

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

use super::cost::Cost;
use super::document::{ContentForm, document};
use super::fault::{Violation, describe, fault};
use super::graph::Graph;
use super::shape::Shape;
use crate::limits::{
    CHECK_INLINE_UNITS, COLLECT_UNITS, MAX_AUTOMATON_BYTES, MAX_METADATA_DEPTH, MAX_SCHEMA_BYTES,
};
use crate::message::FieldError;

/// A compiled schema for `{content, metadata}`.
pub struct Schema {
    validator: Validator,
    cost: Cost,
    form: ContentForm,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema").field("form", &self.form).finish_non_exhaustive()
    }
}

/// A message that can be checked, and the most that it can cost.
#[derive(Debug)]
pub struct Prepared {
    document: Value,
    units: u64,
}

impl Schema {
    /// Compiles a JSON Schema 2020-12. Takes up to a second for the worst that is not refused.
    ///
    /// # Errors
    /// Why it cannot be used, with pointers into it.
    pub fn compile(json: &str, form: ContentForm) -> Result<Self, Vec<FieldError>> {
        let one = |detail: String| vec![fault(String::new(), detail)];
        if json.len() > MAX_SCHEMA_BYTES {
            return Err(one(format!("has more than {MAX_SCHEMA_BYTES} bytes")));
        }
        let value: Value =
            serde_json::from_str(json).map_err(|error| one(format!("cannot be read: {error}")))?;
        let graph = Graph::of(&value)?;
        let cost = Cost::of(&graph).map_err(|fault| vec![fault])?;
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .offline()
            // `format` is an annotation, as JSON Schema has it.
            .should_validate_formats(false)
            .with_pattern_options(PatternOptions::regex().size_limit(MAX_AUTOMATON_BYTES))
            .build(&value)
            .map_err(|error| {
                vec![fault(error.instance_path().to_string(), describe(&error, "this value"))]
            })?;
        Ok(Self { validator, cost, form })
    }

    /// Reads a message and computes what checking it can cost. `metadata` is a JSON object.
    ///
    /// # Errors
    /// The message cannot be checked, and so does not match.
    pub fn prepare(&self, content: &str, metadata: &str) -> Result<Prepared, Violation> {
        let document = document(self.form, content, metadata)?;
        let bytes = content.len() + metadata.len();
        let Some(shape) = Shape::of(&document, bytes) else {
            let detail = format!("must nest at most {MAX_METADATA_DEPTH} deep");
            return Err(Violation::one("", detail));
        };
        let units = self.cost.of_shape(&shape);
        if units > Cost::allowed(shape.bytes) {
            let detail = "would take too long to check: send a smaller or flatter message, \
                          or simplify the schema";
            return Err(Violation::one("", detail));
        }
        Ok(Prepared { document, units })
    }

    /// Checks a message.
    ///
    /// # Errors
    /// Why it does not match.
    pub fn check(&self, message: &Prepared) -> Result<(), Violation> {
        if self.validator.is_valid(&message.document) {
            return Ok(());
        }
        if message.units > COLLECT_UNITS {
            let detail = "does not match the schema; it is too large to say where";
            return Err(Violation::one("", detail));
        }
        let violation = Violation::of(self.validator.iter_errors(&message.document));
        match violation.errors.is_empty() {
            false => Err(violation),
            true => Err(Violation::one("", "does not match the schema")),
        }
    }
}

impl Prepared {
    /// Whether checking it may keep other tasks waiting for long.
    #[must_use]
    pub fn may_take_long(&self) -> bool {
        self.units > CHECK_INLINE_UNITS
    }
}
