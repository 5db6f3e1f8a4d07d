//! The ring of the newest events, and the groups of subscribers with equal filters.
//!
//! Invariants: the ring holds every sequence from `first` to `head`. If the log skips sequences, the ring
//! begins again after the hole, so that a subscriber that reaches the hole asks the store about it. A group
//! holds every event from sequence `from` on that passes its filter. `head` is published only after an event
//! is in the ring and in its groups; so a subscriber that reads `head` and then its group misses nothing up
//! to `head`. Nothing here waits or does I/O. A loom test checks the transition from replay to live reading.
//!
//! Whatever the filters are, the ring's lock is held only while one event is added or some are taken. The
//! [`Index`] matches filters under the lock of the groups, which is otherwise taken only to join and leave. A
//! subscriber matches the events that it took from the ring without a lock.

use std::collections::{HashMap, VecDeque};

use super::event::{Event, Run};
use super::index::Index;
use super::sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering, WakeList};
use crate::limits::{CHUNK_BYTES, SCAN_ENTRIES};
use crate::message::Filter;

/// The ring and the groups, shared by one writer and all subscribers.
pub(super) struct Hub {
    /// If both locks are taken, this one is taken before that of the ring.
    groups: Mutex<Groups>,
    ring: Mutex<Ring>,
    /// Every event up to this sequence is in the ring and in its groups.
    head: AtomicU64,
    capacity: usize,
    capacity_bytes: usize,
    /// Wakes readers of the whole ring, which belong to no group.
    pub(super) ring_wakes: WakeList,
}

struct Ring {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// Every sequence from `first` to `head` is in the ring.
    first: u64,
    head: u64,
}

struct Groups {
    by_id: HashMap<u64, Arc<Group>>,
    by_filter: HashMap<Arc<Filter>, u64>,
    index: Index,
    next: u64,
    /// How many events were added since the groups were last trimmed.
    untrimmed: usize,
}

/// The subscribers with one filter, and the newest events that pass it.
pub(super) struct Group {
    id: u64,
    pub(super) filter: Arc<Filter>,
    recent: Mutex<Recent>,
    members: AtomicU64,
    pub(super) wakes: WakeList,
}

struct Recent {
    /// The group holds every event from this sequence on that passes its filter.
    from: u64,
    events: VecDeque<Arc<Event>>,
    /// The run that was last taken. Most members take the same run, one after the other.
    run: Option<Arc<Run>>,
}

/// Groups with new events, by id.
type Woken = HashMap<u64, Arc<Group>>;

