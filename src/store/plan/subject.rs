//! Subject patterns as SQL.
//!
//! Invariant: the SQL accepts a row exactly if [`SubjectPattern::matches`] accepts its subject. A row's
//! subject is derived from its columns (contract, section 2), so a pattern is a condition on columns. A row
//! with another subject is *odd*: an index finds it by one token of its subject, and the other tokens are
//! tested one by one.
//!
//! [`SubjectPattern::matches`]: crate::message::SubjectPattern::matches

use super::branch::{self, Branch, Name, Rarity};
use super::writer::{Writer, kinds_condition};
use crate::message::{Kind, SubjectPattern, Token};
use crate::store::sql::Dialect;

/// The indices of odd rows by one token: the token's number from 0, and the index. Typically rarer tokens
/// come first.
const BY_TOKEN: [(usize, &str); 3] =
    [(2, "messages_odd_key"), (3, "messages_odd_type"), (1, "messages_odd_kind")];

/// How many characters of a token PostgreSQL's indices hold. A token by another NATS client may be larger
/// than an index entry may be.
const INDEXED_CHARS: usize = 64;

/// The patterns of a filter or of a scope, and what they require of rows that are not odd.
pub(super) struct Subjects<'a> {
    /// The name that has the patterns.
    name: Name,
    patterns: Vec<&'a SubjectPattern>,
    shapes: Vec<Shape<'a>>,
}

/// What one pattern requires of the columns of a row that is not odd.
struct Shape<'a> {
    kinds: Vec<Kind>,
    /// The third token of the subject: the role, sender or task, by kind.
    key: Option<&'a str>,
    type_: Option<&'a str>,
}

impl<'a> Shape<'a> {
    /// `None` if the pattern matches no subject that agentbus derives.
    fn of(pattern: &'a SubjectPattern) -> Option<Self> {
        let mut tokens: Vec<&str> = pattern.tokens().collect();
        if tokens.last() == Some(&">") && tokens.len() <= 4 {
            tokens.pop();
            tokens.resize(4, "*");
        }
        let &[root, kind, key, type_] = &tokens[..] else { return None };
        let name = |text: &'a str| match text {
            "*" => Some(None),
            _ => text.parse::<Token>().is_ok().then_some(Some(text)),
        };
        matches!(root, "agent" | "*").then_some(())?;
        let kinds = if kind == "*" { Kind::ALL.to_vec() } else { vec![kind.parse().ok()?] };
        Some(Self { kinds, key: name(key)?, type_: name(type_)? })
    }

    fn rarity(&self) -> Rarity {
        match (self.key, self.type_) {
            (Some(_), _) => Rarity::Key,
            (None, Some(_)) => Rarity::Type,
            (None, None) if self.kinds.len() < Kind::ALL.len() => Rarity::Kind,
            (None, None) => Rarity::Any,
        }
    }

    /// The condition on columns, for rows that another index finds.
    fn condition(&self, w: &mut Writer<'_>) -> String {
        let mut parts = vec![match self.key {
            Some(key) => {
                let value = w.text(key);
                let by_kind: Vec<String> =
                    self.kinds.iter().map(|kind| keyed(*kind, &value)).collect();
                format!("({})", by_kind.join(" OR "))
            }
            None => kinds_condition(&self.kinds),
        }];
        parts.extend(self.type_.map(|type_| format!("type = {}", w.text(type_))));
        format!("({})", parts.join(" AND "))
    }

    fn branches(&self, name: Name, w: &mut Writer<'_>) -> Vec<Branch> {
        let type_ = self.type_.map(|type_| w.text(type_));
        let branches = match (self.key, &type_) {
            (Some(key), _) => {
                let key = w.text(key);
                let branch = |kind: &Kind| keyed_branch(*kind, &key, type_.as_deref(), w.dialect);
                self.kinds.iter().map(branch).collect()
            }
            (None, Some(type_)) => branch::of_type(type_, &self.kinds, &[], w),
            (None, None) if self.rarity() < Rarity::Any => branch::kinds(&self.kinds),
            (None, None) => vec![Branch::everything()],
        };
        let not_odd = format!("(({}) IS NOT TRUE)", w.is_odd());
        branches
            .into_iter()
            .map(|branch| Branch {
                answers: branch.answers.with(name),
                ..branch.and(not_odd.clone())
            })
            .collect()
    }
}

