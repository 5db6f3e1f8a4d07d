// ago: times relative to now, updated every second. The exact time is in the title.
import { el } from '../dom.js';
import { duration, fullTime } from '../format.js';

const SECOND_MS = 1000;

function relative(text) {
  const seconds = (Date.now() - new Date(text).getTime()) / SECOND_MS;
  if (Number.isNaN(seconds)) return String(text);
  if (Math.abs(seconds) < 1) return 'now';
  return seconds > 0 ? `${duration(seconds)} ago` : `in ${duration(-seconds)}`;
}

export const ago = (text) => (text ? el('time', { class: 'ago', datetime: text, title: fullTime(text) }, relative(text)) : '–');

export function tick() {
  setInterval(() => {
    for (const time of document.querySelectorAll('main:not([hidden]) time.ago')) {
      const now = relative(time.dateTime);
      if (time.textContent !== now) time.textContent = now;
    }
  }, SECOND_MS);
}
