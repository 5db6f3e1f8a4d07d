//! The ring of encoded events, and the groups of subscribers that share a filter.
//!
//! Invariants: the ring holds every sequence from `first` to `head`: where the log
//! skipped some the ring begins anew, so that whoever crosses the place asks the
//! store what became of them. A group holds every event that passes its filter
//! from its `from` on. `head` is shown only after an event stands in the ring
//! and in its groups, so whoever has seen `head` and then looks into its group
//! misses nothing up to it. Nothing here waits or does I/O; the join of replay
//! and live is checked with loom.

use std::collections::{HashMap, VecDeque};

use super::event::{Event, Run};
use super::index::Index;
use super::sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering, Wake};
use crate::limits::{CHUNK_BYTES, SCAN_ENTRIES};
use crate::message::Filter;

/// Shared by the one writer and every subscriber.
pub(super) struct Hub {
    core: Mutex<Core>,
    /// Everything up to here stands in the ring and the groups.
    head: AtomicU64,
    capacity: usize,
    capacity_bytes: usize,
    /// Who takes everything from the ring itself.
    pub(super) tails: Wake,
}

struct Core {
    ring: VecDeque<Arc<Event>>,
    bytes: usize,
    /// Every sequence from here to `head` is in the ring.
    first: u64,
    head: u64,
    groups: HashMap<u64, Arc<Group>>,
    by_filter: HashMap<Filter, u64>,
    index: Index,
    next_group: u64,
    /// Events since the groups were last trimmed.
    untrimmed: usize,
}

/// Subscribers with equal filters.
pub(super) struct Group {
    id: u64,
    filter: Filter,
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
            core: Mutex::new(Core {
                ring: VecDeque::new(),
                bytes: 0,
                first: head + 1,
                head,
                groups: HashMap::new(),
                by_filter: HashMap::new(),
                index: Index::default(),
                next_group: 0,
                untrimmed: 0,
            }),
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
        lock(&self.core).groups.len()
    }

    /// Appends events in rising sequence and wakes those they are for.
    pub(super) fn push(&self, events: Vec<Arc<Event>>) {
        let mut woken: HashMap<u64, Arc<Group>> = HashMap::new();
        {
            let mut core = lock(&self.core);
            for event in events {
                if event.seq > core.head + 1 {
                    core.begin_anew(event.seq, &mut woken);
                }
                if event.seq > core.head {
                    core.push(event, self.capacity, self.capacity_bytes, &mut woken);
                }
            }
            self.head.store(core.head, Ordering::Release);
        }
        for group in woken.values() {
            group.wake.all();
        }
        self.tails.all();
    }

    /// Joins the group of this filter, which must be normalised.
    pub(super) fn join(&self, filter: &Filter) -> Arc<Group> {
        let mut core = lock(&self.core);
        if let Some(group) = core.by_filter.get(filter).and_then(|id| core.groups.get(id)) {
            group.members.fetch_add(1, Ordering::Relaxed);
            return Arc::clone(group);
        }
        let group = Arc::new(Group {
            id: core.next_group,
            filter: filter.clone(),
            recent: Mutex::new(Recent::new(core.head + 1)),
            members: AtomicU64::new(1),
            wake: Wake::default(),
        });
        core.next_group += 1;
        core.index.insert(filter, group.id);
        core.by_filter.insert(filter.clone(), group.id);
        core.groups.insert(group.id, Arc::clone(&group));
        group
    }

    /// Leaves the group; the last one out closes it.
    pub(super) fn leave(&self, group: &Group) {
        let mut core = lock(&self.core);
        if group.members.fetch_sub(1, Ordering::Relaxed) == 1 {
            core.groups.remove(&group.id);
            core.by_filter.remove(&group.filter);
            core.index.remove(&group.filter, group.id);
        }
    }

    /// What comes after `cursor` for this group, at most a chunk of it.
    pub(super) fn step(&self, group: &Group, cursor: u64) -> Step {
        let head = self.head();
        if cursor >= head {
            return Step::Wait;
        }
        let group_from = match group.take(cursor, head) {
            Ok(step) => return step,
            Err(from) => from,
        };
        lock(&self.core).scan(cursor, group_from, |event| group.filter.matches(&event.record))
    }

    /// What comes after `cursor`, whoever it is for, at most a chunk of it.
    pub(super) fn step_of_all(&self, cursor: u64) -> Step {
        if cursor >= self.head() {
            return Step::Wait;
        }
        lock(&self.core).scan(cursor, u64::MAX, |_| true)
    }
}

impl Core {
    /// Searches the ring itself, before `end`: for what is older than a group, or for all.
    fn scan(&self, cursor: u64, end: u64, passes: impl Fn(&Event) -> bool) -> Step {
        if cursor + 1 < self.first {
            return Step::Behind { ring_first: self.first };
        }
        let start = self.ring.partition_point(|event| event.seq <= cursor);
        let (mut scanned, mut events, mut bytes) = (cursor, Vec::new(), 0);
        for event in self.ring.range(start..).take(SCAN_ENTRIES) {
            if event.seq >= end || bytes >= CHUNK_BYTES {
                break;
            }
            scanned = event.seq;
            if passes(event) {
                bytes += event.frame.len();
                events.push(Arc::clone(event));
            }
        }
        Step::Events { events: Run::new(events), at_head: scanned >= self.head, cursor: scanned }
    }

    /// Forgets everything before `first`, which does not follow the head, and
    /// sends everybody to the store for what lies between.
    fn begin_anew(&mut self, first: u64, woken: &mut HashMap<u64, Arc<Group>>) {
        self.ring.clear();
        self.bytes = 0;
        self.first = first;
        for group in self.groups.values() {
            *lock(&group.recent) = Recent::new(first);
            woken.entry(group.id).or_insert_with(|| Arc::clone(group));
        }
    }

    fn push(
        &mut self,
        event: Arc<Event>,
        capacity: usize,
        capacity_bytes: usize,
        woken: &mut HashMap<u64, Arc<Group>>,
    ) {
        self.head = event.seq;
        self.bytes += event.frame.len();
        self.ring.push_back(Arc::clone(&event));
        while self.ring.len() > capacity || (self.bytes > capacity_bytes && self.ring.len() > 1) {
            let Some(oldest) = self.ring.pop_front() else { break };
            self.bytes -= oldest.frame.len();
            self.first = oldest.seq + 1;
        }
        let (groups, first) = (&self.groups, self.first);
        self.index.candidates(&event.record, |id| {
            if let Some(group) = groups.get(&id)
                && group.filter.matches(&event.record)
            {
                group.add(&event, first);
                woken.entry(id).or_insert_with(|| Arc::clone(group));
            }
        });
        self.untrimmed += 1;
        if self.untrimmed * 4 > capacity {
            self.untrimmed = 0;
            self.groups.values().for_each(|group| lock(&group.recent).trim(first));
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
