// tabs: the links to the pages. Which one is open stands in the address alone.
import { PAGES } from './route.js';

const links = [...document.querySelectorAll('.tabs a')];
const linkOf = (page) => links.find((link) => link.dataset.page === page);

export class Tabs {
  // on: {arrive()}, after the address has been changed here
  constructor(on) {
    // A link into the feed (data-live) changes the address without loading the page anew, unless a new tab is asked for.
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

  // Where the way back to the feed leads: to what was looked at there.
  live(address) { linkOf('live').href = address; }

  // '1' is the first one.
  press(digit) { links[Number(digit) - 1]?.click(); }
}
