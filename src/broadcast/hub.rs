//! The ring of encoded events, and the groups of subscribers that share a filter.
//!
//! Invariants: the ring holds every sequence from `first` to `head`: where the log
//! skipped some the ring begins anew, so that whoever crosses the place asks the
//! store what became of them. A group holds every event that passes its filter
//! from its `from` on. `head` is shown only after an event stands in the ring
//! and in its groups, so whoever has seen `head` and then looks into its group
//! misses nothing up to it. Nothing here waits or does I/O; the join of replay
//! and live is checked with loom.
//!
//! Whatever filters say, the ring's lock is held for as long as it takes to put one event in or to
//! take some out. Filters are matched by the [`Index`], under the lock of the groups, which only those
//! who come and go take too; a subscriber matches what it took out of the ring under no lock at all.

use std::collections::{HashMap, VecDeque};

use super::event::{Event, Run};
use super::index::Index;
use super::sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering, Wake};
use crate::limits::{CHUNK_BYTES, SCAN_ENTRIES};
use crate::message::Filter;

/// Shared by the one writer and every subscriber.
pub(super) struct Hub {
    /// Taken before the ring, where both are.
    groups: Mutex<Groups>,
    ring: Mutex<Ring>,
    /// Everything up to here stands in the ring and the groups.
    head: AtomicU64,
    capacity: usize,
    capacity_bytes: usize,
    /// Who takes everything from the ring itself.
    pub(super) tails: Wake,
}

struct Ring {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// Every sequence from here to `head` is in the ring.
    first: u64,
    head: u64,
}

struct Groups {
    by_id: HashMap<u64, Arc<Group>>,
    by_filter: HashMap<Arc<Filter>, u64>,
    index: Index,
    next: u64,
    /// Events since the groups were last trimmed.
    untrimmed: usize,
}

/// Subscribers with equal filters.
pub(super) struct Group {
    id: u64,
    pub(super) filter: Arc<Filter>,
    recent: Mutex<Recent>,
    members: AtomicU64,
    pub(super) wake: Wake,
}

struct Recent {
    /// Complete from this sequence on.
    from: u64,
    events: VecDeque<Arc<Event>>,
    /// The run that was taken last: most members take the same one, one after the other.
    run: Option<Arc<Run>>,
}

/// Groups that something has come for.
type Woken = HashMap<u64, Arc<Group>>;

