/* The page itself. Whatever comes from the run goes in as text, never as HTML. */
const report = JSON.parse(document.getElementById("data").textContent);
const { gallery, summary } = report;
const get = (id) => document.getElementById(id);
const ERROR = { key: "error", label: "|error|", kind: "deviation" };
const LAYERS = summary.known ? [...gallery.layers, ERROR] : gallery.layers;
const MAGMA = [[0, 0, 4], [40, 17, 89], [101, 26, 128], [160, 47, 127], [212, 72, 103], [245, 125, 91],
  [254, 186, 128], [252, 253, 191]];
const ROWS_AT_FIRST = 100;
const state = { image: 0, left: gallery.left, right: gallery.right, split: 0.5, level: 0.5, width: 1 };

function make(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function number(value, digits) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

function pairs(list, entries) {
  list.replaceChildren();
  for (const [name, value] of entries) list.append(make("dt", "", name), make("dd", "", String(value)));
}

/* ---- images: unpacked when they are first shown ---- */

const unpacked = new Map();

function unpack(image, key) {
  const name = `${image}/${key}`;
  if (!unpacked.has(name)) {
    unpacked.set(name, key === ERROR.key ? errorOf(image) : inflate(gallery.images[image].layers[key]));
  }
  return unpacked.get(name);
}

async function inflate(layer) {
  const { width, height, levels } = gallery;
  const bytes = Uint8Array.from(atob(layer.data), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const count = width * height;
  const values = new Float32Array(count);
  const step = (layer.high - layer.low) / (levels - 1);
  let level = 0;
  for (let n = 0; n < count; n++) {
    const difference = (planes[n] << 8) | planes[n + count];
    level = n % width === 0 ? difference : (level + difference) & 65535;
    values[n] = layer.low + step * level;
  }
  return values;
}

async function errorOf(image) {
  const [x, truth] = await Promise.all([unpack(image, report.gallery.right), unpack(image, "ground_truth")]);
  return x.map((value, n) => Math.abs(value - truth[n]));
}

function percentile(values, part) {
  const sorted = Float32Array.from(values).sort();
  return sorted[Math.floor(part * (sorted.length - 1))];
}

/* Colours of the levels 0 to 255. */
const GREY = Uint8Array.from({ length: 768 }, (_, n) => Math.floor(n / 3));
const HEAT = Uint8Array.from({ length: 768 }, (_, n) => {
  const place = (Math.floor(n / 3) / 255) * (MAGMA.length - 1);
  const below = Math.min(Math.floor(place), MAGMA.length - 2);
  const [a, b] = [MAGMA[below][n % 3], MAGMA[below + 1][n % 3]];
  return Math.round(a + (place - below) * (b - a));
});

function look(key, values) {
  if (LAYERS.find((layer) => layer.key === key).kind === "deviation") {
    return { low: 0, high: percentile(values, 0.995) || 1, colours: HEAT };
  }
  return { low: state.level - state.width / 2, high: state.level + state.width / 2, colours: GREY };
}

/* Paint the columns from `first` to `end` of an image. */
function paint(pixels, values, { low, high, colours }, first, end) {
  const { width, height } = gallery;
  const scale = 255 / (high - low);
  for (let row = 0; row < height; row++) {
    for (let n = row * width + first; n < row * width + end; n++) {
      const level = Math.max(0, Math.min(255, Math.round((values[n] - low) * scale)));
      for (let c = 0; c < 3; c++) pixels[4 * n + c] = colours[3 * level + c];
      pixels[4 * n + 3] = 255;
    }
  }
}

async function draw() {
  const { image, left, right, split } = state;
  const [a, b] = await Promise.all([unpack(image, left), unpack(image, right)]);
  if (image !== state.image || left !== state.left || right !== state.right) return;
  const { width, height } = gallery;
  const context = get("view").getContext("2d", { willReadFrequently: true });
  const picture = context.createImageData(width, height);
  const cut = Math.round(split * width);
  const looks = [look(left, a), look(right, b)];
  paint(picture.data, a, looks[0], 0, cut);
  paint(picture.data, b, looks[1], cut, width);
  context.putImageData(picture, 0, 0);
  get("divider").style.left = `${100 * split}%`;
  get("view").dataset.drawn = [image, left, right, split, state.level, state.width].join(" ");
  const heat = looks.find((one) => one.colours === HEAT);
  get("scale").textContent = heat ? `Colours of deviations: 0 (black) to ${short(heat.high)} (pale).` : "";
}

/* ---- thumbnails: painted once they come into view ---- */

const visible = new Set();

async function paintThumbnail(image) {
  const values = await unpack(image, gallery.right);
  const canvas = get("gallery").children[image].querySelector("canvas");
  canvas.width = gallery.width;
  canvas.height = gallery.height;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(gallery.width, gallery.height);
  paint(picture.data, values, look(gallery.right, values), 0, gallery.width);
  context.putImageData(picture, 0, 0);
  canvas.dataset.drawn = "yes";
}

const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const image = Number(entry.target.dataset.image);
    if (!entry.isIntersecting) visible.delete(image);
    else if (!visible.has(image)) {
      visible.add(image);
      run(paintThumbnail(image));
    }
  }
}, { rootMargin: "200px" });

