// Drives the status page and the view of the records of a running Caddy's admin endpoint,
// at ADMIN, in a real browser. It is started by admin_browser_test.go at the repository's
// root, which says what fleet and what records there are. FOREIGN is a page of another
// origin.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { check, open, phone, wide } from "./harness.mjs";

const { ADMIN, FOREIGN, SHOTS } = process.env;

async function call(path, method = "GET") {
  const answer = await fetch(ADMIN + path, { method });
  assert.equal(answer.status, 200, `${method} ${path}`);
  return answer.json();
}
// state is that of an instance; one that has come back by degrees counts as serving.
const state = async (name) => (await call(`instances/${name}`)).state.replace("ramping", "serving");
beforeEach(async () => {
  for (const name of ["gpu-01", "gpu-02", "gpu-03"]) await call(`instances/${name}/restore`, "POST");
});

const visit = (options, body, complaints) =>
  open(ADMIN + "ui/", options, async (page, context) => {
    if (options.javaScriptEnabled !== false) await page.waitForSelector('#live[data-is="on"]');
    await body(page, context);
  }, complaints);
const records = (query, options, body, complaints) => open(`${ADMIN}records${query}`, options, body, complaints);
const row = (page, name) => page.locator("tbody.inst", { has: page.locator(`.name bdi:text-is("${name}")`) });
const first = (page, text) => page.locator(".exchanges tbody", { has: page.locator(`.asked:has-text("${text}")`) }).locator("a");

test("the page of the admin endpoint follows an ejection within 2 s", () =>
  visit({}, async (page) => {
    const times = [];
    for (const name of ["gpu-01", "gpu-02", "gpu-03"]) {
      const began = Date.now();
      await call(`instances/${name}/eject`, "POST");
      await row(page, name).locator(".mark:text-is('Ejected')").waitFor();
      times.push(Date.now() - began);
    }
    console.log(`an ejection showed after ${times.join(", ")} ms`);
    assert.ok(Math.min(...times) <= 2000, `the fastest of three took ${Math.min(...times)} ms`);
  }));

test("people decide by the buttons, after a question", () =>
  visit({}, async (page) => {
    const decide = async (name, label, confirm) => {
      await row(page, name).locator(`[data-do]:text-is("${label}")`).click();
      await page.locator("#decide").waitFor();
      assert.match(await page.locator("#decide-ask").innerText(), new RegExp(name));
      assert.equal(await page.evaluate(() => document.activeElement.id), "decide-no", "what changes nothing has the focus");
      await page.locator(confirm ? "#decide-yes" : "#decide-no").click();
      await page.locator("#decide").waitFor({ state: "hidden" });
    };
    await row(page, "gpu-01").locator(".fold").click();
    await decide("gpu-01", "Drain", false);
    assert.equal(await state("gpu-01"), "serving");
    await decide("gpu-01", "Drain", true);
    assert.equal(await state("gpu-01"), "draining");
    await row(page, "gpu-01").locator(".mark:text-is('Draining')").waitFor();
    await decide("gpu-01", "Drain no more", true);
    assert.equal(await state("gpu-01"), "serving");
    await row(page, "gpu-01").locator(".mark:text-matches('^(Serving|Ramping up)$')").waitFor();
    await decide("gpu-01", "Eject", true);
    assert.equal(await state("gpu-01"), "ejected");
    await row(page, "gpu-01").locator(".mark:text-is('Ejected')").waitFor();
    await decide("gpu-01", "Restore", true);
    assert.equal(await state("gpu-01"), "serving");

    // The keyboard alone.
    await row(page, "gpu-02").locator(".fold").focus();
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await page.locator("#decide").waitFor();
    await page.keyboard.press("Escape");
    await page.locator("#decide").waitFor({ state: "hidden" });
    await page.keyboard.press("Enter");
    await page.keyboard.press("Shift+Tab");
    await page.keyboard.press("Enter");
    await row(page, "gpu-02").locator(".mark:text-is('Draining')").waitFor();
  }));

