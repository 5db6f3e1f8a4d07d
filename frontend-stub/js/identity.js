// identity: who uses this page, and what happens when that ends. Another identity always starts with a page load, so nothing of
// the one before is left in memory.
import { $, el } from './dom.js';
import { get, on401, send } from './api.js';
import { avatar } from './row.js';
import { brief, inFull } from './grants.js';

const otherTabs = globalThis.BroadcastChannel ? new BroadcastChannel('agentbus') : null;

const GRACE_MS = 2000; // the stream's `denied`, which has the reason, may come a second after the first 401
const ENDED = { revoked: 'This key was revoked', expired: 'This key has expired' };
const REMEMBERED = 'agentbus.ended'; // why the log-in page follows, kept across the page load

const me = () => get('/v1/me', { as: JSON.parse });

// Why the last identity ended; forgotten once read.
export function whyEnded() {
  try {
    const why = sessionStorage.getItem(REMEMBERED) ?? '';
    sessionStorage.removeItem(REMEMBERED);
    return why;
  } catch {
    return ''; // the browser allows no storage
  }
}

function logInAgain(why) {
  try { sessionStorage.setItem(REMEMBERED, why); } catch { /* the reason is left out */ }
  location.reload();
}

export class Identity {
  // on: {known(me), ended()}
  constructor(on) {
    Object.assign(this, { on, me: null, over: false, asking: false });
    $('log-out').addEventListener('click', () => this.logOut());
    otherTabs?.addEventListener('message', () => { if (this.me?.id) this.end('You have logged out in another tab'); });
  }

  // Returns whether this page may go on: false means that a credential is needed. Without a response it goes on, since its
  // parts show that the server is away, and ask again.
  async open() {
    for (const last of [false, true]) {
      try {
        this.know(await me());
        whyEnded(); // another log-in is not needed
        break;
      } catch (problem) {
        // A 401 removes the cookie of a session that is over. Without one, a server with AUTH=off lets anyone in.
        if (problem.status === 401 && last) return false;
        if (problem.status !== 401) break;
      }
    }
    on401(() => this.lost());
    return true;
  }

  // Asks again: grants may have changed whenever a stream was opened anew.
  async refresh() {
    if (this.over || (this.me && this.me.id === null)) return;
    const known = await me().catch(() => null);
    if (known) this.know(known);
  }

  know(known) {
    if (this.me && this.me.id !== known.id) { location.reload(); return; }
    this.me = known;
    this.draw();
    this.on.known(known);
  }

  // Unknown counts as yes: the server decides.
  can(capability) { return this.me ? Boolean(this.me.grants?.can?.includes(capability)) : true; }

  // The only name that the key may write as.
  get sender() {
    const names = this.me?.grants?.as ?? [];
    return names.length === 1 && names[0] !== '*' ? names[0] : null;
  }

  draw() {
    const { id, name, kind, grants, expires_at: end } = this.me;
    $('me').hidden = id === null;
    $('log-out').hidden = id === null;
    if (id === null) return;
    $('me').title = [`key ${id}`, inFull(grants), end && `expires ${end}`].filter(Boolean).join('\n');
    $('me').replaceChildren(avatar(name), el('span', {}, el('span', { class: 'name' }, el('b', {}, name), ' ', el('small', {}, kind)),
      el('small', { class: 'grants' }, brief(grants).join(' · '))));
  }

  // A request was refused with 401.
  async lost() {
    if (this.over || this.asking) return;
    this.asking = true;
    await new Promise((done) => { setTimeout(done, GRACE_MS); });
    const problem = await me().then((known) => this.know(known), (refused) => refused);
    this.asking = false;
    if (this.over || problem?.status !== 401) return;
    // A page load would lose what an open dialog holds.
    if (document.querySelector('dialog[open]')) this.end('Your session has ended');
    else logInAgain('Your session has ended. Log in again.');
  }

  denied(code) {
    const ofSession = code === 'expired' && this.me && !this.me.expires_at;
    this.end(ofSession ? 'This session has expired' : ENDED[code] ?? 'This key is no longer valid');
  }

  // Nothing can be read any more. What is shown stays, with the reason.
  end(why) {
    if (this.over) return;
    this.over = true;
    this.on.ended();
    $('ended').replaceChildren(el('div', {}, el('strong', {}, why), el('p', {}, 'The console has stopped. What is shown is from before.')),
      el('button', { type: 'button', 'data-testid': 'log-in-again', onclick: () => logInAgain(`${why}. Log in with another key.`) }, 'Log in'));
    $('ended').hidden = false;
  }

  async logOut() {
    $('log-out').disabled = true;
    this.over = true; // its own end is no news
    otherTabs?.postMessage('log-out');
    try {
      await send('DELETE', '/v1/session');
    } catch (problem) {
      if (problem.status !== 401) {
        this.over = false;
        $('log-out').disabled = false;
        $('log-out').textContent = 'Log out: try again';
        $('log-out').title = problem.message;
        return;
      }
    }
    location.reload();
  }
}