/// What a subscriber's step found.
pub(super) enum Step {
    /// Events in order (perhaps none), and how far that scanned.
    Events {
        events: Arc<Run>,
        cursor: u64,
        /// Whether `cursor` is the head.
        at_head: bool,
    },
    /// The cursor is the head or beyond it.
    Wait,
    /// The ring begins later than what is wanted next.
    Behind { ring_first: u64 },
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Hub {
    /// An empty ring after sequence `head`.
    pub(super) fn new(head: u64, capacity: usize, capacity_bytes: usize) -> Self {
        Self {
            groups: Mutex::new(Groups {
                by_id: HashMap::new(),
                by_filter: HashMap::new(),
                index: Index::default(),
                next: 0,
                untrimmed: 0,
            }),
            ring: Mutex::new(Ring { events: VecDeque::new(), bytes: 0, first: head + 1, head }),
            head: AtomicU64::new(head),
            capacity: capacity.max(1),
            capacity_bytes,
            tails: Wake::default(),
        }
    }

    pub(super) fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// Distinct filters that somebody listens to.
    pub(super) fn group_count(&self) -> usize {
        lock(&self.groups).by_id.len()
    }

    /// Appends events in rising sequence and wakes those they are for.
    pub(super) fn push(&self, events: Vec<Arc<Event>>) {
        let mut woken = Woken::new();
        {
            let mut groups = lock(&self.groups);
            let mut head = self.head();
            for event in events.into_iter() {
                if event.seq <= head {
                    continue;
                }
                if event.seq > head + 1 {
                    lock(&self.ring).begin_anew(event.seq);
                    groups.begin_anew(event.seq, &mut woken);
                }
                head = event.seq;
                let ring_first =
                    lock(&self.ring).push(Arc::clone(&event), self.capacity, self.capacity_bytes);
                groups.push(&event, ring_first, self.capacity, &mut woken);
            }
            // Before anybody can join.
            self.head.store(head, Ordering::Release);
        }
        for group in woken.values() {
            group.wake.all();
        }
        self.tails.all();
    }

    /// Joins the group of this filter, which must be normalised.
    pub(super) fn join(&self, filter: &Filter) -> Arc<Group> {
        let mut groups = lock(&self.groups);
        if let Some(group) = groups.by_filter.get(filter).and_then(|id| groups.by_id.get(id)) {
            group.members.fetch_add(1, Ordering::Relaxed);
            return Arc::clone(group);
        }
        groups.add(filter, self.head() + 1)
    }

    /// Leaves the group; the last one out closes it.
    pub(super) fn leave(&self, group: &Group) {
        let mut groups = lock(&self.groups);
        if group.members.fetch_sub(1, Ordering::Relaxed) == 1 {
            groups.by_id.remove(&group.id);
            groups.by_filter.remove(&group.filter);
            groups.index.remove(&group.filter, group.id);
        }
    }

    /// What comes after `cursor` for this group, at most a chunk of it.
    pub(super) fn step(&self, group: &Group, cursor: u64) -> Step {
        let head = self.head();
        if cursor >= head {
            return Step::Wait;
        }
        match group.take(cursor, head) {
            Ok(step) => step,
            Err(from) => self.scan(cursor, from, |event| group.filter.matches(&event.record)),
        }
    }

    /// What comes after `cursor`, whoever it is for, at most a chunk of it.
    pub(super) fn step_of_all(&self, cursor: u64) -> Step {
        if cursor >= self.head() {
            return Step::Wait;
        }
        self.scan(cursor, u64::MAX, |_| true)
    }

    /// Searches the ring itself, before `end`: for what is older than a group, or for all.
    fn scan(&self, cursor: u64, end: u64, passes: impl Fn(&Event) -> bool) -> Step {
        let (next, head) = {
            let ring = lock(&self.ring);
            if cursor + 1 < ring.first {
                return Step::Behind { ring_first: ring.first };
            }
            (ring.after(cursor, end), ring.head)
        };
        let (mut scanned, mut events, mut bytes) = (cursor, Vec::new(), 0);
        for event in next {
            if bytes >= CHUNK_BYTES {
                break;
            }
            scanned = event.seq;
            if passes(&event) {
                bytes += event.frame.len();
                events.push(event);
            }
        }
        Step::Events { events: Run::new(events), at_head: scanned >= head, cursor: scanned }
    }
}

impl Ring {
    /// The next events after `cursor` and before `end`, as many as one step looks at.
    fn after(&self, cursor: u64, end: u64) -> Vec<Arc<Event>> {
        let start = self.events.partition_point(|event| event.seq <= cursor);
        let next = self.events.range(start..).take(SCAN_ENTRIES);
        next.take_while(|event| event.seq < end).cloned().collect()
    }

    /// Forgets everything before `first`, which does not follow the head.
    fn begin_anew(&mut self, first: u64) {
        self.events.clear();
        self.bytes = 0;
        self.first = first;
    }