test("a decision that fails says why", () =>
  visit({}, async (page) => {
    await row(page, "gpu-01").locator(".fold").click();
    await page.route("**/drain", (route) => route.fulfill({ status: 404, contentType: "application/json", body: '{"error":"there is no such <b>instance</b>"}' }));
    await row(page, "gpu-01").locator("[data-do=drain]").click();
    await page.locator("#decide-yes").click();
    await page.locator("#decide-error:has-text('there is no such <b>instance</b>')").waitFor();
    await check(page, "a decision that failed");
  }, 1));

test("pages of other origins decide nothing and read nothing", async () => {
  await open(FOREIGN, {}, async (page) => {
    const results = await page.evaluate(async (admin) => {
      const attempt = async (path, options) => {
        try {
          const answer = await fetch(admin + path, options);
          return `${answer.type} ${answer.status} ${(await answer.text()).slice(0, 40)}`;
        } catch (cause) {
          return cause.name;
        }
      };
      return [
        await attempt("instances/gpu-01/drain", { method: "POST" }),
        await attempt("instances/gpu-01/drain", { method: "POST", mode: "no-cors" }),
        await attempt("instances/gpu-01/drain", { method: "POST", mode: "no-cors", referrerPolicy: "no-referrer" }),
        await attempt("records/exchanges", {}),
        await attempt("records/exchanges", { referrerPolicy: "no-referrer" }),
        await attempt("records", { mode: "no-cors" }),
      ];
    }, ADMIN);
    for (const result of results) assert.match(result, /^(TypeError|opaque 0 )$/, results.join(", "));
  }, 1).catch((error) => assert.equal(error.message.split("\n")[0], "requests to others"));
  assert.equal(await state("gpu-01"), "serving");
  for (const policy of ["", "no-referrer"]) {
    await open(`${FOREIGN}?policy=${policy}`, {}, async (page) => {
      const answer = page.waitForResponse((response) => response.url().endsWith("/drain"));
      await page.locator("#post").evaluate((form, admin) => {
        form.action = admin + "instances/gpu-01/drain";
        form.submit();
      }, ADMIN);
      assert.ok([400, 403].includes((await answer).status()), `a form was answered ${(await answer).status()}`);
    }, 1).catch((error) => assert.equal(error.message.split("\n")[0], "requests to others"));
    assert.equal(await state("gpu-01"), "serving");
  }
  await open(FOREIGN, {}, async (page) => {
    const frame = await page.evaluate((admin) => new Promise((resolve) => {
      const frame = document.createElement("iframe");
      frame.onload = () => {
        try {
          resolve(frame.contentDocument === null ? "closed" : "open");
        } catch {
          resolve("closed");
        }
      };
      frame.src = admin + "records";
      document.body.append(frame);
    }), ADMIN);
    assert.equal(frame, "closed");
    assert.equal(await page.frames().at(-1).evaluate(() => document.querySelectorAll(".exchanges").length).catch(() => 0), 0, "the records stand in a frame");
  }, 1).catch((error) => assert.equal(error.message.split("\n")[0], "requests to others"));
});

