// Drives the status page in a real browser. It is started by browser_test.go, which
// serves the page at PAGE and obeys orders at CONTROL; see there for what it can be told.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { axe, check, open, phone } from "./harness.mjs";

const { PAGE, CONTROL, SHOTS } = process.env;

beforeEach(() => order("reset"));

async function order(action, values = {}) {
  const answer = await fetch(`${CONTROL}/${action}?${new URLSearchParams(values)}`, { method: "POST" });
  assert.equal(answer.status, 204, await answer.text());
}

// visit opens the page and calls body with it once it is live.
const visit = (options, body, { query = "", complaints = 0 } = {}) =>
  open(PAGE + query, options, async (page, context) => {
    if (options.javaScriptEnabled !== false) await page.waitForSelector('#live[data-is="on"]');
    await body(page, context);
  }, complaints);

const row = (page, name) => page.locator("tbody.inst", { has: page.locator(`.name bdi:text-is("${name}")`) });

test("every state is shown by its name", () =>
  visit({}, async (page) => {
    const text = await page.locator(".fleet").innerText();
    for (const state of ["Serving", "Ejected", "Half-open", "Ramping up", "Draining", "Resting", "Off", "On fallback", "first token too late"]) {
      assert.ok(text.includes(state), `the table has no ${state}`);
    }
    assert.equal(await page.locator("h1").innerText(), "Serving, with problems");
    assert.match(await page.locator("#alerts").innerText(), /Ejected: cannot connect/);
    assert.match(await page.locator("#events").innerText(), /Trial begun/);
    assert.match(await page.locator("#recorder").innerText(), /queue full: 12/);
    assert.match(await page.locator("#config").innerText(), /least_connections/);
    assert.equal(await page.locator("header a:text-is('Recordings')").getAttribute("href"), "/ai_gateway/records");
    assert.match(await page.locator("#alerts time").first().innerText(), /Nov 23, 10:40:13/, "the time of the viewer's zone");
    await page.locator("#traffic canvas").waitFor();
    await order("empty-model", { name: "bge-m3" });
    await page.locator("h1 .mark:text('Requests are failing')").waitFor();
    assert.match(await page.locator(".problems").innerText(), /bge-m3 no instance can serve it/);
    assert.match(await page.title(), /Requests are failing/);
  }));

test("a change shows within 2 s, and leaves alone what the viewer has done", () =>
  visit({}, async (page) => {
    await row(page, "gpu-02").locator(".fold").click();
    await page.locator("#filter").fill("gpu");
    const times = [];
    for (const name of ["gpu-01", "gpu-02", "gpu-04"]) {
      const began = Date.now();
      await order("eject", { name });
      await row(page, name).locator(".mark:text-is('Ejected')").waitFor();
      times.push(Date.now() - began);
    }
    console.log(`a change showed after ${times.join(", ")} ms`);
    assert.ok(Math.min(...times) <= 2000, `the fastest of three changes took ${Math.min(...times)} ms`);
    assert.equal(await page.locator("#filter").inputValue(), "gpu");
    assert.ok(await page.locator("#filter").evaluate((input) => input === document.activeElement), "the filter has the focus");
    assert.ok(await row(page, "gpu-02").locator(".more").isVisible(), "gpu-02 is still unfolded");
    assert.ok(!(await row(page, "embed-1").isVisible()), "embed-1 is still filtered out");
    await row(page, "gpu-02").locator(".more canvas").waitFor();
    await order("remove", { name: "gpu-01" });
    await row(page, "gpu-01").waitFor({ state: "detached" });
    assert.ok(await row(page, "gpu-02").locator(".more").isVisible(), "gpu-02 is unfolded when a row has gone");
    await row(page, "gpu-02").locator(".more canvas").waitFor();
  }));

for (const [name, options] of [
  ["light", { colorScheme: "light" }],
  ["dark", { colorScheme: "dark" }],
  ["phone", { colorScheme: "light", viewport: phone }],
  ["dark phone", { colorScheme: "dark", viewport: phone }],
]) {
  test(`axe finds nothing: ${name}`, () =>
    visit(options, async (page) => {
      await check(page, "usual");
      await row(page, "gpu-03").locator(".fold").click();
      await page.locator("#problems").click();
      await check(page, "problems only, unfolded");
      await order("reject");
      await page.locator(".banner").waitFor();
      await order("empty-model", { name: "bge-m3" });
      await page.locator("h1 .v-critical").waitFor();
      await check(page, "rejected, critical");
      await order("nothing");
      await page.locator("h1 .v-idle").waitFor();
      await check(page, "empty");
      await page.goto(`${PAGE}?lang=zh`);
      await order("reset");
      await page.locator("tbody.inst").first().waitFor();
      await check(page, "Chinese");
    }));
}

