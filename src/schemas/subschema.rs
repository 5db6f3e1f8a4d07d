//! One schema inside of a schema, as the analysis of costs sees it: what it leads to, and what it costs by itself.
//!
//! Invariant: every keyword that has schemas is read here or refused, so the analysis sees all that is checked.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::reference::Reference;
use crate::limits::{DIVISION_UNITS, KEYWORD_UNITS};

/// The index of a schema in the [`Graph`](super::graph::Graph).
pub(super) type Id = usize;

/// A schema, with the indices of those that it has.
#[derive(Debug, Default)]
pub(super) struct Subschema {
    /// Schemas of the same value: `allOf`, `anyOf`, `$ref` …
    pub(super) in_place: Vec<Id>,
    /// The `$ref`, whose target is [`Self::target`] once it is found.
    pub(super) reference: Option<Reference>,
    /// The target of the `$ref`, which is in `in_place` too.
    pub(super) target: Option<Id>,
    /// Schemas of members with a name.
    pub(super) members: BTreeMap<String, Id>,
    /// Schemas of all members: `patternProperties`, `propertyNames`.
    pub(super) any_member: Vec<Id>,
    /// Schemas of members that are not in `members`: `additionalProperties`, `unevaluatedProperties`.
    pub(super) other_members: Vec<Id>,
    /// Schemas of the first items.
    pub(super) first_items: Vec<Id>,
    /// Schemas of the items behind those: `items`, `unevaluatedItems`.
    pub(super) other_items: Vec<Id>,
    /// The schema of all items: `contains`.
    pub(super) any_item: Vec<Id>,
    /// Whether `unevaluatedProperties` or `unevaluatedItems` look at the schemas of the same value again.
    pub(super) is_unevaluated: bool,
    /// Units of one look at a value.
    pub(super) units: u64,
    /// Units for each byte of a string.
    pub(super) units_per_byte: u64,
    /// Regular expressions that each name of a member is matched with.
    pub(super) name_patterns: u64,
    /// Whether items are compared with each other.
    pub(super) is_unique: bool,
}

/// Where schemas are in a keyword's value.
enum Has {
    /// The value is a schema.
    One,
    /// Its items are.
    List,
    /// Its members are.
    Members,
}

/// Finds what a schema has. `add` is given each schema in it with the steps to it, and returns its index.
///
/// # Errors
/// The keyword that cannot be used, and why.
pub(super) fn read<'a>(
    schema: &'a Map<String, Value>,
    is_root: bool,
    mut add: impl FnMut(&[&str], &'a Value) -> Id,
) -> Result<Subschema, (String, &'static str)> {
    let mut read = Subschema { units: KEYWORD_UNITS, ..Subschema::default() };
    for (keyword, value) in schema {
        if let Some(why) = refused(keyword, value, is_root) {
            return Err((keyword.clone(), why));
        }
        read.units += KEYWORD_UNITS;
        match &**keyword {
            "$ref" => {
                let reference = Reference::parse(value);
                read.reference = Some(reference.map_err(|why| (keyword.clone(), why))?);
            }
            "enum" | "const" | "required" | "dependentRequired" => read.units += leaves(value),
            "pattern" | "minLength" | "maxLength" => read.units_per_byte += 1,
            "multipleOf" => read.units += DIVISION_UNITS,
            "uniqueItems" => read.is_unique = true,
            _ => {}
        }
        let schemas: Vec<(Option<&str>, Id)> = match has_schemas(keyword) {
            None => continue,
            Some(Has::One) => vec![(None, add(&[keyword], value))],
            Some(Has::List) => {
                let items = value.as_array().into_iter().flatten().enumerate();
                items.map(|(at, item)| (None, add(&[keyword, &at.to_string()], item))).collect()
            }
            Some(Has::Members) => {
                let members = value.as_object().into_iter().flatten();
                members
                    .map(|(name, schema)| (Some(&**name), add(&[keyword, name], schema)))
                    .collect()
            }
        };
        read.sort(keyword, schemas);
    }
    Ok(read)
}

