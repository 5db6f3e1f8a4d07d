// tabs: the links to the pages. Only the address names the open one.
import { PAGES } from './route.js';

const links = [...document.querySelectorAll('.tabs a')];
const linkOf = (page) => links.find((link) => link.dataset.page === page);

export class Tabs {
  // on: {arrive()}, after the address has been changed here
  constructor(on) {
    // A click on a link to the feed (data-live) changes the address without a page load, unless the user asks for a new tab.
    document.addEventListener('click', (event) => {
      const link = event.target.closest?.('a[data-live]');
      if (!link || event.defaultPrevented || event.button !== 0) return;
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
      event.preventDefault();
      if (link.href !== location.href) window.history.pushState(null, '', link.href);
      on.arrive();
    });
  }

  mark(page) {
    for (const link of links) {
      if (link.dataset.page === page) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    }
    linkOf(page).scrollIntoView({ block: 'nearest', inline: 'nearest' });
    document.title = page === 'live' ? 'agentbus' : `${PAGES[page]} · agentbus`;
  }

  // Shows or hides the tab of a page. Returns whether that is a change.
  allow(page, allowed) {
    const changed = linkOf(page).hidden === allowed;
    linkOf(page).hidden = !allowed;
    return changed;
  }

  has(page) { return !linkOf(page).hidden; }

  // Sets the target of the feed's tab, so that it leads back to what was shown there.
  live(address) { linkOf('live').href = address; }

  // '1' opens the first page.
  press(digit) {
    const link = links[Number(digit) - 1];
    if (link && !link.hidden) link.click();
  }
}
