// The live side of the status page: it follows the feed and puts what has changed
// into the page that the server has rendered. Without it the page is whole, but still.
import { dress, localize } from "./common.js";
import { arrange, listen } from "./table.js";
import { draw, redraw } from "./charts.js";

const live = document.getElementById("live");

// Attributes that belong to the viewer's own doing, not to the server.
const own = new Set(["hidden", "aria-expanded", "data-open", "aria-sort", "aria-pressed"]);

// morph makes an element like another and keeps what can be kept: focus, selection,
// scroll positions, charts, and what the viewer has unfolded.
function morph(from, to) {
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && !own.has(name)) from.removeAttribute(name);
  }
  for (const { name, value } of to.attributes) {
    if (!own.has(name) && from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
  if (from.classList.contains("chart")) return;
  if (from.childElementCount === 0 && to.childElementCount === 0) {
    if (from.textContent !== to.textContent) from.textContent = to.textContent;
    return;
  }
  const known = new Map([...from.children].filter((e) => e.id).map((e) => [e.id, e]));
  let at = from.firstChild;
  for (const next of [...to.childNodes]) {
    let match = next.id ? known.get(next.id) : at;
    if (match && match.nodeName === next.nodeName && (match.id ?? "") === (next.id ?? "")) {
      if (match !== at) from.insertBefore(match, at);
      if (match.nodeType === Node.ELEMENT_NODE) morph(match, next);
      else if (match.data !== next.data) match.data = next.data;
      at = match.nextSibling;
    } else {
      from.insertBefore(next, at);
    }
  }
  while (at) {
    const after = at.nextSibling;
    at.remove();
    at = after;
  }
}

function apply(pieces) {
  for (const [id, html] of Object.entries(pieces)) {
    const template = document.createElement("template");
    template.innerHTML = html;
    localize(template.content);
    const element = document.getElementById(id);
    if (element) morph(element, template.content.firstElementChild);
  }
  settle("main" in pieces);
}

function settle(fresh) {
  const verdict = document.getElementById("verdict");
  document.title = verdict.dataset.title;
  arrange(fresh);
  draw();
}

function say(state) {
  if (live.dataset.is === state) return;
  live.dataset.is = state;
  live.textContent = live.getAttribute("data-say-" + state);
}

function follow() {
  const feed = new EventSource(document.body.dataset.feed);
  feed.addEventListener("pieces", (event) => {
    say("on");
    apply(JSON.parse(event.data));
  });
  feed.addEventListener("reload", () => {
    feed.close();
    location.reload();
  });
  feed.onerror = () => {
    say("lost");
    if (feed.readyState === EventSource.CLOSED) setTimeout(follow, 3000); // the browser has given up
  };
}

dress(redraw);
localize(document);
listen();
settle(true);
say("wait");
follow();
performance.mark("interactive");
