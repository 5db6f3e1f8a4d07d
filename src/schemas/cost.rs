//! What checking a message against a schema can cost, in units (see [`crate::limits`]).
//!
//! A value is looked at once for each way that leads to it: `allOf` with two references to one schema looks twice, and so
//! on at each level of a recursive schema. So for each depth of a message the analysis computes how much one value at
//! that depth can cost: the sum over all ways, and the most over all names and positions. With the numbers of values and
//! bytes at each depth ([`Shape`]) that bounds the cost of the message. It is an upper bound for a checker that remembers
//! nothing and tries every branch.

use std::collections::{BTreeMap, BTreeSet};

use super::fault::fault;
use super::graph::Graph;
use super::shape::{DEPTHS, Shape};
use super::subschema::{Id, Subschema};
use crate::limits::{
    CHECK_UNITS, CHECK_UNITS_PER_BYTE, KEYWORD_UNITS, MAX_COMPILED_SCHEMAS, MAX_IN_PLACE_DEPTH,
    MAX_SCHEMA_PAIRS, UNEVALUATED_LOOKS,
};
use crate::message::FieldError;

/// A small message, which every schema must be able to check: so many levels with a value each, and so many bytes.
const SMALL: (usize, u64) = (5, 64);

/// What one value at some depth can cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Units {
    /// For the value itself.
    each: u64,
    /// For each byte of it, if it is a string, and of its name.
    byte: u64,
    /// For each byte of the whole message.
    whole: u64,
}

/// The most that one value can cost, by its depth.
#[derive(Clone, Debug)]
pub(super) struct Cost {
    by_depth: Vec<Units>,
}

/// How often schemas look at a value.
type Looks = BTreeMap<Id, u64>;

impl Units {
    fn add(&mut self, other: Self, times: u64) {
        let sum = |a: u64, b: u64| a.saturating_add(b.saturating_mul(times));
        self.each = sum(self.each, other.each);
        self.byte = sum(self.byte, other.byte);
        self.whole = sum(self.whole, other.whole);
    }

    fn most(self, other: Self) -> Self {
        Self {
            each: self.each.max(other.each),
            byte: self.byte.max(other.byte),
            whole: self.whole.max(other.whole),
        }
    }

    fn of(self, values: u64, bytes: u64, whole: u64) -> u64 {
        let parts = [(self.each, values), (self.byte, bytes), (self.whole, whole)];
        parts
            .iter()
            .fold(0, |sum: u64, (units, times)| sum.saturating_add(units.saturating_mul(*times)))
    }
}

impl Cost {
    /// Analyses a schema.
    ///
    /// # Errors
    /// The schema could be slow: to compile, or to check even small messages with.
    pub(super) fn of(graph: &Graph) -> Result<Self, FieldError> {
        let mut analysis = Analysis { schemas: &graph.schemas, pairs: 0 };
        let in_place = analysis.all_in_place()?;
        if analysis.compiled() > MAX_COMPILED_SCHEMAS {
            let detail = "has too many unevaluatedProperties or unevaluatedItems inside each other";
            return Err(fault(String::new(), detail));
        }
        let below = analysis.all_below(&in_place)?;
        let cost = Self::by_depth(&analysis.own(&in_place), &below);
        let (depth, bytes) = SMALL;
        let small = cost.by_depth[..depth].iter().map(|units| units.of(1, bytes, bytes));
        if small.fold(0, u64::saturating_add) > CHECK_UNITS {
            return Err(fault(
                String::new(),
                "takes too long to check messages with: its references or branches multiply",
            ));
        }
        Ok(cost)
    }

    fn by_depth(own: &[(Units, Units)], below: &[Vec<Looks>]) -> Self {
        let mut here: Vec<Units> = own.iter().map(|(own, _)| *own).collect();
        let mut by_depth = vec![here[0]];
        for depth in 1..DEPTHS {
            let deeper = |id: Id| {
                let looks = below[id].iter().map(|looks| {
                    let mut units = if depth == 1 { own[id].1 } else { Units::default() };
                    looks.iter().for_each(|(child, times)| units.add(here[*child], *times));
                    units
                });
                looks.fold(Units::default(), Units::most)
            };
            here = (0..own.len()).map(deeper).collect();
            by_depth.push(here[0]);
        }
        Self { by_depth }
    }

    /// The most that checking a message of this shape can cost.
    pub(super) fn of_shape(&self, shape: &Shape) -> u64 {
        let units = self.by_depth.iter().zip(&shape.levels);
        let units = units.map(|(units, level)| units.of(level.values, level.bytes, shape.bytes));
        units.fold(0, u64::saturating_add)
    }

    /// The most that checking a message of so many bytes may cost.
    pub(super) fn allowed(bytes: u64) -> u64 {
        CHECK_UNITS + CHECK_UNITS_PER_BYTE * bytes
    }
}

struct Analysis<'a> {
    schemas: &'a [Subschema],
    pairs: usize,
}