test("the list: filters, pages, and back", () =>
  records("", {}, async (page) => {
    const count = () => page.locator(".exchanges tbody").count();
    assert.equal(await count(), 25);
    assert.match(await page.locator(".exchanges tbody").first().innerText(), /gpu-01[\s\S]*Whole[\s\S]*210.ms[\s\S]*2\.4.s[\s\S]*120 → 340/);
    await page.locator(".pager a:text-is('Older')").click();
    await page.locator(".pager a:text-is('Newest')").waitFor();
    assert.ok((await count()) > 5);
    await page.locator(".pager a:text-is('Newest')").click();
    await page.locator("select[name=outcome]").selectOption("truncated");
    await page.locator("form button").first().click();
    await page.waitForURL(/outcome=truncated/);
    assert.equal(await count(), 1);
    await page.locator("a[lang=zh]").click();
    assert.equal(await page.locator("h1").innerText(), "对话记录");
    assert.equal(await count(), 1, "the filter stays in another language");
    await page.locator("a[lang=en]").click();
    await page.locator("select[name=outcome]").selectOption("");
    await page.keyboard.press("Escape");
    await page.locator("body").click({ position: { x: 5, y: 5 } });
    await page.keyboard.press("/");
    await page.keyboard.type("QUESTION NUMBER");
    await page.keyboard.press("Enter");
    await page.locator(".pager button:text-is('Older')").waitFor();
    assert.ok(!page.url().includes("QUESTION"), "what is looked for stands in no address");
    assert.equal(await page.locator("#text").inputValue(), "QUESTION NUMBER");
    await page.locator(".pager button:text-is('Older')").click();
    await page.locator(".pager button:text-is('Newest')").waitFor();
    assert.equal(await page.locator("#text").inputValue(), "QUESTION NUMBER");
    await page.locator("#text").fill("no such words");
    await page.keyboard.press("Enter");
    await page.locator("text=Nothing matches.").waitFor();
    await page.locator("header a:text-is('Status')").click();
    await page.locator("header a:text-is('Recordings')").click();
    assert.equal(await count(), 25);
  }));