/* ---- what follows from the state ---- */

let waiting = false;

function refresh(thumbnails) {
  get("level-value").textContent = state.level.toFixed(3);
  get("width-value").textContent = state.width.toFixed(3);
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    run(draw());
    if (thumbnails) visible.forEach((image) => run(paintThumbnail(image)));
  });
}

function setWindow(low, high) {
  state.level = Math.max(-0.5, Math.min(1.5, (low + high) / 2));
  state.width = Math.max(0.01, Math.min(2, high - low));
  get("level").value = state.level;
  get("width").value = state.width;
  refresh(true);
}

function choose(image) {
  state.image = (image + gallery.images.length) % gallery.images.length;
  const { name } = gallery.images[state.image];
  get("name").textContent = name;
  [...get("gallery").children].forEach((button, n) => button.classList.toggle("chosen", n === state.image));
  const row = rowOf.get(name);
  pairs(get("numbers"), row ? report.table.columns.slice(1).map((column, n) => [column, cell(row[n + 1])]) : []);
  get("curve-name").textContent = name;
  get("curves").replaceChildren(...report.curves.map((curve) => lineChart(curve, name)));
  markRows();
  refresh(false);
}

/* ---- the table ---- */

const rowOf = new Map(report.table.rows.map((row) => [row[0], row]));
const placeOf = new Map(gallery.images.map((image, n) => [image.name, n]));
const table = { rows: [...report.table.rows], shown: ROWS_AT_FIRST, column: null, down: false };

function cell(value) {
  if (value === null) return "–";
  return typeof value === "number" ? (Number.isInteger(value) ? String(value) : value.toPrecision(4)) : value;
}

function sortBy(column) {
  table.down = table.column === column && !table.down;
  table.column = column;
  const sign = table.down ? -1 : 1;
  table.rows.sort((a, b) => {
    const [x, y] = [a[column], b[column]];
    if (x === null || y === null) return (x === null) - (y === null);
    return sign * (typeof x === "number" ? x - y : String(x).localeCompare(String(y)));
  });
  fillTable();
}