/// The condition that a row has this kind, and this third token in its subject.
fn keyed(kind: Kind, value: &str) -> String {
    let column = match kind {
        Kind::Message => "sender_role",
        Kind::Status => "sender_id",
        Kind::Task => "task_id",
    };
    format!("(kind = '{}' AND {column} = {value})", kind.as_str())
}

fn keyed_branch(kind: Kind, key: &str, type_: Option<&str>, dialect: Dialect) -> Branch {
    let (index, condition) = match (kind, type_, dialect) {
        (Kind::Message, ..) => {
            ("messages_role", format!("sender_role = {key} AND kind = 'message'"))
        }
        (Kind::Status, _, Dialect::Sqlite) => ("messages_sender", format!("sender_id = {key}")),
        (Kind::Status, Some(type_), Dialect::Postgres) => {
            ("messages_sender_type", format!("sender_id = {key} AND type = {type_}"))
        }
        (Kind::Status, None, Dialect::Postgres) => {
            ("messages_sender_kind", format!("sender_id = {key} AND kind = 'status'"))
        }
        (Kind::Task, ..) => ("messages_task", format!("task_id = {key}")),
    };
    // In some branches the index answers this already. To test it again costs nothing.
    let branch =
        Branch::new(index, condition, &[]).and(format!("((kind = '{}') IS TRUE)", kind.as_str()));
    match type_ {
        Some(type_) => branch.and(format!("((type = {type_}) IS TRUE)")),
        None => branch,
    }
}