test("a conversation: roles, reasoning folded, tools, code as text", () =>
  records("", {}, async (page) => {
    await page.locator("#text").fill("reverse a string");
    await page.keyboard.press("Enter");
    await first(page, "Reverse a string").click();
    assert.deepEqual(await page.locator(".turn h2").allInnerTexts(), ["System", "User", "Assistant"]);
    const thought = page.locator(".thought p");
    assert.ok(!(await thought.isVisible()), "reasoning is folded");
    await page.locator(".thought summary").focus();
    await page.keyboard.press("Enter");
    assert.match(await thought.innerText(), /Runes, not bytes/);
    assert.match(await page.locator(".turn pre").innerText(), /^func reverse/);
    await page.locator("header a:text-is('All recordings')").click();
    await page.locator("#text").fill("weather");
    await page.keyboard.press("Enter");
    await first(page, "weather").click();
    assert.deepEqual(await page.locator(".turn h2").allInnerTexts(), ["User", "Assistant calls tools", "Tool result", "Assistant"]);
    assert.match(await page.locator(".call").innerText(), /get_weather\s+\{\n  "city": "Berlin"/);
    await page.locator("summary:has-text('Exact answer')").click();
    await check(page, "a conversation, unfolded");
  }));

test("hostile records do no harm", () =>
  records("", {}, async (page) => {
    await page.locator("#text").fill("onerror=");
    await page.keyboard.press("Enter");
    await first(page, "<script>").click();
    await page.locator(".turn").first().waitFor();
    assert.equal(await page.evaluate(() => window.harm), undefined);
    assert.equal(await page.locator("main script, main img, main iframe, main b:text('bold')").count(), 0);
    assert.match(await page.locator(".t-human").innerText(), /<script>window\.harm=1<\/script>.*\\u202e/);
    await page.locator("header a:text-is('All recordings')").click();
    await page.locator("#text").fill("eight million");
    await page.keyboard.press("Enter");
    const began = Date.now();
    await first(page, "eight million").click();
    await page.locator(".left:has-text('more, not shown')").waitFor();
    console.log(`a conversation with 8 MiB of text showed after ${Date.now() - began} ms, ${(await page.content()).length} characters`);
    assert.ok((await page.content()).length < 1_000_000, "the page is bounded");
  }));

for (const [name, options] of [
  ["light", { colorScheme: "light" }],
  ["dark", { colorScheme: "dark" }],
  ["phone", { colorScheme: "light", viewport: phone }],
  ["dark phone", { colorScheme: "dark", viewport: phone }],
]) {
  test(`axe finds nothing: ${name}`, async () => {
    await visit(options, async (page) => {
      await row(page, "gpu-01").locator(".fold").click();
      await check(page, "status");
      await row(page, "gpu-01").locator("[data-do=eject]").click();
      await check(page, "question");
    });
    await records("", options, async (page) => {
      await check(page, "list");
      assert.deepEqual(await page.evaluate(() => document.documentElement.scrollWidth), page.viewportSize().width, "the list scrolls sideways");
      await page.goto(`${ADMIN}records?outcome=content_filter&lang=zh`);
      await check(page, "empty list in Chinese");
      await page.goto(`${ADMIN}records?outcome=wrong`);
      await check(page, "wrong address");
      await page.goto(`${ADMIN}records`);
      await page.locator("#text").fill("weather");
      await page.keyboard.press("Enter");
      await first(page, "weather").click();
      await check(page, "conversation");
      assert.deepEqual(await page.evaluate(() => document.documentElement.scrollWidth), page.viewportSize().width, "the conversation scrolls sideways");
    }, 1);
  });
}

test("without scripts all is whole", async () => {
  await visit({ javaScriptEnabled: false }, async (page) => {
    assert.equal(await page.locator("tbody.inst").count(), 3);
    assert.ok(await row(page, "gpu-01").locator(".more").isVisible());
    assert.equal(await page.locator("[data-do]:visible").count(), 0, "no buttons that do nothing");
    await page.reload();
    assert.equal(await page.locator("tbody.inst").count(), 3);
  });
  await records("", { javaScriptEnabled: false }, async (page) => {
    await page.locator("input[name=model]").fill("deepseek-v3.2");
    await page.locator("form button").first().click();
    await page.waitForURL(/model=deepseek-v3\.2/);
    await page.locator("#text").fill("注意力");
    await page.locator("form button").first().click();
    assert.equal(await page.locator(".exchanges tbody").count(), 1);
    await page.locator(".exchanges a").click();
    assert.match(await page.locator(".t-gpt").innerText(), /注意力机制/);
    assert.match(await page.locator("time").first().innerText(), /UTC$/);
  });
});

test("pictures for the docs", { skip: SHOTS ? false : "nobody asked for them" }, async () => {
  const shot = async (page, name) => {
    await page.mouse.move(0, 0);
    await page.evaluate(() => document.activeElement.blur());
    await page.waitForTimeout(500);
    await page.screenshot({ path: `${SHOTS}/${name}.png` });
  };
  await visit({ colorScheme: "light", viewport: { ...wide, height: 800 } }, async (page) => {
    await row(page, "gpu-01").locator(".fold").click();
    await row(page, "gpu-01").locator("[data-do=drain]").click();
    await shot(page, "steer-light");
  });
  for (const [name, options, query] of [
    ["records-light", { colorScheme: "light" }, "?lang=en"],
    ["records-dark", { colorScheme: "dark" }, "?lang=en"],
    ["records-chinese", { colorScheme: "light" }, "?lang=zh"],
    ["records-phone", { colorScheme: "light", viewport: phone, deviceScaleFactor: 2 }, "?lang=en"],
  ]) {
    await records(query, options, (page) => shot(page, name));
  }
  for (const [name, options, text] of [
    ["conversation-light", { colorScheme: "light" }, "Reverse a string"],
    ["conversation-dark", { colorScheme: "dark" }, "weather"],
    ["conversation-phone", { colorScheme: "light", viewport: phone, deviceScaleFactor: 2 }, "weather"],
  ]) {
    await records("", options, async (page) => {
      await page.locator("#text").fill(text);
      await page.keyboard.press("Enter");
      await first(page, text).click();
      await page.locator(".turn").first().waitFor();
      await shot(page, name);
    });
  }
});
