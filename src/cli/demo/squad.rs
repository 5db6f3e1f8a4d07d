//! The members of the squad and the tasks that they work on.
//!
//! Invariant: no I/O; the events of one task come in the order of its story, however stories are interleaved.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::phrases::TOPICS;
use super::story::{Cast, Step, What, story};

/// Name and role of each member.
const MEMBERS: [(&str, &str); 8] = [
    ("planner", "planner"),
    ("coder-ada", "coder"),
    ("coder-lin", "coder"),
    ("coder-kay", "coder"),
    ("reviewer", "reviewer"),
    ("tester", "tester"),
    ("researcher", "researcher"),
    ("writer", "writer"),
];
const CODERS: [&str; 3] = ["coder-ada", "coder-lin", "coder-kay"];
/// Time to live of a status, in seconds, for the case that the squad is killed.
const TTL_S: u64 = 300;
/// How often a status is repeated: well before it lapses.
const REFRESH: Duration = Duration::from_secs(TTL_S / 3);

/// The whole squad.
pub struct Squad {
    rng: fastrand::Rng,
    run: String,
    members: Vec<Member>,
    stories: Vec<Story>,
    started: u64,
    ended: u64,
    wanted: Option<u64>,
}

struct Member {
    name: &'static str,
    role: &'static str,
    status: &'static str,
    /// When the member's status was last published.
    published: Option<Instant>,
}

struct Story {
    task: String,
    coder: &'static str,
    steps: VecDeque<Step>,
    last_message: Option<Uuid>,
}

/// Makes an id for each message.
pub type Ids<'a> = &'a mut dyn FnMut() -> Uuid;

impl Squad {
    /// A squad that plays the stories of `seed`. `run` is part of the task ids.
    pub fn new(seed: u64, run: &str, wanted: Option<u64>) -> Self {
        let member = |(name, role)| Member { name, role, status: "online", published: None };
        Self {
            rng: fastrand::Rng::with_seed(seed),
            run: run.to_owned(),
            members: MEMBERS.map(member).into(),
            stories: Vec::new(),
            started: 0,
            ended: 0,
            wanted,
        }
    }

    /// How many tasks have ended.
    pub fn tasks_ended(&self) -> u64 {
        self.ended
    }

    /// How many tasks are in progress.
    pub fn tasks_open(&self) -> usize {
        self.stories.len()
    }

    /// The next message; `None` when every wanted task is done.
    pub fn next(&mut self, now: Instant, ids: Ids<'_>) -> Option<Vec<u8>> {
        let may_start = self.wanted.is_none_or(|wanted| self.started < wanted);
        let is_coder_free = self.stories.len() < CODERS.len();
        if may_start && is_coder_free && (self.stories.is_empty() || self.rng.u8(..) < 24) {
            self.start();
        }
        if self.stories.is_empty() {
            return None;
        }
        let at = self.rng.usize(..self.stories.len());
        let step = self.stories[at].steps.pop_front()?;
        let message = self.message(at, &step, now, ids());
        if self.stories[at].steps.is_empty() {
            self.stories.remove(at);
            self.ended += 1;
        }
        Some(message)
    }

    /// The statuses that were never published or lapse soon.
    pub fn heartbeats(&mut self, now: Instant, ids: Ids<'_>) -> Vec<Vec<u8>> {
        let lapsing = |member: &&mut Member| {
            member.published.is_none_or(|at| now.duration_since(at) >= REFRESH)
        };
        self.members
            .iter_mut()
            .filter(lapsing)
            .map(|member| {
                member.published = Some(now);
                status(member, "", ids())
            })
            .collect()
    }

    /// An offline status of every member that has a status.
    pub fn farewell(&mut self, ids: Ids<'_>) -> Vec<Vec<u8>> {
        let members = self.members.iter_mut().filter(|member| member.published.is_some());
        members
            .map(|member| {
                member.status = "offline";
                status(member, "", ids())
            })
            .collect()
    }

