//! The topics and phrases of the squad.
//!
//! Invariant: every phrase fits every topic; `{title}`, `{place}` and `{worry}` stand for the topic's own words.

/// What a task is about.
pub struct Topic {
    /// Part of the task's id.
    pub slug: &'static str,
    /// What is to be done.
    pub title: &'static str,
    /// The part of the code.
    pub place: &'static str,
    /// What could go wrong.
    pub worry: &'static str,
    /// What the researcher finds out.
    pub finding: &'static str,
}

const fn topic(
    slug: &'static str,
    title: &'static str,
    place: &'static str,
    worry: &'static str,
    finding: &'static str,
) -> Topic {
    Topic { slug, title, place, worry, finding }
}

/// All topics.
pub const TOPICS: [Topic; 12] = [
    topic(
        "login-throttle",
        "Slow down repeated failed logins",
        "auth/throttle",
        "users behind one office address",
        "Count per account and per network, and let the stricter one win; a plain address limit locks out whole offices.",
    ),
    topic(
        "csv-import",
        "Accept spreadsheets with quoted line breaks",
        "ingest/csv",
        "files that mix line endings",
        "A quoted field may hold any line ending; only an unquoted one ends the record. Our sample of customer files has all three.",
    ),
    topic(
        "invoice-rounding",
        "Round invoice totals once, at the end",
        "billing/totals",
        "credit notes with negative lines",
        "Rounding each line drifts by up to half a cent a line. The tax office accepts one rounding per rate.",
    ),
    topic(
        "search-typos",
        "Find products in spite of typing errors",
        "search/query",
        "short names where one letter is half the word",
        "One edit for words from four letters, two from eight; below that the false hits outnumber the good ones.",
    ),
    topic(
        "photo-orient",
        "Turn uploaded photos the right way up",
        "media/resize",
        "pictures without orientation data",
        "The flag must be dropped after turning, or viewers turn the picture a second time.",
    ),
    topic(
        "night-report",
        "Make the nightly report finish before six",
        "reports/nightly",
        "the two nights when the clocks change",
        "Four fifths of the time goes into one join; sorting by branch first removes it.",
    ),
    topic(
        "map-tiles",
        "Draw the map while tiles are still loading",
        "web/map",
        "slow phones that scroll fast",
        "Keeping the parent tile on screen until its four children are there hides nearly all of the wait.",
    ),
    topic(
        "mail-bounce",
        "Stop writing to addresses that bounce",
        "mail/outbound",
        "mailboxes that are only full for a day",
        "Hard bounces count at once, soft ones after five in a row over at least three days.",
    ),
    topic(
        "cart-merge",
        "Merge the guest's cart after login",
        "shop/cart",
        "the same article in two sizes",
        "Adding amounts surprises people; keeping the larger one does not, and can be undone in one click.",
    ),
    topic(
        "audit-trail",
        "Show who changed a record and when",
        "admin/audit",
        "records that were moved between teams",
        "Storing the difference costs a tenth of storing both versions, and answers every question support asked last year.",
    ),
    topic(
        "sensor-gaps",
        "Mark missing readings in the charts",
        "charts/series",
        "sensors that send twice after a restart",
        "A gap is three missed intervals, not one: a third of our sensors skip a beat every hour.",
    ),
    topic(
        "plugin-sandbox",
        "Give plug-ins a time limit",
        "runtime/plugins",
        "plug-ins that wait for the network",
        "Limit the processor time and the waiting time separately; one limit for both punishes the slow network.",
    ),
];

/// The planner assigns the task.
pub const ASSIGNMENTS: [&str; 4] = [
    "{title}. Start in `{place}`; please think of {worry}.",
    "Next for you: {title_lower}. The code is in `{place}`. Mind {worry} — that is where the last attempt broke.",
    "Could you take this one? {title}. I would expect most of the change in `{place}`.\n\nDone means:\n- the behaviour is covered by a test\n- {worry} are covered too\n- the change log has a line",
    "{title}: small change in `{place}`, but people are waiting for it. Ask before you touch the interface.",
];
/// The coder accepts it.
pub const ACCEPTANCES: [&str; 4] = [
    "On it. First a failing test for {worry}.",
    "Taken. I know `{place}` from last week, should be quick.",
    "Yes. I will read `{place}` first and tell you if it is bigger than it looks.",
    "Started. One question will go to the researcher before I decide on the approach.",
];
/// The coder asks the researcher.
pub const QUESTIONS: [&str; 3] = [
    "How do others handle {worry}? I see two ways and like neither.",
    "Is there a rule we have to follow for `{place}`? The old code says nothing.",
    "Before I decide: do we have any figures about {worry}?",
];
/// The coder reports progress.
pub const PROGRESS: [&str; 4] = [
    "The test for {worry} fails as it should. Now the change itself.",
    "`{place}` is split in two; the part we need is forty lines.",
    "Works for the plain case. {worry_upper} are next.",
    "Half done: reading is finished, writing is not.",
];
/// The coder asks for a review.
pub const REVIEW_REQUESTS: [&str; 3] = [
    "Ready for review: `{place}`. The interesting part is how it treats {worry}.",
    "Please have a look at `{place}`. I am not happy with one name, suggestions welcome.",
    "Change is up. It is mostly tests; the code is the small part.",
];
/// The reviewer asks for changes.
pub const REMARKS: [&str; 3] = [
    "Nearly. Two things:\n1. the error for {worry} is swallowed\n2. the new function in `{place}` does two jobs\n\nThe rest is good.",
    "I would not merge this yet: with {worry} the loop runs once too often. A test for zero items shows it.",
    "Good direction. Please say in a comment why the order matters, and drop the second copy in `{place}`.",
];
/// The coder has made the changes.
pub const FIXES: [&str; 3] = [
    "Both done. The second one made the code shorter.",
    "You were right about the loop; there is a test for it now.",
    "Renamed, commented, and the copy is gone.",
];
/// The reviewer approves.
pub const APPROVALS: [&str; 3] = [
    "Approved. Clear and small, thank you.",
    "Good to go. I tried {worry} by hand and could not break it.",
    "Approved; one nit about a name, take it or leave it.",
];
/// The coder asks for tests.
pub const TEST_REQUESTS: [&str; 2] = [
    "Could you run the whole suite against `{place}`, with {worry} in particular?",
    "Reviewed and merged into the branch. Over to you.",
];
/// The planner announces the result.
pub const ANNOUNCEMENTS: [&str; 3] = [
    "{title}: done and in the next release.",
    "For all: `{place}` has changed. If you build on it, pull before you go on.",
    "One more off the list: {title_lower}. Thanks to everyone in the thread.",
];

impl Topic {
    /// The phrase about this topic.
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
        for topic in &TOPICS {
            for phrase in phrases.concat() {
                let text = topic.fill(phrase);
                assert!(!text.contains(['{', '}']), "{text}");
            }
        }
    }
}
