//! Whether the patterns of a scope and of a filter have a subject in common.

use crate::message::{Filter, Scope, SubjectPattern};

/// Whether the scope has no row that the filter accepts, as their patterns show.
pub(super) fn is_disjoint(scope: &Scope, filter: &Filter) -> bool {
    scope.names.is_empty() && meeting(scope, filter).next().is_none()
}

/// The patterns of the scope that some subject matches which the filter accepts.
pub(super) fn meeting<'a>(
    scope: &'a Scope,
    filter: &'a Filter,
) -> impl Iterator<Item = &'a SubjectPattern> + 'a {
    let meets = |pattern: &&SubjectPattern| {
        filter.subjects.is_empty() || filter.subjects.iter().any(|other| meet(pattern, other))
    };
    scope.subjects.iter().filter(meets)
}

/// Whether some subject matches both patterns.
fn meet(a: &SubjectPattern, b: &SubjectPattern) -> bool {
    let (mut a, mut b) = (a.tokens(), b.tokens());
    loop {
        match (a.next(), b.next()) {
            (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(one), Some(other)) if one == "*" || other == "*" || one == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn patterns_meet_that_a_subject_matches(
            mut a in proptest::collection::vec("[ab*]", 1..4),
            mut b in proptest::collection::vec("[ab*]", 1..4),
            tails in any::<[bool; 2]>(),
        ) {
            for (tokens, has_tail) in [(&mut a, tails[0]), (&mut b, tails[1])] {
                if has_tail {
                    tokens.push(">".to_owned());
                }
            }
            let parse = |tokens: &[String]| tokens.join(".").parse::<SubjectPattern>();
            let (a, b) = (parse(&a).expect("valid"), parse(&b).expect("valid"));
            let mut subjects = vec![String::new()];
            let mut found = false;
            for _ in 0..5 {
                subjects = subjects.iter().flat_map(|s| ["a", "b"].map(|t| format!("{s}{t}."))).collect();
                let mut each = subjects.iter().map(|s| &s[..s.len() - 1]);
                found |= each.any(|s| a.matches(s) && b.matches(s));
            }
            prop_assert_eq!(meet(&a, &b), found, "{} and {}", a, b);
        }
    }
}