test("a phone shows all without scrolling sideways", () =>
  visit({ viewport: phone }, async (page) => {
    const sizes = () => page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    await row(page, "gpu-03").locator(".fold").click();
    assert.deepEqual(await sizes(), [360, 360]);
    await order("reject");
    await page.locator(".banner").waitFor();
    assert.deepEqual(await sizes(), [360, 360], "with a rejected file");
    await order("hostile");
    await page.locator(".fleet bdi:text('<script>')").first().waitFor();
    for (const width of [360, 600, 760, 901, 1024, 1181, 1280]) {
      await page.setViewportSize({ width, height: 800 });
      assert.deepEqual(await sizes(), [width, width], "with hostile names");
    }
  }));

test("the keyboard reaches all", () =>
  visit({}, async (page) => {
    const focused = () =>
      page.evaluate(() => {
        const e = document.activeElement;
        const style = getComputedStyle(e);
        return { text: e.id || e.textContent.trim() || e.ariaLabel, outline: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 };
      });
    const path = [];
    for (let i = 0; i < 26; i++) {
      await page.keyboard.press("Tab");
      const { text, outline } = await focused();
      assert.ok(outline, `the focus on ${text} can be seen`);
      path.push(text);
    }
    for (const [i, want] of ["Skip to the fleet", "Recordings", "English", "中文", "Auto", "Light", "Dark", "filter", "problems", "foldall", "Model, instance", "State"].entries()) {
      assert.equal(path[i], want, path.join(" > "));
    }
    assert.ok(path.includes("qwen3-235b-a22b-instruct") && path.includes("gpu-01"), path.join(" > "));

    await page.keyboard.press("/");
    assert.equal((await focused()).text, "filter");
    await page.locator("[data-sort='5']").focus();
    await page.keyboard.press("Enter");
    const sorted = () => page.locator(".fleet tbody").evaluateAll((all) => all.map((body) => body.querySelector("bdi").textContent));
    assert.equal(await page.locator("[aria-sort]").getAttribute("aria-sort"), "descending");
    assert.deepEqual((await sorted()).slice(0, 4), ["deepseek-v3.2", "h200-b", "h200-a", "llama-3.3-70b"]);
    await page.keyboard.press("Enter");
    assert.equal(await page.locator("[aria-sort]").getAttribute("aria-sort"), "ascending");
    assert.equal((await sorted())[0], "qwen3-coder-30b");
    await page.keyboard.press("Enter");
    assert.equal(await page.locator("[aria-sort]").count(), 0);
    assert.equal((await sorted())[0], "qwen3-235b-a22b-instruct");
    assert.equal((await focused()).text, "p50");

    await row(page, "gpu-01").locator(".fold").focus();
    await page.keyboard.press("Enter");
    assert.ok(await row(page, "gpu-01").locator(".more").isVisible());
    assert.equal((await focused()).text, "gpu-01");
    await page.locator("tbody.model .fold").first().focus();
    await page.keyboard.press("Space");
    assert.ok(!(await row(page, "gpu-01").isVisible()), "the model is folded");
    await page.waitForTimeout(1200); // an update comes
    assert.ok(!(await row(page, "gpu-01").isVisible()), "the model stays folded");
  }));

test("the filter and the problems", () =>
  visit({}, async (page) => {
    const shown = () => page.locator("tbody.inst:not([hidden]) .name bdi:first-child").allInnerTexts().then((all) => all.filter((name) => !name.includes(":")));
    await page.locator("#filter").fill("10.20.1.");
    assert.deepEqual(await shown(), ["h200-a", "h200-b"]);
    assert.equal(await page.locator("#shown").innerText(), "2 / 14 shown");
    await page.locator("#filter").fill("ejected");
    assert.deepEqual(await shown(), ["gpu-03"]);
    await page.locator("#filter").fill("no such thing");
    assert.ok(await page.locator("#nothing").isVisible());
    await page.keyboard.press("Escape");
    await page.locator("#problems").click();
    assert.deepEqual(await shown(), ["gpu-03", "l40s-07", "a100-2"]);
    assert.equal(await page.locator("tbody.model:not([hidden])").count(), 3);
    await page.locator("#problems").click();
    await page.locator("#foldall").click();
    assert.deepEqual(await shown(), []);
    assert.equal(await page.locator("#foldall").innerText(), "Unfold all");
  }));

test("both languages", async () => {
  await visit({}, async (page) => {
    await page.locator("a[lang=zh]").click();
    await page.waitForSelector('#live[data-is="on"]');
    assert.equal(await page.locator("html").getAttribute("lang"), "zh-Hans");
    assert.equal(await page.locator("h1").innerText(), "可以服务，但有问题");
    assert.match(await page.locator("#events time").first().innerText(), /^11月23日 \d\d:\d\d:\d\d$/);
    await order("eject", { name: "gpu-01" });
    await row(page, "gpu-01").locator(".mark:text-is('停用')").waitFor();
    await page.locator("a[lang=en]").click();
    await page.locator("h1 .mark:text('Serving, with problems')").waitFor();
  });
  await visit({ locale: "zh-CN" }, async (page) => {
    assert.equal(await page.locator("#live").innerText(), "实时");
  });
});

