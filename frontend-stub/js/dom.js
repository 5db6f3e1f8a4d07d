// dom: helpers that build elements. Text is always added as text nodes, never as markup.

export const $ = (id) => document.getElementById(id);

// el('button', {class: 'x', 'aria-label': 'y', onclick: f}, 'text', node, null…)
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (name === 'hue') node.style.setProperty('--hue', value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function svg(tag, attributes = {}) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

// Whether the user is typing, so that single-key shortcuts must not act.
export const isTyping = (target) =>
  target instanceof Element && (target.closest('input, textarea, select, [contenteditable]') !== null);

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return;
  } catch {
    // No secure context, or no permission: fall back to execCommand.
  }
  const area = el('textarea', { class: 'offscreen', readonly: true });
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand('copy');
  area.remove();
}