/// The result of one read of a subscriber.
pub(super) enum Step {
    /// Events in order (perhaps none), and the position up to which the ring was searched for them.
    Events {
        events: Arc<Run>,
        position: u64,
        /// Whether `position` is the head.
        at_head: bool,
    },
    /// The position is the head or beyond it, so there is nothing to read yet.
    Wait,
    /// The ring begins after the next sequence that the subscriber needs.
    Behind { ring_first: u64 },
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Hub {
    /// A hub with an empty ring that continues after sequence `head`.
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
            ring_wakes: WakeList::default(),
        }
    }

    pub(super) fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// The number of groups, all of which have members.
    pub(super) fn group_count(&self) -> usize {
        lock(&self.groups).by_id.len()
    }

    /// Appends events in rising sequence, each as `shown` returns it, and wakes the groups whose filters they pass.
    pub(super) fn push(&self, events: Vec<Arc<Event>>, shown: impl Fn(Arc<Event>) -> Arc<Event>) {
        let mut woken = Woken::new();
        {
            let mut groups = lock(&self.groups);
            let mut head = self.head();
            for event in events {
                if event.seq() <= head {
                    continue;
                }
                if event.seq() > head + 1 {
                    lock(&self.ring).restart_at(event.seq());
                    groups.restart_at(event.seq(), &mut woken);
                }
                head = event.seq();
                // Under the lock: an event that is erased meanwhile is changed here or by `erase`.
                let event = shown(event);
                let ring_first =
                    lock(&self.ring).push(Arc::clone(&event), self.capacity, self.capacity_bytes);
                groups.push(&event, ring_first, self.capacity, &mut woken);
            }
            // Set under the lock of the groups, so that a group that is created next begins after these
            // events.
            self.head.store(head, Ordering::Release);
        }
        for group in woken.values() {
            group.wakes.wake_all();
        }
        self.ring_wakes.wake_all();
    }

    /// Puts the erased form in the place of these messages, as far as the ring has them.
    pub(super) fn erase(&self, seqs: &[u64]) {
        let groups = lock(&self.groups);
        for seq in seqs {
            let erased = lock(&self.ring).erase(*seq);
            if let Some(erased) = erased {
                groups.by_id.values().for_each(|group| lock(&group.recent).replace(&erased));
            }
        }
    }

    /// Joins the group of this filter, which must be normalised. Creates it if there is none.
    pub(super) fn join(&self, filter: &Filter) -> Arc<Group> {
        let mut groups = lock(&self.groups);
        if let Some(group) = groups.by_filter.get(filter).and_then(|id| groups.by_id.get(id)) {
            group.members.fetch_add(1, Ordering::Relaxed);
            return Arc::clone(group);
        }
        groups.add(filter, self.head() + 1)
    }

    /// Leaves the group. Removes it if no member remains.
    pub(super) fn leave(&self, group: &Group) {
        let mut groups = lock(&self.groups);
        if group.members.fetch_sub(1, Ordering::Relaxed) == 1 {
            groups.by_id.remove(&group.id);
            groups.by_filter.remove(&group.filter);
            groups.index.remove(&group.filter, group.id);
        }
    }

    /// The events after `position` that pass the group's filter: at most [`CHUNK_BYTES`] and one event.
    pub(super) fn step(&self, group: &Group, position: u64) -> Step {
        let head = self.head();
        if position >= head {
            return Step::Wait;
        }
        match group.take(position, head) {
            Ok(step) => step,
            Err(from) => self.scan(position, from, |event| group.filter.matches(&event.record)),
        }
    }

    /// All events after `position`, whatever their groups: at most [`CHUNK_BYTES`] and one event.
    pub(super) fn step_of_all(&self, position: u64) -> Step {
        if position >= self.head() {
            return Step::Wait;
        }
        self.scan(position, u64::MAX, |_| true)
    }

    /// Searches the ring for events after `position` and before `end` that `passes` accepts. Used for events
    /// older than the group, and by readers of the whole ring.
    fn scan(&self, position: u64, end: u64, passes: impl Fn(&Event) -> bool) -> Step {
        let (next, head) = {
            let ring = lock(&self.ring);
            if position + 1 < ring.first {
                return Step::Behind { ring_first: ring.first };
            }
            (ring.after(position, end), ring.head)
        };
        let (mut scanned, mut events, mut bytes) = (position, Vec::new(), 0);
        for event in next {
            if bytes >= CHUNK_BYTES {
                break;
            }
            scanned = event.seq();
            if passes(&event) {
                bytes += event.bytes();
                events.push(event);
            }
        }
        Step::Events { events: Run::new(events), at_head: scanned >= head, position: scanned }
    }
}

impl Ring {
    /// The events after `position` and before `end`, at most [`SCAN_ENTRIES`].
    fn after(&self, position: u64, end: u64) -> Vec<Arc<Event>> {
        let start = self.events.partition_point(|event| event.seq() <= position);
        let next = self.events.range(start..).take(SCAN_ENTRIES);
        next.take_while(|event| event.seq() < end).cloned().collect()
    }

    /// Erases an event; returns it, or `None` if the ring does not have it.
    fn erase(&mut self, seq: u64) -> Option<Arc<Event>> {
        let at = self.events.binary_search_by_key(&seq, |event| event.seq()).ok()?;
        let event = self.events.get_mut(at)?;
        let erased = Event::new(event.record.clone().erased());
        self.bytes = self.bytes - event.bytes() + erased.bytes();
        *event = Arc::clone(&erased);
        Some(erased)
    }

