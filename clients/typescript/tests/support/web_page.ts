// A page of another origin that loads the built package as a module, in headless Chromium.

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join, normalize } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import { examples } from "./readme.js";

const DIST = join(import.meta.dirname, "../../dist");
// At `/readme` is the page of the README, at every other path this one.
const HTML = `<!doctype html><title>test</title><script type="module">
  import * as agentbus from "/agentbus/index.js";
  globalThis.agentbus = agentbus;
</script>`;

// Without these Chromium looks for hosts of its own.
const FLAGS = [
  ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"],
  ...["--disable-background-networking", "--disable-component-update"],
];

export class WebPage implements AsyncDisposable {
  readonly origin: string;
  readonly page: Page;
  /** What the page wrote to its console, and its errors. */
  readonly console: string[] = [];
  readonly #browser: Browser;
  readonly #site: Server;

  private constructor(origin: string, page: Page, browser: Browser, site: Server) {
    this.origin = origin;
    this.page = page;
    this.#browser = browser;
    this.#site = site;
    page.on("console", (message) => this.console.push(message.text()));
    page.on("pageerror", (error) => this.console.push(String(error)));
  }

  static async open(): Promise<WebPage> {
    const site = serveSite();
    await once(site, "listening");
    const origin = `http://127.0.0.1:${(site.address() as AddressInfo).port}`;
    const executablePath = process.env.CHROMIUM_BIN ?? "/usr/bin/chromium";
    const browser = await chromium.launch({ executablePath, args: FLAGS });
    const page = await browser.newPage();
    const opened = new WebPage(origin, page, browser, site);
    await page.goto(origin);
    await page.waitForFunction(() => "agentbus" in globalThis);
    return opened;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#browser.close();
    this.#site.close();
    this.#site.closeAllConnections();
  }
}

function serveSite(): Server {
  return createServer(async (request, response) => {
    const path = normalize(request.url ?? "/");
    if (!path.startsWith("/agentbus/")) {
      const page = path.startsWith("/readme") ? examples("html")[0]?.code : HTML;
      response.setHeader("content-type", "text/html").end(page);
      return;
    }
    const file = await readFile(join(DIST, path.slice("/agentbus/".length))).catch(() => undefined);
    if (file === undefined) response.writeHead(404).end();
    else response.setHeader("content-type", "text/javascript").end(file);
  }).listen(0, "127.0.0.1");
}
