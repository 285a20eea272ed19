// The charts: requests and failures of the last 15 minutes, drawn by uPlot when they
// come into view. An element of the class "chart" holds its figures in data-chart, or
// names in data-of the cell that does.
const uPlot = window.uPlot;
const drawn = new Map(); // element -> { plot, data }
const visible = new Set();
const figures = document.getElementById("traffic");

const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) visible.add(target);
    else visible.delete(target);
  }
  paint();
}, { rootMargin: "120px" });
const sized = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    const { width, height } = contentRect;
    if (width > 0) drawn.get(target)?.plot.setSize({ width, height });
  }
});

const source = (element) =>
  element.dataset.chart ?? document.getElementById(element.dataset.of)?.querySelector("[data-chart]")?.dataset.chart;

// parse reads "step|requests|errors" into minutes before now, and requests and
// failures a second.
function parse(text) {
  const [step, requests, errors] = text.split("|").map((part) => part.split(" ").map(Number));
  const n = requests.length;
  const time = requests.map((_, i) => ((i + 1 - n) * step[0]) / 60);
  return [time, requests.map((count) => count / step[0]), errors.map((count) => count / step[0] || null)];
}

function color(variable, alpha = "") {
  const probe = document.querySelector(variable) ?? document.body;
  const value = getComputedStyle(probe).color;
  return alpha ? value.replace(/^rgb\((.*)\)$/, `rgba($1, ${alpha})`) : value;
}

function options(element) {
  const wide = element.classList.contains("wide");
  const { minute, now } = document.querySelector("#traffic .chart")?.dataset ?? figures.dataset;
  const line = color(".legend .ok");
  const bad = color(".legend .failed");
  const soft = color("figcaption");
  const grid = { stroke: color("figcaption", "0.18"), width: 1 };
  const axis = { stroke: soft, font: "11px system-ui, sans-serif", ticks: { show: false } };
  return {
    width: element.clientWidth,
    height: element.clientHeight,
    pxAlign: 0,
    cursor: { show: false },
    legend: { show: false },
    padding: wide ? [8, 12, 0, 0] : [2, 0, 2, 0],
    scales: { x: { time: false }, y: { range: (_, __, max) => [0, Math.max(max * 1.08, 0.1)] } },
    axes: wide
      ? [
          { ...axis, grid: { show: false }, size: 22, gap: 4, incrs: [5], values: (_, all) => all.map((v) => (v === 0 ? now : `−${-v} ${minute}`)) },
          { ...axis, grid, size: 40, gap: 4, space: 18, incrs: [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4] },
        ]
      : [{ show: false }, { show: false }],
    series: [
      {},
      { stroke: line, width: wide ? 1.5 : 1.25, fill: color(".legend .ok", wide ? "0.16" : "0.14"), points: { show: false } },
      { stroke: bad, fill: bad, width: 1, points: { show: false }, paths: uPlot.paths.bars({ size: [0.8, 8, 1.5] }) },
    ],
  };
}

function paint() {
  for (const element of visible) {
    if (!element.isConnected) {
      visible.delete(element);
      continue;
    }
    const text = source(element);
    if (!text || element.clientWidth === 0) continue;
    const known = drawn.get(element);
    if (!known) {
      drawn.set(element, { plot: new uPlot(options(element), parse(text), element), data: text });
      sized.observe(element);
    } else if (known.data !== text) {
      known.plot.setData(parse(text));
      known.data = text;
    }
  }
}

// draw draws what is in view and new or changed, and forgets what has gone.
export function draw() {
  for (const [element, { plot }] of drawn) {
    if (element.isConnected) continue;
    plot.destroy();
    drawn.delete(element);
    sized.unobserve(element);
    seen.unobserve(element);
  }
  for (const element of document.querySelectorAll(".chart")) seen.observe(element);
  paint();
}

// redraw draws all anew, in the colours of the theme.
export function redraw() {
  for (const [element, { plot }] of drawn) {
    plot.destroy();
    drawn.delete(element);
  }
  paint();
}