impl<'a> Subjects<'a> {
    /// The patterns that `name` has, for rows of some kinds; without kinds, for rows of all.
    pub(super) fn of(name: Name, patterns: Vec<&'a SubjectPattern>, kinds: &[Kind]) -> Self {
        let wanted = |kind: &Kind| kinds.is_empty() || kinds.contains(kind);
        let narrowed = |mut shape: Shape<'a>| {
            shape.kinds.retain(wanted);
            (!shape.kinds.is_empty()).then_some(shape)
        };
        let shapes = patterns.iter().copied().filter_map(Shape::of).filter_map(narrowed).collect();
        Self { name, patterns, shapes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether every pattern names a role, a sender or a task.
    pub(super) fn all_keyed(&self) -> bool {
        !self.is_empty() && self.rarity() == Rarity::Key
    }

    /// Whether every pattern restricts the columns.
    pub(super) fn all_narrow(&self) -> bool {
        !self.is_empty() && self.rarity() < Rarity::Any
    }

    /// How rare the rows of the least rare pattern are. Odd rows are rare.
    pub(super) fn rarity(&self) -> Rarity {
        self.shapes.iter().map(Shape::rarity).max().unwrap_or(Rarity::Key)
    }

    /// Branches that together find exactly the rows that one of the patterns matches. A row may be in
    /// several.
    pub(super) fn branches(&self, w: &mut Writer<'_>) -> Vec<Branch> {
        let mut branches: Vec<Branch> =
            self.shapes.iter().flat_map(|shape| shape.branches(self.name, w)).collect();
        branches.extend(self.odd_branches(w));
        branches
    }

    /// The branches for odd rows. Patterns that name the same token share a branch.
    fn odd_branches(&self, w: &mut Writer<'_>) -> Vec<Branch> {
        let mut branches: Vec<(Branch, Vec<String>)> = Vec::new();
        for pattern in &self.patterns {
            let branch = odd_branch(pattern, self.name, w);
            let test = token_by_token(pattern, w);
            match branches.iter_mut().find(|(known, _)| known.conditions == branch.conditions) {
                Some((_, tests)) => tests.push(test),
                None => branches.push((branch, vec![test])),
            }
        }
        let tested = |(branch, tests): (Branch, Vec<String>)| {
            branch.and(format!("(({}) IS TRUE)", tests.join(" OR ")))
        };
        branches.into_iter().map(tested).collect()
    }

    /// The test whether one of the patterns matches; `None` if there are no patterns.
    pub(super) fn condition(&self, w: &mut Writer<'_>) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let odd = w.is_odd();
        let odd_rows = format!("({odd} AND ({}))", self.odd_condition(w));
        let shapes: Vec<String> = self.shapes.iter().map(|shape| shape.condition(w)).collect();
        if shapes.is_empty() {
            return Some(odd_rows);
        }
        Some(format!("({odd_rows} OR (({odd}) IS NOT TRUE AND ({})))", shapes.join(" OR ")))
    }

    fn odd_condition(&self, w: &mut Writer<'_>) -> String {
        let tests: Vec<String> = self.patterns.iter().map(|p| token_by_token(p, w)).collect();
        tests.join(" OR ")
    }
}

/// The branch for odd rows: by the rarest token that the pattern names, or all odd rows if it names none.
fn odd_branch(pattern: &SubjectPattern, name: Name, w: &mut Writer<'_>) -> Branch {
    let tokens: Vec<&str> = pattern.tokens().collect();
    let named = |number: usize| tokens.get(number).filter(|token| !matches!(**token, "*" | ">"));
    let by_token =
        BY_TOKEN.iter().find_map(|(number, index)| Some((*number, *index, named(*number)?)));
    let (index, condition) = match by_token {
        Some((number, index, token)) => (index, w.odd_with(number, token)),
        None => ("messages_odd", w.is_odd().to_owned()),
    };
    Branch::new(index, condition, &[name])
}

/// The test of a row's subject itself, token by token, by NATS's rules of matching.
fn token_by_token(pattern: &SubjectPattern, w: &mut Writer<'_>) -> String {
    let tokens: Vec<&str> = pattern.tokens().collect();
    let operator = if tokens.last() == Some(&">") { ">=" } else { "=" };
    let mut parts = vec![format!("{} {operator} {}", w.token_count(), tokens.len())];
    for (index, token) in tokens.iter().enumerate() {
        if !matches!(*token, "*" | ">") {
            parts.push(format!("{} = {}", w.token_at(index), w.text(token)));
        }
    }
    format!("({})", parts.join(" AND "))
}

impl Writer<'_> {
    fn is_odd(&self) -> &'static str {
        match self.dialect {
            Dialect::Postgres => "odd",
            Dialect::Sqlite => "odd IS NOT NULL",
        }
    }

    /// The condition that a row is odd and has this token, in the form of the indices of [`BY_TOKEN`]. In
    /// PostgreSQL it does not test `odd` by itself, since the planner could then walk all odd rows.
    fn odd_with(&mut self, index: usize, token: &str) -> String {
        let at = self.token_at(index);
        match self.dialect {
            Dialect::Postgres => {
                let start: String = token.chars().take(INDEXED_CHARS).collect();
                let start = self.text(&start);
                format!("CASE WHEN odd THEN left({at}, {INDEXED_CHARS}) END = {start}")
            }
            Dialect::Sqlite => format!("odd IS NOT NULL AND {at} = {}", self.text(token)),
        }
    }

    fn token_count(&self) -> &'static str {
        match self.dialect {
            Dialect::Postgres => {
                "octet_length(subject) - octet_length(replace(subject, '.', '')) + 1"
            }
            Dialect::Sqlite => "json_array_length(odd)",
        }
    }

    fn token_at(&self, index: usize) -> String {
        match self.dialect {
            Dialect::Postgres => format!("split_part(subject, '.', {})", index + 1),
            Dialect::Sqlite => format!("odd ->> '$[{index}]'"),
        }
    }
}
