// backlog: messages that arrived while the feed does not move. Bounded; beyond the bound they are only counted, and read from
// the server later.

const MAX_ENTRIES = 5000;
const MAX_CHARACTERS = 16 * 1024 * 1024; // a message may be a megabyte

export class Backlog {
  constructor() { this.clear(); }

  clear() {
    this.entries = [];
    this.characters = 0;
    this.count = 0;
    this.overflowed = false;
  }

  push(entry) {
    this.count += 1;
    if (this.overflowed) return;
    this.entries.push(entry);
    this.characters += entry.raw?.length ?? 0;
    if (this.entries.length > MAX_ENTRIES || this.characters > MAX_CHARACTERS) this.overflow(0);
  }

  // Drops the entries: the server has to send them again. more: further entries that are counted.
  overflow(more) {
    this.entries = [];
    this.characters = 0;
    this.count += more;
    this.overflowed = true;
  }

  take(most) {
    const taken = this.entries.splice(0, most);
    for (const entry of taken) this.characters -= entry.raw?.length ?? 0;
    this.count -= taken.length;
    return taken;
  }
}
