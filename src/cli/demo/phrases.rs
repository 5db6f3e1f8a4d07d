//! The topics and phrases of the squad.
//!
//! Invariant: every phrase fits every topic; `{title}`, `{place}` and `{worry}` are replaced with the topic's
//! texts.

use std::sync::LazyLock;

/// What a task is about.
pub struct Topic {
    /// Part of the task's id.
    pub slug: &'static str,
    /// The work to be done.
    pub title: &'static str,
    /// The part of the code that it concerns.
    pub place: &'static str,
    /// What could go wrong.
    pub worry: &'static str,
    /// What the researcher finds out.
    pub finding: &'static str,
}

/// All topics. In `topics.txt` each member of a topic is a line, and an empty line separates topics.
pub static TOPICS: LazyLock<Vec<Topic>> = LazyLock::new(|| {
    let topic = |block: &'static str| {
        let mut lines = block.lines();
        let mut line = || lines.next();
        Some(Topic {
            slug: line()?,
            title: line()?,
            place: line()?,
            worry: line()?,
            finding: line()?,
        })
    };
    include_str!("topics.txt").split("\n\n").filter_map(topic).collect()
});

/// Phrases with which the planner assigns the task.
pub const ASSIGNMENTS: [&str; 4] = [
    "{title}. Start in `{place}`; please think of {worry}.",
    "Next for you: {title_lower}. The code is in `{place}`. Mind {worry} — that is where the last attempt broke.",
    "Could you take this one? {title}. I would expect most of the change in `{place}`.\n\nDone means:\n- the behaviour is covered by a test\n- {worry} are covered too\n- the change log has a line",
    "{title}: small change in `{place}`, but people are waiting for it. Ask before you touch the interface.",
];
/// Phrases with which the coder accepts the task.
pub const ACCEPTANCES: [&str; 4] = [
    "On it. First a failing test for {worry}.",
    "Taken. I know `{place}` from last week, should be quick.",
    "Yes. I will read `{place}` first and tell you if it is bigger than it looks.",
    "Started. One question will go to the researcher before I decide on the approach.",
];
/// Phrases with which the coder asks the researcher.
pub const QUESTIONS: [&str; 3] = [
    "How do others handle {worry}? I see two ways and like neither.",
    "Is there a rule we have to follow for `{place}`? The old code says nothing.",
    "Before I decide: do we have any figures about {worry}?",
];
/// Phrases with which the coder reports progress.
pub const PROGRESS: [&str; 4] = [
    "The test for {worry} fails as it should. Now the change itself.",
    "`{place}` is split in two; the part we need is forty lines.",
    "Works for the plain case. {worry_upper} are next.",
    "Half done: reading is finished, writing is not.",
];
/// Phrases with which the coder asks for a review.
pub const REVIEW_REQUESTS: [&str; 3] = [
    "Ready for review: `{place}`. The interesting part is how it treats {worry}.",
    "Please have a look at `{place}`. I am not happy with one name, suggestions welcome.",
    "Change is up. It is mostly tests; the code is the small part.",
];
/// Phrases with which the reviewer asks for changes.
pub const REMARKS: [&str; 3] = [
    "Nearly. Two things:\n1. the error for {worry} is swallowed\n2. the new function in `{place}` does two jobs\n\nThe rest is good.",
    "I would not merge this yet: with {worry} the loop runs once too often. A test for zero items shows it.",
    "Good direction. Please say in a comment why the order matters, and drop the second copy in `{place}`.",
];
/// Phrases with which the coder reports the changes.
pub const FIXES: [&str; 3] = [
    "Both done. The second one made the code shorter.",
    "You were right about the loop; there is a test for it now.",
    "Renamed, commented, and the copy is gone.",
];
/// Phrases with which the reviewer approves.
pub const APPROVALS: [&str; 3] = [
    "Approved. Clear and small, thank you.",
    "Good to go. I tried {worry} by hand and could not break it.",
    "Approved; one nit about a name, take it or leave it.",
];
/// Phrases with which the coder asks for tests.
pub const TEST_REQUESTS: [&str; 2] = [
    "Could you run the whole suite against `{place}`, with {worry} in particular?",
    "Reviewed and merged into the branch. Over to you.",
];
/// Phrases with which the planner announces the result.
pub const ANNOUNCEMENTS: [&str; 3] = [
    "{title}: done and in the next release.",
    "For all: `{place}` has changed. If you build on it, pull before you go on.",
    "One more off the list: {title_lower}. Thanks to everyone in the thread.",
];

impl Topic {
    /// The phrase with this topic's texts filled in.
    pub fn fill(&self, phrase: &str) -> String {
        phrase
            .replace("{title}", self.title)
            .replace("{title_lower}", &with_first(self.title, char::to_ascii_lowercase))
            .replace("{place}", self.place)
            .replace("{worry}", self.worry)
            .replace("{worry_upper}", &with_first(self.worry, char::to_ascii_uppercase))
    }
}

fn with_first(text: &str, change: impl Fn(&char) -> char) -> String {
    let mut letters = text.chars();
    letters.next().iter().map(change).chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_placeholder_is_left() {
        let phrases = [
            &ASSIGNMENTS[..],
            &ACCEPTANCES,
            &QUESTIONS,
            &PROGRESS,
            &REVIEW_REQUESTS,
            &REMARKS,
            &FIXES,
            &APPROVALS,
            &TEST_REQUESTS,
            &ANNOUNCEMENTS,
        ];
        assert_eq!(TOPICS.len(), 12);
        for topic in &*TOPICS {
            for phrase in phrases.concat() {
                let text = topic.fill(phrase);
                assert!(!text.contains(['{', '}']), "{text}");
            }
        }
    }
}