impl Subschema {
    /// A schema that is `true` or `false`.
    pub(super) fn constant() -> Self {
        Self { units: KEYWORD_UNITS, ..Self::default() }
    }

    fn sort(&mut self, keyword: &str, schemas: Vec<(Option<&str>, Id)>) {
        let ids = schemas.iter().map(|(_, id)| *id);
        match keyword {
            // They are looked at only through a reference.
            "$defs" | "definitions" => {}
            "properties" => {
                for (name, id) in schemas {
                    self.members.insert(name.unwrap_or_default().to_owned(), id);
                }
            }
            "patternProperties" => {
                self.name_patterns += schemas.len() as u64;
                self.any_member.extend(ids);
            }
            "propertyNames" => self.any_member.extend(ids),
            "additionalProperties" => self.other_members.extend(ids),
            "unevaluatedProperties" => {
                self.is_unevaluated = true;
                self.other_members.extend(ids);
            }
            "prefixItems" => self.first_items.extend(ids),
            "items" => self.other_items.extend(ids),
            "unevaluatedItems" => {
                self.is_unevaluated = true;
                self.other_items.extend(ids);
            }
            "contains" => self.any_item.extend(ids),
            _ => self.in_place.extend(ids),
        }
    }

    /// All schemas in this one, without the target of its `$ref`.
    pub(super) fn inline(&self) -> impl Iterator<Item = Id> + '_ {
        let beside = self.in_place.iter().copied().filter(|id| Some(*id) != self.target);
        beside.chain(self.below())
    }

    /// The schemas of members and items.
    pub(super) fn below(&self) -> impl Iterator<Item = Id> + '_ {
        let lists = [&self.any_member, &self.other_members, &self.first_items, &self.other_items];
        let lists = lists.into_iter().chain([&self.any_item]).flatten().copied();
        self.members.values().copied().chain(lists)
    }
}

fn has_schemas(keyword: &str) -> Option<Has> {
    Some(match keyword {
        "allOf" | "anyOf" | "oneOf" | "prefixItems" => Has::List,
        "properties" | "patternProperties" | "dependentSchemas" | "$defs" | "definitions" => {
            Has::Members
        }
        "not"
        | "if"
        | "then"
        | "else"
        | "additionalProperties"
        | "unevaluatedProperties"
        | "propertyNames"
        | "items"
        | "unevaluatedItems"
        | "contains" => Has::One,
        _ => return None,
    })
}

/// Why a keyword cannot be used here.
fn refused(keyword: &str, value: &Value, is_root: bool) -> Option<&'static str> {
    const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
    match keyword {
        "$schema" if !is_root => Some("can stand in the outermost schema only"),
        "$schema" => {
            let dialect = value.as_str().map(|text| text.trim_end_matches('#'));
            (dialect != Some(DIALECT))
                .then_some("must be https://json-schema.org/draft/2020-12/schema")
        }
        "$id" if !is_root => Some("can stand in the outermost schema only"),
        "$dynamicRef" | "$dynamicAnchor" | "$recursiveRef" | "$recursiveAnchor" | "$vocabulary" => {
            Some("cannot be used here: what it refers to changes while a message is checked")
        }
        "additionalItems" => {
            Some("is no keyword of JSON Schema 2020-12: use items and prefixItems")
        }
        "dependencies" => {
            Some("is no keyword of JSON Schema 2020-12: use dependentRequired or dependentSchemas")
        }
        _ => None,
    }
}

/// Units for comparing with each value in a keyword's value.
fn leaves(value: &Value) -> u64 {
    match value {
        Value::Array(items) => items.iter().map(leaves).sum::<u64>() + 8,
        Value::Object(members) => {
            members.iter().map(|(name, value)| name.len() as u64 + leaves(value)).sum::<u64>() + 8
        }
        Value::String(text) => text.len() as u64 + 8,
        _ => 8,
    }
}