    /// Takes an event in and lets go what there is no room for; gives the first that is left.
    fn push(&mut self, event: Arc<Event>, capacity: usize, capacity_bytes: usize) -> u64 {
        self.head = event.seq;
        self.bytes += event.frame.len();
        self.events.push_back(event);
        let full = |ring: &Self| ring.events.len() > capacity || ring.bytes > capacity_bytes;
        while full(self) && self.events.len() > 1 {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.frame.len();
            self.first = oldest.seq + 1;
        }
        self.first
    }
}

impl Groups {
    fn add(&mut self, filter: &Filter, from: u64) -> Arc<Group> {
        let group = Arc::new(Group {
            id: self.next,
            filter: Arc::new(filter.clone()),
            recent: Mutex::new(Recent::new(from)),
            members: AtomicU64::new(1),
            wake: Wake::default(),
        });
        self.next += 1;
        self.index.insert(filter, group.id);
        self.by_filter.insert(Arc::clone(&group.filter), group.id);
        self.by_id.insert(group.id, Arc::clone(&group));
        group
    }

    /// Sends everybody to the store for what lies before `first`.
    fn begin_anew(&self, first: u64, woken: &mut Woken) {
        for group in self.by_id.values() {
            *lock(&group.recent) = Recent::new(first);
            woken.entry(group.id).or_insert_with(|| Arc::clone(group));
        }
    }

    /// Adds an event to the groups that it is for.
    fn push(&mut self, event: &Arc<Event>, ring_first: u64, capacity: usize, woken: &mut Woken) {
        let by_id = &self.by_id;
        self.index.passing(&event.record, |id| {
            if let Some(group) = by_id.get(&id) {
                group.add(event, ring_first);
                woken.entry(id).or_insert_with(|| Arc::clone(group));
            }
        });
        self.untrimmed += 1;
        if self.untrimmed * 4 > capacity {
            self.untrimmed = 0;
            by_id.values().for_each(|group| lock(&group.recent).trim(ring_first));
        }
    }
}

impl Group {
    fn add(&self, event: &Arc<Event>, ring_first: u64) {
        let mut recent = lock(&self.recent);
        recent.trim(ring_first);
        recent.events.push_back(Arc::clone(event));
    }

    /// Events after `cursor`, or the group's beginning if that is later.
    fn take(&self, cursor: u64, head: u64) -> Result<Step, u64> {
        let mut recent = lock(&self.recent);
        if cursor + 1 < recent.from {
            return Err(recent.from);
        }
        let shared = self.members.load(Ordering::Relaxed) > 1;
        let events = recent.run_after(cursor, shared);
        let newest = recent.events.back().map_or(0, |event| event.seq);
        Ok(match events.last().map(|event| event.seq) {
            Some(last) if last < newest => Step::Events { events, cursor: last, at_head: false },
            // Nothing up to the head is left.
            _ => Step::Events { events, cursor: head.max(newest), at_head: true },
        })
    }
}

impl Recent {
    fn new(from: u64) -> Self {
        Self { from, events: VecDeque::new(), run: None }
    }

    /// The run that begins after `cursor`: the last one taken if it is that, though more may
    /// have come since, so that members who follow each other stay together. Kept only where
    /// it is `shared`: a group of one would hold what nobody asks for again.
    fn run_after(&mut self, cursor: u64, shared: bool) -> Arc<Run> {
        let start = self.events.partition_point(|event| event.seq <= cursor);
        let next = self.events.get(start).map(|event| event.seq);
        if let Some(run) = self.run.as_ref().filter(|run| run.first().map(|e| e.seq) == next) {
            return Arc::clone(run);
        }
        let mut bytes = 0;
        let small_enough = |event: &&Arc<Event>| {
            let before = bytes;
            bytes += event.frame.len();
            before < CHUNK_BYTES
        };
        let run = Run::new(self.events.range(start..).take_while(small_enough).cloned().collect());
        self.run = shared.then(|| Arc::clone(&run));
        run
    }

    /// Lets go what the ring let go, so that a silent group holds no memory.
    fn trim(&mut self, ring_first: u64) {
        while let Some(event) = self.events.pop_front_if(|event| event.seq < ring_first) {
            self.from = event.seq + 1;
        }
        self.run.take_if(|run| run.first().is_none_or(|event| event.seq < ring_first));
    }
}
