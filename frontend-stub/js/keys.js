// keys: single-key shortcuts, disabled while the user types or a dialog is open.
import { isTyping } from './dom.js';

// actions(): returns the active shortcuts, {key: function}.
export function shortcuts(actions) {
  document.addEventListener('keydown', (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (isTyping(event.target) || document.querySelector('dialog[open]')) return;
    const onButton = event.target.closest?.('button, a, pre');
    if (onButton && ['Enter', ' ', 'ArrowDown', 'ArrowUp', 'End'].includes(event.key)) return;
    const action = actions()[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