    /// Drops all events, because the next one, `first`, does not follow the head.
    fn restart_at(&mut self, first: u64) {
        self.events.clear();
        self.bytes = 0;
        self.first = first;
    }

    /// Adds an event, and drops the oldest while the ring is too large. Returns the first sequence of the
    /// ring.
    fn push(&mut self, event: Arc<Event>, capacity: usize, capacity_bytes: usize) -> u64 {
        self.head = event.seq();
        self.bytes += event.bytes();
        self.events.push_back(event);
        let full = |ring: &Self| ring.events.len() > capacity || ring.bytes > capacity_bytes;
        while full(self) && self.events.len() > 1 {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.bytes();
            self.first = oldest.seq() + 1;
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
            wakes: WakeList::default(),
        });
        self.next += 1;
        self.index.insert(filter, group.id);
        self.by_filter.insert(Arc::clone(&group.filter), group.id);
        self.by_id.insert(group.id, Arc::clone(&group));
        group
    }

    /// Empties all groups, so that their members ask the store about the sequences before `first`.
    fn restart_at(&self, first: u64, woken: &mut Woken) {
        for group in self.by_id.values() {
            *lock(&group.recent) = Recent::new(first);
            woken.entry(group.id).or_insert_with(|| Arc::clone(group));
        }
    }

    /// Adds an event to the groups whose filters it passes.
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

    /// The events after `position`. If the group does not reach back that far, `Err` with its first sequence.
    fn take(&self, position: u64, head: u64) -> Result<Step, u64> {
        let mut recent = lock(&self.recent);
        if position + 1 < recent.from {
            return Err(recent.from);
        }
        let shared = self.members.load(Ordering::Relaxed) > 1;
        let events = recent.run_after(position, shared);
        let newest = recent.events.back().map_or(0, |event| event.seq());
        Ok(match events.last().map(|event| event.seq()) {
            Some(last) if last < newest => Step::Events { events, position: last, at_head: false },
            // Nothing of the group remains, so the position can move to the head.
            _ => Step::Events { events, position: head.max(newest), at_head: true },
        })
    }
}

impl Recent {
    fn new(from: u64) -> Self {
        Self { from, events: VecDeque::new(), run: None }
    }

    /// The run that begins after `position`. If the last run begins there, returns that one, even if more
    /// events have arrived since, so that members keep sharing runs. The run is kept only if `shared`: a
    /// group with one member does not use it again.
    fn run_after(&mut self, position: u64, shared: bool) -> Arc<Run> {
        let start = self.events.partition_point(|event| event.seq() <= position);
        let next = self.events.get(start).map(|event| event.seq());
        if let Some(run) = self.run.as_ref().filter(|run| run.first().map(|e| e.seq()) == next) {
            return Arc::clone(run);
        }
        let mut bytes = 0;
        let small_enough = |event: &&Arc<Event>| {
            let before = bytes;
            bytes += event.bytes();
            before < CHUNK_BYTES
        };
        let run = Run::new(self.events.range(start..).take_while(small_enough).cloned().collect());
        self.run = shared.then(|| Arc::clone(&run));
        run
    }

    /// Puts an event in the place of the one with its sequence, if the group has that.
    fn replace(&mut self, new: &Arc<Event>) {
        let found = self.events.binary_search_by_key(&new.seq(), |event| event.seq());
        if let Some(event) = found.ok().and_then(|at| self.events.get_mut(at)) {
            *event = Arc::clone(new);
            self.run = None;
        }
    }

    /// Drops the events that the ring has dropped. Without that, a group without new events would hold memory
    /// for ever.
    fn trim(&mut self, ring_first: u64) {
        while let Some(event) = self.events.pop_front_if(|event| event.seq() < ring_first) {
            self.from = event.seq() + 1;
        }
        self.run.take_if(|run| run.first().is_none_or(|event| event.seq() < ring_first));
    }
}
