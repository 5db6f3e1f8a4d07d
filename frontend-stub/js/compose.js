// compose: the form that posts one message, and shows the server's errors beside their fields.
import { $, el } from './dom.js';
import { post } from './api.js';

const dialog = $('compose');
const form = $('compose-form');
const MEMBERS = ['kind', 'type', 'sender_id', 'recipient_id', 'task_id', 'conversation_id', 'in_reply_to', 'content', 'metadata'];
const field = (name) => form.elements[name];

// crypto.randomUUID is missing outside secure contexts, such as plain HTTP on a network address.
function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

export class Compose {
  constructor() {
    Object.assign(this, { id: null, body: '' });
    $('compose-open').addEventListener('click', () => this.open());
    $('compose-close').addEventListener('click', () => dialog.close());
    dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
    form.addEventListener('submit', (event) => { event.preventDefault(); this.send(); });
    form.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) { event.preventDefault(); this.send(); }
    });
    for (const name of MEMBERS) {
      const error = el('em', { id: `compose-error-${name}`, 'data-testid': `compose-error-${name}` });
      field(name).setAttribute('aria-describedby', error.id);
      field(name).after(error);
    }
  }

  open(preset = {}) {
    for (const [name, value] of Object.entries(preset)) field(name).value = value ?? '';
    this.refuse([]);
    this.say('');
    dialog.showModal();
    field(preset.type ? 'content' : 'type').focus();
  }

  // Proposes a sender, unless the user has entered one.
  sender(name) {
    const { defaultValue, value } = field('sender_id');
    if (name && value === defaultValue) field('sender_id').defaultValue = name;
  }

  answer(message) {
    this.open({
      kind: 'message', type: 'reply', recipient_id: message.sender_id, task_id: message.task_id,
      conversation_id: message.conversation_id, in_reply_to: message.id, content: '', metadata: '',
    });
  }

  // Empty members are left out. Metadata is sent as typed, so that no number is rounded.
  write() {
    const members = [];
    for (const name of MEMBERS) {
      const value = name === 'content' ? field(name).value : field(name).value.trim();
      if (name === 'metadata' && value) {
        JSON.parse(value);
        members.push(`"metadata":${value}`);
      } else if (name === 'content' || value) members.push(`${JSON.stringify(name)}:${JSON.stringify(value)}`);
    }
    return members.join(',');
  }

  async send() {
    this.refuse([]);
    let body;
    try {
      body = this.write();
    } catch (error) {
      this.refuse([{ pointer: '/metadata', detail: `Invalid JSON: ${error.message}` }]);
      return;
    }
    // A retry of the same message has the same id, so that it is logged once whatever happened to the first attempt.
    if (body !== this.body) Object.assign(this, { body, id: uuid() });
    this.say('Sending…');
    try {
      const sent = await post('/v1/messages', `{"id":"${this.id}",${body}}`);
      this.body = '';
      this.say(`Sent with sequence ${sent.seq} (${sent.durability})`, 'good');
      for (const name of ['content', 'in_reply_to']) field(name).value = '';
    } catch (problem) {
      const left = this.refuse(problem.errors ?? []);
      const detail = problem.errors ? problem.message : `Cannot reach the server (${problem.message})`;
      this.say([detail, ...left.map((error) => `${error.pointer ?? ''} ${error.detail}`)].join(' · '), 'bad');
    }
  }

  // Shows errors beside their fields; returns those that belong to none.
  refuse(errors) {
    const left = new Set(errors);
    for (const name of MEMBERS) {
      const mine = errors.filter(({ pointer = '' }) => pointer.replace(/^#?\//, '').split('/')[0] === name);
      for (const error of mine) left.delete(error);
      $(`compose-error-${name}`).textContent = mine.map((error) => error.detail).join(' ');
      if (mine.length) field(name).setAttribute('aria-invalid', 'true');
      else field(name).removeAttribute('aria-invalid');
    }
    form.querySelector('[aria-invalid]')?.focus();
    return [...left];
  }

  say(text, state = '') {
    $('compose-result').textContent = text;
    $('compose-result').className = `result full ${state}`;
  }
}