function fillTable() {
  [...get("table").tHead.rows[0].cells].forEach((head, n) => {
    if (n === table.column) head.setAttribute("aria-sort", table.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
  get("table").tBodies[0].replaceChildren(...table.rows.slice(0, table.shown).map((values) => {
    const row = make("tr", placeOf.has(values[0]) ? "linked" : "");
    row.append(...values.map((value) => make("td", "", cell(value))));
    if (placeOf.has(values[0])) row.addEventListener("click", () => choose(placeOf.get(values[0])));
    return row;
  }));
  get("more").hidden = table.shown >= table.rows.length;
  get("more").textContent = `show all ${table.rows.length.toLocaleString("en")} rows`;
  markRows();
}

function markRows() {
  const { name } = gallery.images[state.image];
  for (const row of get("table").tBodies[0].rows) row.classList.toggle("chosen", row.cells[0].textContent === name);
}

/* ---- once ---- */

function fillHead() {
  const { images, images_asked_for: asked, gradient_like: good, seconds } = summary;
  get("title").textContent = report.title;
  const unfinished = summary.finished ? "" : `, of ${asked.toLocaleString("en")} asked for: the run did not finish`;
  get("subtitle").textContent =
    `${images.toLocaleString("en")} ${images === 1 ? "image" : "images"}${unfinished}; ${summary.algorithm}`;
  const certified = good === images;
  get("verdict").classList.toggle("good", certified);
  const badge = certified ? "certified" : `${good} of ${images} certified`;
  get("verdict").append(make("span", "badge", badge), make("span", "", summary.verdict ?? "No certificate."));
  const tiles = [];
  for (const method of summary.methods) {
    const { mean, std } = method.psnr;
    const spread = images === 1 ? "" : `, ± ${number(std, 2)}`;
    if (mean !== null) tiles.push([`${mean.toFixed(2)} dB`, `PSNR of ${method.label}${spread}`]);
  }
  tiles.push([number(summary.discrepancy, 2), "|Ax - y| over the noise, 1 is expected"]);
  tiles.push([`${seconds.toPrecision(3)} s`, "per image, all methods"]);
  const left = Object.entries(summary.left_out);
  get("left-out").hidden = left.length === 0;
  get("left-out-title").textContent = `${left.length.toLocaleString("en")} left out: no measurements that could be used`;
  pairs(get("left-out-reasons"), left);
  for (const [value, text] of tiles) {
    const tile = make("div", "tile");
    tile.append(make("b", "", value), make("span", "", text));
    get("tiles").append(tile);
  }
}

function fillGallery() {
  get("note").textContent = gallery.note;
  gallery.images.forEach(({ name }, n) => {
    const button = make("button");
    button.type = "button";
    button.title = name;
    button.dataset.image = n;
    const canvas = make("canvas", gallery.width < 400 ? "crisp" : "");
    canvas.style.aspectRatio = `${gallery.width} / ${gallery.height}`;
    const row = rowOf.get(name);
    const place = report.table.columns.indexOf("gradient-like");
    const [text, value] = [report.table.columns[shownColumn()], row ? cell(row[shownColumn()]) : ""];
    button.append(canvas, make("span", row && row[place] === "no" ? "failed" : "", name),
      make("span", "", summary.known ? `${value} dB` : `${text} ${value}`));
    button.addEventListener("click", () => choose(n));
    get("gallery").append(button);
    watcher.observe(button);
  });
}

/* What a thumbnail says: the solver's PSNR, or the discrepancy. */
function shownColumn() {
  const wanted = summary.known ? `PSNR ${summary.solver}` : "|Ax-y| / noise";
  return report.table.columns.indexOf(wanted);
}

function fillRest() {
  get("histograms").append(...report.histograms.map(histogram));
  get("curves-section").hidden = report.curves.length === 0;
  const shown = report.table.rows.length;
  const total = report.table.images;
  get("table-note").textContent = shown < total
    ? `The ${shown.toLocaleString("en")} worst of ${total.toLocaleString("en")} images; all are in metrics.csv.` : "";
  const head = make("tr");
  report.table.columns.forEach((column, n) => {
    const made = make("th", "", column);
    made.addEventListener("click", () => sortBy(n));
    head.append(made);
  });
  get("table").tHead.append(head);
  get("command").textContent = report.command;
  get("config").textContent = report.config;
  pairs(get("environment"), Object.entries(report.environment));
  for (const side of ["left", "right"]) {
    for (const { key, label } of LAYERS) get(side).append(new Option(label, key, false, key === state[side]));
  }
}

function tag() {
  for (const side of ["left", "right"]) {
    get(`${side}-tag`).textContent = LAYERS.find((layer) => layer.key === state[side]).label;
  }
}

function listen() {
  get("split").addEventListener("input", (event) => { state.split = event.target.value / 1000; refresh(false); });
  for (const name of ["level", "width"]) {
    get(name).addEventListener("input", (event) => { state[name] = Number(event.target.value); refresh(true); });
  }
  for (const side of ["left", "right"]) {
    get(side).addEventListener("change", (event) => { state[side] = event.target.value; tag(); refresh(false); });
  }
  get("full").addEventListener("click", () => setWindow(0, 1));
  get("automatic").addEventListener("click", () => run(unpack(state.image, gallery.right).then((values) =>
    setWindow(percentile(values, 0.01), percentile(values, 0.995)))));
  get("previous").addEventListener("click", () => choose(state.image - 1));
  get("next").addEventListener("click", () => choose(state.image + 1));
  document.addEventListener("keydown", (event) => {
    if (/^(INPUT|SELECT)$/.test(event.target.tagName)) return;
    if (event.key === "ArrowLeft") choose(state.image - 1);
    if (event.key === "ArrowRight") choose(state.image + 1);
  });
  get("more").addEventListener("click", () => { table.shown = table.rows.length; fillTable(); });
  get("copy").addEventListener("click", () => {
    getSelection().selectAllChildren(get("command"));
    if (document.execCommand("copy")) get("copy").textContent = "copied";
  });
}

/* Say it on the page where a browser cannot unpack images. */
function run(promise) {
  promise.catch((error) => {
    get("scale").textContent = `Images cannot be shown (${error.message}): open this file in a browser of 2023 or later.`;
  });
}

get("view").width = gallery.width;
get("view").height = gallery.height;
get("view").classList.toggle("crisp", gallery.width < 400);
fillHead();
fillRest();
fillGallery();
fillTable();
tag();
listen();
setWindow(0, 1);
choose(0);
