// problem: shows why the server refused a request.
import { $, el } from './dom.js';

function titleOf(problem) {
  if (problem.needs) return 'Not allowed';
  if (problem.title) return problem.title;
  if (problem.status) return 'The server refused the request';
  return problem.name === 'TimeoutError' ? 'The server does not respond' : 'Cannot reach the server';
}

// lead: what the page could not do.
export function problemText(problem, lead = '') {
  const errors = (problem.errors ?? []).map(({ parameter, pointer, detail }) =>
    el('li', {}, el('code', {}, parameter ?? pointer ?? ''), ' ', detail ?? ''));
  return el('div', {}, el('strong', {}, lead ? `${lead}: ${titleOf(problem)}` : titleOf(problem)),
    problem.status ? el('small', {}, ` ${problem.status}${problem.code ? ` · ${problem.code}` : ''}`) : null,
    el('p', {}, problem.message), errors.length ? el('ul', {}, errors) : null);
}

export function showProblem(problem, retry) {
  $('error').replaceChildren(problemText(problem), el('button', { type: 'button', onclick: retry }, 'Try again'));
  $('error').hidden = false;
}

export function hideProblem() {
  $('error').hidden = true;
  $('error').replaceChildren();
}
