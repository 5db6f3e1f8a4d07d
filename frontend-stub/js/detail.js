// detail: one message in full, every member of it, with links to what belongs to it.
import { $, copy, el } from './dom.js';
import { fullTime, kindClass, stringify } from './format.js';
import { avatar } from './row.js';

const panel = $('detail');
const LINKS = {
  kind: 'kind', type: 'type', subject: 'subject', sender_id: 'sender', recipient_id: 'recipient',
  task_id: 'task', conversation_id: 'conversation', in_reply_to: 'in_reply_to',
};
const BELOW = new Set(['content', 'metadata']);

export class Detail {
  // on: {filter(name, value), open(id), replies(id), reply(message), replay(seq), move(step), closed()}
  constructor(on) { Object.assign(this, { on, message: null }); }

  show(found) {
    const message = { ...found, type: found.type ?? 'unknown', sender_id: found.sender_id ?? 'unknown' };
    this.message = message;
    panel.replaceChildren(this.header(message), el('div', { class: 'body' },
      this.members(message), this.content(message), this.metadata(message)));
    panel.className = `detail ${kindClass(message.kind)}`;
    panel.hidden = false;
    panel.scrollTop = 0;
    document.body.classList.add('with-detail');
  }

  close() {
    if (panel.hidden) return;
    panel.hidden = true;
    this.message = null;
    document.body.classList.remove('with-detail');
    this.on.closed();
  }

  header(message) {
    const button = (label, text, onclick, testid) =>
      el('button', { type: 'button', class: 'icon', 'aria-label': label, title: label, onclick, 'data-testid': testid }, text);
    return el('header', {},
      el('div', { class: 'line' }, el('span', { class: 'tag' }, el('i', { class: 'shape' }), String(message.kind)),
        el('span', { class: 'seq' }, `#${message.seq}`), el('span', { class: 'space' }),
        button('Previous message (k)', '↑', () => this.on.move(-1), 'detail-prev'),
        button('Next message (j)', '↓', () => this.on.move(1), 'detail-next'),
        button('Close (Esc)', '×', () => this.close(), 'detail-close')),
      el('h2', {}, String(message.type)),
      el('div', { class: 'route' }, avatar(message.sender_id), el('b', {}, String(message.sender_id)), el('span', { class: 'arrow' }, '→'),
        message.recipient_id ? [avatar(message.recipient_id), el('b', {}, String(message.recipient_id))] : el('span', { class: 'all' }, 'everyone')),
      el('div', { class: 'actions' },
        this.action('Copy JSON', 'detail-copy', () => stringify(message)),
        this.action('Copy link', 'detail-link', () => `${location.origin}${location.pathname}${location.search}#seq=${message.seq}`),
        el('button', { type: 'button', 'data-testid': 'detail-reply', onclick: () => this.on.reply(message) }, 'Reply'),
        el('button', { type: 'button', 'data-testid': 'detail-replies', onclick: () => this.on.replies(message.id) }, 'Replies'),
        el('button', { type: 'button', 'data-testid': 'detail-replay', onclick: () => this.on.replay(message.seq) }, 'Replay from here')));
  }

  action(label, testid, text) {
    const node = el('button', { type: 'button', 'data-testid': testid }, label);
    node.addEventListener('click', async () => {
      await copy(text());
      node.textContent = 'Copied';
      setTimeout(() => { node.textContent = label; }, 1200);
    });
    return node;
  }

  members(message) {
    const names = Object.keys(message).filter((name) => !BELOW.has(name));
    return el('dl', {}, names.flatMap((name) => [el('dt', {}, name), el('dd', {}, this.value(name, message[name]))]));
  }

  value(name, value) {
    const text = typeof value === 'string' ? value : stringify(value);
    if (name === 'created_at' || name === 'expires_at') return el('time', { datetime: text, title: fullTime(text) }, text);
    if (!LINKS[name]) return text;
    const link = el('button', {
      type: 'button', class: 'link', 'data-testid': `detail-${name}`, title: `Filter by ${LINKS[name]}`,
      onclick: () => this.on.filter(LINKS[name], text),
    }, text);
    if (name !== 'in_reply_to') return link;
    return [link, ' ', el('button', { type: 'button', class: 'small', 'data-testid': 'detail-parent', onclick: () => this.on.open(text) }, 'open')];
  }

  content(message) {
    const text = String(message.content ?? '');
    return el('section', {}, el('h3', {}, 'content', el('small', {}, text ? `${text.length.toLocaleString('en-US')} characters` : 'empty')),
      text ? el('pre', { class: 'content', 'data-testid': 'detail-content', tabindex: 0, 'aria-label': 'content' }, text) : null);
  }

  metadata(message) {
    if (!message.metadata || Object.keys(message.metadata).length === 0) return null;
    return el('section', {}, el('h3', {}, 'metadata'),
      el('pre', { class: 'metadata', 'data-testid': 'detail-metadata', tabindex: 0, 'aria-label': 'metadata' }, stringify(message.metadata, 2)));
  }
}