test("the theme is the system's until one is chosen, and the choice stays", () =>
  visit({ colorScheme: "light" }, async (page) => {
    const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    const light = await ground();
    await page.emulateMedia({ colorScheme: "dark" });
    const dark = await ground();
    assert.notEqual(light, dark);
    await page.locator("[data-theme-is=light]").click();
    assert.equal(await ground(), light);
    await page.reload();
    assert.equal(await ground(), light);
    assert.equal(await page.locator("[data-theme-is=light]").getAttribute("aria-pressed"), "true");
    await page.locator("[data-theme-is=auto]").click();
    assert.equal(await ground(), dark);
    await page.locator("#traffic canvas").waitFor();
  }));

test("without scripts the page is whole", () =>
  visit({ javaScriptEnabled: false }, async (page) => {
    assert.equal(await page.locator("tbody.inst").count(), 14);
    assert.ok(await row(page, "gpu-03").locator(".more").isVisible(), "details are unfolded");
    assert.match(await row(page, "gpu-03").locator(".more").innerText(), /10\.20\.0\.13:8000/);
    assert.match(await page.locator("#alerts").innerText(), /Nov 23, 09:40:13 UTC/);
    assert.ok(!(await page.locator(".tools").isVisible()), "no tools that do nothing");
    assert.match(await page.locator("#live").innerText(), /Renewed every 10 s/);
    assert.equal(await page.locator("meta[http-equiv=refresh]").getAttribute("content"), "10");
    await order("eject", { name: "gpu-01" });
    await page.reload();
    assert.match(await row(page, "gpu-01").locator(".st").innerText(), /Ejected/);
  }));

test("names that mean harm do none", () =>
  visit({}, async (page) => {
    await order("hostile");
    await page.locator(".fleet bdi:text('<script>')").first().waitFor();
    assert.equal(await page.evaluate(() => window.harm), undefined);
    assert.equal(await page.locator("main script, main img, main iframe").count(), 0);
    assert.match(await page.locator("main").innerText(), /\\u202e/, "a turn of direction is shown by its number");
    await page.reload();
    assert.equal(await page.evaluate(() => window.harm), undefined);
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run());
    assert.deepEqual(violations.map((v) => v.id), []);
  }));

test("a rejected file, and a gateway without instances", () =>
  visit({}, async (page) => {
    await order("reject");
    await page.locator(".banner").waitFor();
    assert.match(await page.locator(".banner").innerText(), /config\.json5:12:7: instances\[2\]: unknown member/);
    assert.match(await page.locator(".banner").innerText(), /goes on with what it read at Nov 23, 10:00:27\./);
    await order("nothing");
    await page.locator("h1 .mark:text-is('No instance yet')").waitFor();
    for (const text of ["No instance is configured.", "Nothing has happened yet.", "No alert is in force.", "Recording is off."]) {
      assert.ok(await page.locator(`main :text("${text}")`).first().isVisible(), text);
    }
    await order("reset");
    await row(page, "gpu-01").waitFor();
  }));

test("a lost connection is told, and found again", () =>
  visit({}, async (page) => {
    await order("cut");
    await page.waitForSelector('#live[data-is="lost"]');
    await page.waitForSelector('#live[data-is="on"]', { timeout: 20000 });
  }, { complaints: 1 }));

test("what it costs", async () => {
  for (const [models, instances] of [[20, 50], [20, 1000]]) {
    await order("large", { models, instances });
    await visit({}, async (page, context) => {
      const session = await context.newCDPSession(page);
      await session.send("Network.enable");
      let bytes = 0;
      session.on("Network.loadingFinished", (event) => (bytes += event.encodedDataLength));
      const runs = [];
      for (let i = 0; i < 3; i++) {
        await session.send("Network.clearBrowserCache");
        bytes = 0;
        await page.reload({ waitUntil: "load" });
        await page.locator("#traffic canvas").waitFor();
        runs.push(await page.evaluate(() => performance.getEntriesByName("interactive")[0].startTime));
      }
      runs.sort((a, b) => a - b);
      console.log(`${instances} instances of ${models} models: ${(bytes / 1000).toFixed(1)} kB, interactive after ${runs[1].toFixed(0)} ms (best ${runs[0].toFixed(0)} ms)`);
      assert.equal(await page.locator("tbody.inst").count(), instances);
    });
  }
});

test("pictures for the docs", { skip: SHOTS ? false : "nobody asked for them" }, async () => {
  for (const [name, options, query] of [
    ["status-light", { colorScheme: "light" }, "?lang=en"],
    ["status-dark", { colorScheme: "dark" }, "?lang=en"],
    ["status-chinese", { colorScheme: "light" }, "?lang=zh"],
    ["status-phone", { colorScheme: "light", viewport: phone, deviceScaleFactor: 2 }, "?lang=en"],
  ]) {
    await visit(options, async (page) => {
      if (!options.viewport) await row(page, "gpu-03").locator(".fold").click();
      await page.locator("#traffic canvas").waitFor();
      await page.mouse.move(0, 0);
      await page.evaluate(() => document.activeElement.blur());
      await page.waitForTimeout(600);
      await page.screenshot({ path: `${SHOTS}/${name}.png` });
    }, { query });
  }
});
