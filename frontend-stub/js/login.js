// login: the page that asks for a key. The key is sent once and kept nowhere: the session's cookie, which scripts cannot read,
// is the credential from then on.
import { $, el } from './dom.js';
import { problemOf } from './api.js';

const form = $('login');
const field = $('login-key');
const button = $('login-send');

// Why the server refused the key.
function reason(problem) {
  switch (problem.status) {
    case 401: return ['This key is not valid', 'It may be mistyped or cut, or was revoked, or has expired.'];
    case 429: return ['Too many tries', `The server refuses for now: ${problem.message}. Wait ${problem.retryAfter ?? 1} s before the next try.`];
    case 503: return [problem.code === 'starting' ? 'The server is starting' : 'The server cannot open a session now', `${problem.message}. Try again soon.`];
    default: return [problem.title ?? `The server responded with ${problem.status}`, problem.message];
  }
}

async function logIn(key) {
  let response;
  try {
    response = await fetch('/v1/session', { method: 'POST', headers: { Authorization: `Bearer ${key}` }, cache: 'no-store' });
  } catch {
    throw Object.assign(new Error('Check that it runs, and try again.'), { status: 0, title: 'Cannot reach the server' });
  }
  if (!response.ok) throw await problemOf(response);
}

function say(title, text = '') {
  $('login-error').replaceChildren(...(title ? [el('strong', {}, title)] : []), ...(text ? [el('p', {}, text)] : []));
  if (title) field.setAttribute('aria-invalid', 'true');
  else field.removeAttribute('aria-invalid');
}

async function submit() {
  const key = field.value.trim();
  if (!key) { say('Enter a key'); field.focus(); return; }
  // A header cannot have other characters.
  if (!/^[\x21-\x7e]+$/.test(key)) { say('This is not a key', 'A key has no spaces and only ASCII characters.'); field.focus(); return; }
  button.disabled = true;
  say('');
  try {
    await logIn(key);
    field.value = '';
    location.reload();
  } catch (problem) {
    button.disabled = false;
    say(...reason(problem));
    field.focus();
    field.select();
  }
}

export function showLogIn(why) {
  document.body.classList.add('logged-out');
  document.title = 'Log in · agentbus';
  $('login-page').hidden = false;
  $('login-why').textContent = why;
  form.addEventListener('submit', (event) => { event.preventDefault(); if (!button.disabled) submit(); });
  field.addEventListener('paste', (event) => {
    event.preventDefault();
    field.setRangeText(event.clipboardData.getData('text').trim(), field.selectionStart, field.selectionEnd, 'end');
  });
  field.focus();
}
