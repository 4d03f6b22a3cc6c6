/* Line charts and histograms as SVG; sizes are in the units of the view box. */
const SVG = "http://www.w3.org/2000/svg";
const FRAME = { width: 340, height: 200, left: 46, right: 8, top: 8, bottom: 24 };

function shape(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function card(title, ...children) {
  const made = document.createElement("div");
  made.className = "chart";
  const heading = document.createElement("h3");
  heading.textContent = title;
  made.append(heading, ...children);
  return made;
}

/* Round values between two others, about `count` of them. */
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + 1e-9 * step; n++) found.push(n * step);
  return found;
}

function short(value, digits = 3) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e4 || size < 1e-3) return value.toExponential(digits - 2).replace(/\.?0+e/, "e").replace("e+", "e");
  return String(Number(value.toPrecision(digits)));
}

/* Texts of different values that differ, each as short as that allows. */
function texts(values) {
  for (let digits = 3; digits < 8; digits++) {
    const found = values.map((v) => short(v, digits));
    if (new Set(found).size === values.length) return found;
  }
  return values.map(String);
}

function span(low, high) {
  if (high > low) return [low, high];
  const room = Math.abs(low) || 1;
  return [low - 0.5 * room, high + 0.5 * room];
}

/* Whole numbers only, as far as there are any. */
function wholeTicks(low, high, count) {
  const whole = ticks(low, high, Math.min(count, high - low)).filter((v) => Number.isInteger(v));
  return whole.length ? whole : ticks(low, high, count);
}

/* An SVG with axes, and where x and y lie in it. */
function axes(xs, ys, yTicks, yValue) {
  const { width, height, left, right, top, bottom } = FRAME;
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  const x = (v) => left + ((v - xs[0]) / (xs[1] - xs[0])) * (width - left - right);
  const y = (v) => height - bottom - ((v - ys[0]) / (ys[1] - ys[0])) * (height - top - bottom);
  const [across, up] = [ticks(xs[0], xs[1], 6), yTicks(ys[0], ys[1], 4)];
  const [acrossTexts, upTexts] = [texts(across), texts(up.map(yValue))];
  up.forEach((v, n) => {
    svg.append(shape("line", { class: "grid", x1: left, x2: width - right, y1: y(v), y2: y(v) }));
    svg.append(shape("text", { x: left - 6, y: y(v) + 3.5, "text-anchor": "end" }, upTexts[n]));
  });
  across.forEach((v, n) => {
    svg.append(shape("text", { x: x(v), y: height - 8, "text-anchor": "middle" }, acrossTexts[n]));
  });
  return { svg, x, y };
}

/* Mean, band and the curve of one image over iterations. */
function lineChart(curve, name) {
  const lift = (v) => (v === null ? null : curve.logarithmic ? Math.log10(v) : v);
  const one = curve.images[name] ?? [];
  const all = [...curve.mean, ...curve.low, ...curve.high, ...one].map(lift).filter((v) => v !== null);
  const ys = span(Math.min(...all), Math.max(...all));
  const last = curve.iterations[curve.iterations.length - 1];
  const yValue = (v) => (curve.logarithmic ? 10 ** v : v);
  const { svg, x, y } = axes(span(0, last), ys, curve.logarithmic ? wholeTicks : ticks, yValue);
  const points = (values) => values
    .map((v, n) => [curve.iterations[n], lift(v)])
    .filter(([, v]) => v !== null)
    .map(([n, v]) => `${x(n).toFixed(1)},${y(v).toFixed(1)}`);
  const band = [...points(curve.low), ...points(curve.high).reverse()];
  svg.append(shape("polygon", { class: "band", points: band.join(" ") }));
  svg.append(shape("polyline", { class: "mean", points: points(curve.mean).join(" ") }));
  svg.append(shape("polyline", { class: "one", points: points(one).join(" ") }));
  return card(curve.label, svg);
}

/* Bars of all series, seen through each other. */
function histogram(data) {
  const { edges, counts } = data;
  const names = Object.keys(counts);
  const most = Math.max(...Object.values(counts).flat());
  const { svg, x, y } = axes([edges[0], edges[edges.length - 1]], [0, most * 1.05], wholeTicks, (v) => v);
  names.forEach((name, series) => {
    counts[name].forEach((count, n) => {
      if (count === 0) return;
      const bar = {
        class: "bar", x: (x(edges[n]) + 0.5).toFixed(1), width: (x(edges[n + 1]) - x(edges[n]) - 1).toFixed(1),
        y: y(count).toFixed(1), height: (y(0) - y(count)).toFixed(1), rx: 1,
        style: `fill: var(--series-${series % 4})`,
      };
      svg.append(shape("rect", bar));
    });
  });
  const legend = document.createElement("p");
  legend.className = "legend";
  names.forEach((name, series) => {
    const key = document.createElement("i");
    key.className = "key series";
    key.style.background = `var(--series-${series % 4})`;
    legend.append(key, name);
  });
  return card(data.label, svg, legend);
}
