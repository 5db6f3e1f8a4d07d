//! All schemas inside of a schema, and how they lead to each other.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::automaton::Automata;
use super::fault::fault;
use super::reference::Reference;
use super::subschema::{Id, Subschema, read};
use crate::limits::{MAX_NAMED_ERRORS, MAX_SUBSCHEMA_DEPTH, MAX_SUBSCHEMAS};
use crate::message::FieldError;

/// The schemas of a document. The first is the document itself.
pub(super) struct Graph {
    pub(super) schemas: Vec<Subschema>,
}

/// A schema that was found and not read yet.
struct Found<'a> {
    value: &'a Value,
    pointer: String,
    depth: usize,
}

struct Builder<'a> {
    document: &'a Value,
    /// By the address of the value in the document.
    known: HashMap<*const Value, Id>,
    found: Vec<Found<'a>>,
    schemas: Vec<Subschema>,
    anchors: HashMap<&'a str, Id>,
    automata: Automata,
    faults: Vec<FieldError>,
}

impl Graph {
    /// Reads all schemas that the document leads to.
    ///
    /// # Errors
    /// What cannot be used in it, with pointers into the document.
    pub(super) fn of(document: &Value) -> Result<Self, Vec<FieldError>> {
        let mut builder = Builder {
            document,
            known: HashMap::new(),
            found: Vec::new(),
            schemas: Vec::new(),
            anchors: HashMap::new(),
            automata: Automata::default(),
            faults: Vec::new(),
        };
        builder.add(document, String::new(), 0);
        builder.read_all();
        builder.faults.truncate(MAX_NAMED_ERRORS);
        match builder.faults.is_empty() {
            true => Ok(Self { schemas: builder.schemas }),
            false => Err(builder.faults),
        }
    }
}

impl<'a> Builder<'a> {
    /// The index of the schema at this place; it is read later if it is new.
    fn add(&mut self, value: &'a Value, pointer: String, depth: usize) -> Id {
        if let Some(known) = self.known.get(&std::ptr::from_ref(value)) {
            return *known;
        }
        let id = self.known.len();
        self.known.insert(std::ptr::from_ref(value), id);
        self.found.push(Found { value, pointer, depth });
        id
    }

    /// Reads what was found, then finds the targets of references, until nothing is new.
    fn read_all(&mut self) {
        let mut linked = 0;
        loop {
            while let Some(found) = self.found.get(self.schemas.len()) {
                let (value, pointer, depth) = (found.value, found.pointer.clone(), found.depth);
                if self.schemas.len() == MAX_SUBSCHEMAS {
                    let detail = format!("has more than {MAX_SUBSCHEMAS} schemas in it");
                    return self.faults.push(fault(String::new(), detail));
                }
                if depth > MAX_SUBSCHEMA_DEPTH {
                    let detail = format!("is more than {MAX_SUBSCHEMA_DEPTH} schemas deep");
                    return self.faults.push(fault(pointer, detail));
                }
                let schema = self.read(value, &pointer, depth);
                self.schemas.push(schema);
            }
            if linked == self.schemas.len() || !self.faults.is_empty() {
                return;
            }
            self.link(linked);
            linked = self.schemas.len();
        }
    }

    fn read(&mut self, value: &'a Value, pointer: &str, depth: usize) -> Subschema {
        let Value::Object(members) = value else {
            if !value.is_boolean() {
                self.fail(pointer, "", "must be a schema: an object, true or false");
            }
            return Subschema::constant();
        };
        let id = self.schemas.len();
        if let Some(Value::String(anchor)) = members.get("$anchor")
            && self.anchors.insert(anchor, id).is_some()
        {
            self.fail(pointer, "$anchor", "names several schemas");
        }
        self.compile_patterns(members, pointer);
        let read = read(members, id == 0, |steps, value| {
            let pointer = steps.iter().fold(pointer.to_owned(), |at, step| join(&at, step));
            self.add(value, pointer, depth + 1)
        });
        read.unwrap_or_else(|(keyword, why)| {
            self.fail(pointer, &keyword, why);
            Subschema::constant()
        })
    }

    /// Not after the first fault: each expression may take long to refuse.
    fn compile_patterns(&mut self, schema: &'a Map<String, Value>, pointer: &str) {
        if let Some(Value::String(pattern)) = schema.get("pattern")
            && self.faults.is_empty()
            && let Err(why) = self.automata.add(pattern)
        {
            self.fail(pointer, "pattern", why);
        }
        let by_pattern = schema.get("patternProperties").and_then(Value::as_object);
        for pattern in by_pattern.into_iter().flat_map(Map::keys) {
            if self.faults.is_empty()
                && let Err(why) = self.automata.add(pattern)
            {
                self.fail(&join(pointer, "patternProperties"), pattern, why);
            }
        }
    }

    /// Finds the targets of the references of all schemas from this one on.
    fn link(&mut self, from: Id) {
        let document = self.document;
        for id in from..self.schemas.len() {
            let Some(reference) = self.schemas[id].reference.take() else { continue };
            let target = match &reference {
                Reference::Pointer(pointer) => {
                    document.pointer(pointer).map(|value| self.add(value, pointer.clone(), 0))
                }
                Reference::Anchor(name) => self.anchors.get(&**name).copied(),
            };
            match target {
                Some(target) => {
                    let schema = &mut self.schemas[id];
                    schema.target = Some(target);
                    schema.in_place.push(target);
                }
                None => {
                    let pointer = self.found[id].pointer.clone();
                    self.fail(&pointer, "$ref", "refers to nothing in this schema");
                }
            }
        }
    }

    fn fail(&mut self, pointer: &str, step: &str, why: impl Into<String>) {
        let pointer = if step.is_empty() { pointer.to_owned() } else { join(pointer, step) };
        self.faults.push(fault(pointer, why));
    }
}

/// A JSON pointer with one step more (RFC 6901).
fn join(pointer: &str, step: &str) -> String {
    format!("{pointer}/{}", step.replace('~', "~0").replace('/', "~1"))
}
