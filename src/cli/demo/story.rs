//! The story of a task: what each member does, in order.
//!
//! Invariant: a story begins with its task's `created` and has exactly one event that ends it.

use fastrand::Rng;
use serde_json::{Value, json};

use super::phrases::{
    ACCEPTANCES, ANNOUNCEMENTS, APPROVALS, ASSIGNMENTS, FIXES, PROGRESS, QUESTIONS, REMARKS,
    REVIEW_REQUESTS, TEST_REQUESTS, Topic,
};

/// The members whose roles differ from story to story.
#[derive(Clone, Copy)]
pub struct Cast {
    /// The coder.
    pub coder: &'static str,
}

/// One message of a story.
pub struct Step {
    /// The sender.
    pub by: &'static str,
    /// The type.
    pub type_: &'static str,
    /// The kind.
    pub what: What,
    /// The content.
    pub content: String,
    /// The metadata.
    pub metadata: Value,
}

/// The kind of a step.
#[derive(Clone, Copy)]
pub enum What {
    /// A status.
    Status,
    /// A task event.
    Task,
    /// A message.
    Say {
        /// The recipient; `None` is a broadcast.
        to: Option<&'static str>,
        /// Whether the message is a reply to the story's last message.
        reply: bool,
    },
}

struct Writer<'a> {
    topic: &'a Topic,
    rng: &'a mut Rng,
    steps: Vec<Step>,
}

/// Makes a story about the topic.
pub fn story(topic: &Topic, cast: Cast, rng: &mut Rng) -> Vec<Step> {
    let coder = cast.coder;
    let mut writer = Writer { topic, rng, steps: Vec::new() };
    writer.assign(coder);
    if writer.rng.u8(..) < 120 {
        writer.ask(coder);
    }
    for part in 1..=writer.rng.usize(1..=3) {
        let percent = part * 25 - writer.rng.usize(0..8);
        let content = writer.phrase(&PROGRESS);
        writer.task(coder, "progress", content, json!({"percent": percent}));
    }
    if writer.rng.u8(..) < 14 {
        let why =
            format!("{} is no longer needed: the customer has another solution.", topic.title);
        writer.task("planner", "cancelled", why, json!({"reason": "obsolete"}));
    } else {
        writer.review(coder);
        writer.test(coder);
    }
    writer.status(coder, "idle", "");
    writer.steps
}

impl Writer<'_> {
    fn assign(&mut self, coder: &'static str) {
        let priority = ["low", "normal", "normal", "high"][self.rng.usize(..4)];
        let details = json!({"priority": priority, "estimate_min": self.rng.u32(2..25) * 5, "component": self.topic.place});
        self.task("planner", "created", self.topic.title.to_owned(), details);
        self.say("planner", Some(coder), "task_assignment", &ASSIGNMENTS, false);
        self.say(coder, Some("planner"), "acknowledgement", &ACCEPTANCES, true);
        self.status(coder, "busy", self.topic.title);
    }

    fn ask(&mut self, coder: &'static str) {
        self.say(coder, Some("researcher"), "question", &QUESTIONS, false);
        self.status("researcher", "busy", "reading");
        self.say("researcher", Some(coder), "answer", &[self.topic.finding], true);
        self.status("researcher", "idle", "");
    }

    fn review(&mut self, coder: &'static str) {
        self.say(coder, Some("reviewer"), "review_request", &REVIEW_REQUESTS, false);
        self.status("reviewer", "busy", self.topic.place);
        for _ in 0..self.rng.usize(0..=2) {
            self.say("reviewer", Some(coder), "review_remarks", &REMARKS, true);
            self.say(coder, Some("reviewer"), "review_request", &FIXES, true);
        }
        self.say("reviewer", Some(coder), "review_approved", &APPROVALS, true);
        self.status("reviewer", "idle", "");
        self.task(coder, "progress", "Reviewed.".to_owned(), json!({"percent": 80}));
    }

    fn test(&mut self, coder: &'static str) {
        let total = self.rng.u32(40..400);
        self.say(coder, Some("tester"), "test_request", &TEST_REQUESTS, false);
        self.status("tester", "busy", "running the suite");
        let mut attempts = 1;
        while attempts < 4 && self.rng.u8(..) < 64 {
            attempts += 1;
            let broken = self.rng.u32(1..4);
            self.report(coder, total, broken);
            self.say(coder, Some("tester"), "test_request", &FIXES, true);
        }
        let hopeless = attempts == 4 || self.rng.u8(..) < 12;
        let broken = if hopeless { self.rng.u32(1..9) } else { 0 };
        self.report(coder, total, broken);
        self.status("tester", "idle", "");
        let figures = json!({"attempts": attempts, "tests": total, "broken": broken});
        if hopeless {
            let why = format!(
                "Given up for now: the tests with {} keep failing. Needs another plan.",
                self.topic.worry
            );
            self.task("planner", "failed", why, figures);
        } else {
            self.say("planner", None, "announcement", &ANNOUNCEMENTS, false);
            self.say(
                "writer",
                Some("planner"),
                "note",
                &["Written down in the change log and in the guide."],
                false,
            );
            self.task("planner", "completed", format!("{}: done.", self.topic.title), figures);
        }
    }

    fn report(&mut self, coder: &'static str, total: u32, broken: u32) {
        let good = total - broken;
        let (type_, content) = if broken == 0 {
            ("test_passed", format!("All {total} tests pass, those with {} too.", self.topic.worry))
        } else {
            let place = self.topic.place.replace('/', "::");
            let text = format!(
                "{good} of {total} pass.\n\n```\nFAILED {place}::holds_with_odd_input\n  expected 3 records, got 2\n```\n\nIt needs {} to show.",
                self.topic.worry
            );
            ("test_failed", text)
        };
        let what = What::Say { to: Some(coder), reply: true };
        let metadata =
            json!({"passed": good, "failed": broken, "duration_s": f64::from(total) / 8.0});
        self.steps.push(Step { by: "tester", type_, what, content, metadata });
    }

    fn say(
        &mut self,
        by: &'static str,
        to: Option<&'static str>,
        type_: &'static str,
        phrases: &[&str],
        reply: bool,
    ) {
        let content = self.phrase(phrases);
        self.steps.push(Step {
            by,
            type_,
            what: What::Say { to, reply },
            content,
            metadata: json!({}),
        });
    }

    fn task(&mut self, by: &'static str, type_: &'static str, content: String, metadata: Value) {
        self.steps.push(Step { by, type_, what: What::Task, content, metadata });
    }

    fn status(&mut self, by: &'static str, type_: &'static str, content: &str) {
        let content = content.to_owned();
        self.steps.push(Step { by, type_, what: What::Status, content, metadata: json!({}) });
    }

    fn phrase(&mut self, phrases: &[&str]) -> String {
        self.topic.fill(phrases[self.rng.usize(..phrases.len())])
    }
}
