// problem: what the server refused, and why, over the feed.
import { $, el } from './dom.js';

export function showProblem(problem, retry) {
  const errors = (problem.errors ?? []).map(({ parameter, pointer, detail }) =>
    el('li', {}, el('code', {}, parameter ?? pointer ?? ''), ' ', detail ?? ''));
  $('error').replaceChildren(
    el('div', {}, el('strong', {}, problem.title ?? 'The server refused this'),
      problem.status ? el('small', {}, ` ${problem.status}${problem.code ? ` · ${problem.code}` : ''}`) : null,
      el('p', {}, problem.message), errors.length ? el('ul', {}, errors) : null),
    el('button', { type: 'button', onclick: retry }, 'Try again'));
  $('error').hidden = false;
}

export function hideProblem() {
  $('error').hidden = true;
  $('error').replaceChildren();
}
