// The table of models and instances: sorting, filtering, folding. What the viewer has
// chosen lives here and is put on the table anew after each change of it.
const folded = new Set(); // ids of models
const unfolded = new Set(); // ids of instances
const sort = { column: -1, down: false };
let order = []; // ids of the bodies, as the server orders them

const bodies = () => [...document.querySelectorAll(".fleet > tbody")];
const filter = () => document.getElementById("filter");
const problems = () => document.getElementById("problems");

function value(body, column) {
  if (column === 0) return body.querySelector(".name bdi").textContent;
  // A model has one cell where its instances have the four of their percentiles.
  const model = body.classList.contains("model");
  if (model && column > 4 && column < 9) return null;
  const cell = body.rows[0].cells[model && column === 9 ? 6 : column];
  const number = parseFloat(cell.dataset.v ?? cell.textContent.replace(/[,<]/g, ""));
  return Number.isNaN(number) ? null : number;
}

// groups returns the models, each with its instances, in the server's order.
function groups() {
  const place = new Map(order.map((id, i) => [id, i]));
  const all = [];
  for (const body of bodies().sort((a, b) => place.get(a.id) - place.get(b.id))) {
    if (body.classList.contains("model")) all.push({ model: body, instances: [] });
    else all.at(-1).instances.push(body);
  }
  return all;
}

function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null); // what has no value comes last
  const n = typeof a === "string" ? a.localeCompare(b, document.documentElement.lang, { numeric: true }) : a - b;
  return sort.down ? -n : n;
}

// key is what a model is sorted by: its own figure, or that of its first instance.
function key(group) {
  return value(group.model, sort.column) ?? (group.instances[0] ? value(group.instances[0], sort.column) : null);
}

function reorder(all) {
  if (sort.column >= 0) {
    for (const group of all) {
      group.instances = group.instances
        .map((body) => [value(body, sort.column), body])
        .sort((a, b) => compare(a[0], b[0]))
        .map((pair) => pair[1]);
    }
    const keys = new Map(all.map((group) => [group, key(group)]));
    all.sort((a, b) => compare(keys.get(a), keys.get(b)));
  }
  const wanted = all.flatMap((group) => [group.model, ...group.instances]);
  const table = document.querySelector(".fleet");
  const focused = document.activeElement;
  let at = table?.tBodies[0];
  for (const body of wanted) {
    if (body === at) at = at.nextElementSibling;
    else table.insertBefore(body, at);
  }
  if (focused !== document.activeElement) focused.focus({ preventScroll: true }); // moving takes the focus away
}

const words = (body) => (body.querySelector(".name").textContent + " " + body.querySelector(".st").textContent).toLowerCase();

function sift(all) {
  const wanted = filter()?.value.trim().toLowerCase() ?? "";
  const bad = problems()?.getAttribute("aria-pressed") === "true";
  let shown = 0;
  let count = 0;
  for (const { model, instances } of all) {
    const named = words(model).includes(wanted);
    const troubled = Number(model.querySelector(".st").dataset.v) < 2;
    const matching = instances.filter((body) => (named || words(body).includes(wanted)) && (!bad || "bad" in body.dataset));
    const visible = matching.length > 0 || (named && (!bad || troubled));
    model.hidden = !visible;
    const open = !folded.has(model.id);
    model.querySelector(".fold").setAttribute("aria-expanded", String(open));
    for (const body of instances) body.hidden = !open || !matching.includes(body);
    shown += matching.length;
    count += instances.length;
  }
  const output = document.getElementById("shown");
  if (!output) return;
  const text = wanted || bad ? `${shown} / ${count} ${output.dataset.shown}` : "";
  if (output.textContent !== text) output.textContent = text;
  const nothing = document.getElementById("nothing");
  if (nothing) nothing.hidden = all.some(({ model }) => !model.hidden);
}

function unfold() {
  for (const body of document.querySelectorAll(".fleet > tbody.inst")) {
    const open = unfolded.has(body.id);
    body.querySelector(".fold").setAttribute("aria-expanded", String(open));
    body.rows[1].toggleAttribute("data-open", open);
  }
  const all = document.getElementById("foldall");
  const models = [...document.querySelectorAll(".fleet > tbody.model")];
  const text = models.length > 0 && models.every((body) => folded.has(body.id)) ? all.dataset.unfold : all.dataset.fold;
  if (all.textContent !== text) all.textContent = text;
}

function heads() {
  for (const button of document.querySelectorAll("[data-sort]")) {
    const head = button.closest("th");
    if (Number(button.dataset.sort) === sort.column) head.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
}

// arrange puts the viewer's choices on the table; fresh says that the rows are in the
// server's order, since it has just laid them.
export function arrange(fresh) {
  if (fresh) order = bodies().map((body) => body.id);
  const all = groups();
  reorder(all);
  sift(all);
  unfold();
  heads();
}

function toggle(set, id) {
  if (!set.delete(id)) set.add(id);
}

// listen takes clicks and keys for all rows, whenever they come.
export function listen() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const body = button.closest("tbody");
    if (button.dataset.sort) {
      // Figures are wanted from the top, names and states from the first; a third click ends it.
      const column = Number(button.dataset.sort);
      const first = column > 1;
      if (sort.column !== column) Object.assign(sort, { column, down: first });
      else if (sort.down === first) sort.down = !first;
      else sort.column = -1;
    } else if (button.classList.contains("fold")) {
      toggle(body.classList.contains("model") ? folded : unfolded, body.id);
    } else if (button.id === "problems") {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    } else if (button.id === "foldall") {
      const models = [...document.querySelectorAll(".fleet > tbody.model")].map((model) => model.id);
      const all = models.every((id) => folded.has(id));
      for (const id of models) all ? folded.delete(id) : folded.add(id);
    } else {
      return;
    }
    arrange();
  });
  document.addEventListener("input", (event) => {
    if (event.target.id === "filter") arrange();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.ctrlKey && !event.metaKey && document.activeElement !== filter()) {
      event.preventDefault();
      filter()?.focus();
    } else if (event.key === "Escape" && document.activeElement === filter()) {
      filter().value = "";
      arrange();
    }
  });
}