    fn start(&mut self) {
        let busy: Vec<&str> = self.stories.iter().map(|story| story.coder).collect();
        let free: Vec<&'static str> =
            CODERS.into_iter().filter(|coder| !busy.contains(coder)).collect();
        let Some(coder) = self.rng.choice(free) else {
            return;
        };
        self.started += 1;
        let topic = &TOPICS[self.rng.usize(..TOPICS.len())];
        let task = format!("{}-{}-{}", topic.slug, self.run, self.started);
        let steps = story(topic, Cast { coder }, &mut self.rng);
        self.stories.push(Story { task, coder, steps: steps.into(), last_message: None });
    }

    fn message(&mut self, at: usize, step: &Step, now: Instant, id: Uuid) -> Vec<u8> {
        let story = &mut self.stories[at];
        let Some(member) = self.members.iter_mut().find(|member| member.name == step.by) else {
            return Vec::new();
        };
        let mut envelope = serde_json::json!({
            "id": id, "type": step.type_, "sender_id": step.by, "sender_role": member.role,
            "task_id": story.task, "content": step.content, "metadata": step.metadata,
        });
        match step.what {
            What::Status => {
                member.status = step.type_;
                member.published = Some(now);
                return status(member, &step.content, id);
            }
            What::Task => envelope["kind"] = "task".into(),
            What::Say { to, reply } => {
                envelope["kind"] = "message".into();
                envelope["conversation_id"] = format!("{}-talk", story.task).into();
                if let Some(to) = to {
                    envelope["recipient_id"] = to.into();
                }
                if let (true, Some(answered)) = (reply, story.last_message) {
                    envelope["in_reply_to"] = answered.to_string().into();
                }
                story.last_message = Some(id);
            }
        }
        envelope.to_string().into_bytes()
    }
}

fn status(member: &Member, content: &str, id: Uuid) -> Vec<u8> {
    let envelope = serde_json::json!({
        "id": id, "kind": "status", "type": member.status, "sender_id": member.name,
        "sender_role": member.role, "content": content, "metadata": {"ttl_s": TTL_S},
    });
    envelope.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Draft;
    use std::collections::HashMap;

    fn played(seed: u64, tasks: u64) -> Vec<serde_json::Value> {
        let mut squad = Squad::new(seed, "test", Some(tasks));
        let mut count = 0_u128;
        let mut ids = || {
            count += 1;
            Uuid::from_u128(count)
        };
        let now = Instant::now();
        let mut all = squad.heartbeats(now, &mut ids);
        while let Some(message) = squad.next(now, &mut ids) {
            all.push(message);
        }
        all.extend(squad.heartbeats(now + REFRESH, &mut ids));
        all.extend(squad.farewell(&mut ids));
        assert_eq!((squad.tasks_ended(), squad.tasks_open()), (tasks, 0));
        let read = |json: Vec<u8>| {
            Draft::parse(&json).expect("a valid message");
            serde_json::from_slice(&json).expect("JSON")
        };
        all.into_iter().map(read).collect()
    }

    #[test]
    fn every_task_is_created_first_and_ended_once_and_last() {
        for seed in 0..20 {
            let mut tasks: HashMap<String, Vec<String>> = HashMap::new();
            for message in played(seed, 12).iter().filter(|message| message["kind"] == "task") {
                let text = |name: &str| message[name].as_str().expect("text").to_owned();
                tasks.entry(text("task_id")).or_default().push(text("type"));
            }
            assert_eq!(tasks.len(), 12);
            for events in tasks.values() {
                assert_eq!(events.first().map(String::as_str), Some("created"));
                let ends = |event: &&String| {
                    matches!(event.as_str(), "completed" | "failed" | "cancelled")
                };
                assert_eq!(events.iter().filter(ends).count(), 1, "{events:?}");
                assert!(events.last().as_ref().is_some_and(ends), "{events:?}");
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_stories() {
        assert_eq!(played(7, 5), played(7, 5));
        assert_ne!(played(7, 5), played(8, 5));
    }

    #[test]
    fn replies_answer_earlier_messages() {
        let all = played(3, 10);
        let replies: Vec<_> = all.iter().filter(|m| m.get("in_reply_to").is_some()).collect();
        assert!(replies.len() > 20);
        for reply in replies {
            let asked =
                all.iter().find(|m| m["id"] == reply["in_reply_to"]).expect("what it answers");
            assert_eq!(asked["conversation_id"], reply["conversation_id"]);
            assert_eq!(asked["recipient_id"], reply["sender_id"]);
        }
    }
}
