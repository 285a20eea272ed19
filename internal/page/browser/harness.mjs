// What the tests of all pages share: a browser, visits that are watched, axe.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before } from "node:test";
import { chromium } from "playwright-core";

export const axe = await readFile(new URL("./node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
export const wide = { width: 1440, height: 1000 };
export const phone = { width: 360, height: 800 };

let browser;
before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
});
after(() => browser?.close());

// open opens an address in a context of its own, and calls body with the page. What the
// browser complains of, and what is asked of others, fails the test.
export async function open(address, options, body, complaints = 0) {
  const context = await browser.newContext({ viewport: wide, locale: "en-US", timezoneId: "Europe/Berlin", ...options });
  context.setDefaultTimeout(60000); // a machine may be busy
  const page = await context.newPage();
  const errors = [];
  const foreign = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("dialog", (dialog) => errors.push(`dialog: ${dialog.message()}`));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol !== "data:" && url.origin !== new URL(address).origin) foreign.push(request.url());
  });
  try {
    await page.goto(address);
    await body(page, context);
    if (complaints === 0) assert.deepEqual(errors, [], "the browser complains");
    assert.deepEqual(foreign, [], "requests to others");
  } finally {
    await context.close();
  }
}

// check lets axe look at the page.
export async function check(page, what) {
  await page.evaluate(axe);
  const { violations, passes } = await page.evaluate(() => window.axe.run());
  assert.ok(passes.length > 10, `axe has checked ${passes.length} rules only`);
  const found = violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html.slice(0, 160) + " " + n.failureSummary).join("; ")}`);
  assert.deepEqual(found, [], what);
}