impl Analysis<'_> {
    fn count(&mut self, pairs: usize) -> Result<(), FieldError> {
        self.pairs += pairs;
        match self.pairs <= MAX_SCHEMA_PAIRS {
            true => Ok(()),
            false => Err(fault(String::new(), "has too many schemas that apply to one value")),
        }
    }

    /// For each schema, which schemas look at the same value, itself too, and how often.
    fn all_in_place(&mut self) -> Result<Vec<Looks>, FieldError> {
        let mut known: Vec<Option<(Looks, usize)>> = vec![None; self.schemas.len()];
        for id in 0..self.schemas.len() {
            self.in_place(id, MAX_IN_PLACE_DEPTH, &mut known)?;
        }
        Ok(known.into_iter().map(|looks| looks.unwrap_or_default().0).collect())
    }

    /// Finds which schemas look at the value of one, and how deep they lead to each other.
    fn in_place(
        &mut self,
        id: Id,
        left: usize,
        known: &mut [Option<(Looks, usize)>],
    ) -> Result<usize, FieldError> {
        let too_deep = || {
            let detail = format!(
                "has a $ref, or schemas inside each other, that lead to more than \
                 {MAX_IN_PLACE_DEPTH} schemas, or back to themselves, without going deeper into the message"
            );
            Err(fault(String::new(), detail))
        };
        if let Some((_, depth)) = &known[id] {
            return if *depth > left { too_deep() } else { Ok(*depth) };
        }
        let schema = &self.schemas[id];
        let times = if schema.is_unevaluated { UNEVALUATED_LOOKS } else { 1 };
        let (mut looks, mut depth) = (Looks::from([(id, 1)]), 0);
        for next in &schema.in_place {
            let Some(left) = left.checked_sub(1) else { return too_deep() };
            depth = depth.max(1 + self.in_place(*next, left, known)?);
            let inner = known[*next].as_ref().map(|(looks, _)| looks).into_iter().flatten();
            for (inner, count) in inner {
                let sum = looks.entry(*inner).or_default();
                *sum = sum.saturating_add(count.saturating_mul(times));
            }
        }
        self.count(looks.len())?;
        known[id] = Some((looks, depth));
        Ok(depth)
    }

    /// For each schema, what it costs at a value, and what more at each member of the value.
    fn own(&self, in_place: &[Looks]) -> Vec<(Units, Units)> {
        let units = |looks: &Looks| {
            let (mut here, mut below) = (Units::default(), Units::default());
            for (id, times) in looks {
                let schema = &self.schemas[*id];
                let whole = if schema.is_unique { 16 } else { 0 };
                let own = Units { each: schema.units, byte: schema.units_per_byte, whole };
                here.add(own, *times);
                let patterns = schema.name_patterns;
                let each = KEYWORD_UNITS * (1 + patterns);
                below.add(Units { each, byte: patterns + 1, whole: 0 }, *times);
            }
            (here, below)
        };
        in_place.iter().map(units).collect()
    }

    /// For each schema and each kind of member or item that it tells apart, which schemas look at that, and how often.
    fn all_below(&mut self, in_place: &[Looks]) -> Result<Vec<Vec<Looks>>, FieldError> {
        in_place.iter().map(|looks| self.below(looks)).collect()
    }

    fn below(&mut self, looks: &Looks) -> Result<Vec<Looks>, FieldError> {
        let schemas = self.schemas;
        let beside: Vec<(&Subschema, u64)> =
            looks.iter().map(|(id, times)| (&schemas[*id], *times)).collect();
        let names: BTreeSet<&str> = beside
            .iter()
            .flat_map(|(schema, _)| schema.members.keys().map(String::as_str))
            .collect();
        let first = beside.iter().map(|(schema, _)| schema.first_items.len()).max().unwrap_or(0);
        self.count((names.len() + first + 2).saturating_mul(beside.len()))?;
        let of_name = |name: Option<&str>| {
            sum(&beside, |schema| {
                let named = name.and_then(|name| schema.members.get(name));
                let others = if named.is_none() { &schema.other_members[..] } else { &[] };
                named.into_iter().chain(others).chain(&schema.any_member).copied().collect()
            })
        };
        let of_item = |at: usize| {
            sum(&beside, |schema| {
                let own = schema.first_items.get(at);
                let others = if own.is_none() { &schema.other_items[..] } else { &[] };
                own.into_iter().chain(others).chain(&schema.any_item).copied().collect()
            })
        };
        let members = names.into_iter().map(Some).chain([None]).map(of_name);
        let all: Vec<Looks> = members.chain((0..=first).map(of_item)).collect();
        self.count(all.iter().map(Looks::len).sum())?;
        Ok(all)
    }

    /// How many schemas are compiled at most: `unevaluatedProperties` has what is beside it compiled again.
    fn compiled(&self) -> u64 {
        let mut known = vec![[None; 2]; self.schemas.len()];
        let once = (0..self.schemas.len()).map(|id| self.compiled_at(id, false, &mut known));
        once.fold(0, u64::saturating_add)
    }

    /// How many schemas are compiled for one; `again`: for one that is beside `unevaluatedProperties`.
    fn compiled_at(&self, id: Id, again: bool, known: &mut [[Option<u64>; 2]]) -> u64 {
        if let Some(known) = known[id][usize::from(again)] {
            return known;
        }
        // One that is being compiled is not compiled again.
        known[id][usize::from(again)] = Some(1);
        let schema = &self.schemas[id];
        let slot = usize::from(again);
        let again = again || schema.is_unevaluated;
        let mut sum: u64 = 1;
        let (times, beside) = if again { (3, &schema.in_place[..]) } else { (1, &[][..]) };
        for next in beside {
            sum = sum.saturating_add(self.compiled_at(*next, true, known).saturating_mul(times));
        }
        for next in schema.inline() {
            sum = sum.saturating_add(self.compiled_at(next, false, known).saturating_mul(times));
        }
        known[id][slot] = Some(sum);
        sum
    }
}

/// How often the schemas that `below` names look at a member or item.
fn sum(beside: &[(&Subschema, u64)], below: impl Fn(&Subschema) -> Vec<Id>) -> Looks {
    let mut looks = Looks::new();
    for (schema, times) in beside {
        for id in below(schema) {
            let sum = looks.entry(id).or_default();
            *sum = sum.saturating_add(*times);
        }
    }
    looks
}
