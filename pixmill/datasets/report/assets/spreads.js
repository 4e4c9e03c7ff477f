"use strict";
// A score, latency or cost over an axis of the sweep: a box for each value. The figures are about all jobs.

const spreads = (() => {
  const article = document.getElementById("spreads");
  const TOP = 10;
  const HEIGHT = 240;
  const LEFT = 64; // room for the labels of the scale
  const LETTER = 7; // width of a letter, about

  const nameOf = (plot) => (plot.kind === "score" ? `score ${plot.measure}` : plot.measure);
  const axisName = (path) => about.axes.find((axis) => axis.path === path).name;
  const distinct = (values) => [...new Set(values)];

  function shape(tag, attributes, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, typeof value === "number" ? value.toFixed(1) : value);
    element.append(...children);
    return element;
  }

  const figure = (plot, value) =>
    plot.kind === "latency" ? milliseconds(value) : `${inThreeDigits(value)}${plot.unit ? ` ${plot.unit}` : ""}`;

  // Round figures from at most `low` to at least `high`, four to eight of them.
  function scaleOf(low, high) {
    const rough = (high - low || Math.abs(high) || 1) / 4;
    const size = 10 ** Math.floor(Math.log10(rough));
    const step = size * [1, 2, 5, 10].find((by) => size * by >= rough * 0.999);
    const first = Math.floor(low / step + 1e-9);
    const last = Math.max(first + 1, Math.ceil(high / step - 1e-9));
    return Array.from({ length: last - first + 1 }, (_, at) => (first + at) * step);
  }

  function chart(plot) {
    const width = Math.max(280, article.clientWidth - 48);
    const lows = plot.values.map((value) => value.quantiles[0]);
    const highs = plot.values.map((value) => value.quantiles[4]);
    // Bars of time and money are read from nothing on; scores are compared with each other.
    const steps = scaleOf(plot.kind === "score" ? Math.min(...lows) : 0, Math.max(...highs));
    const [bottom, top] = [steps[0], steps.at(-1)];
    const y = (value) => TOP + HEIGHT * (1 - (value - bottom) / (top - bottom));
    const slot = (width - LEFT) / plot.values.length;
    const x = (at) => LEFT + slot * (at + 0.5);
    const longest = Math.max(...plot.values.map((value) => value.label.length));
    const slanted = longest * LETTER > slot;
    const most = slanted ? 18 : longest;
    const room = slanted ? 20 + Math.min(longest, most) * LETTER * 0.65 : 30;
    const title = `${nameOf(plot)} over ${axisName(plot.axis)}`;
    const svg = shape("svg", { class: "drawn", viewBox: `0 0 ${width} ${TOP + HEIGHT + room}`, role: "img", "aria-label": title });
    for (const step of steps) {
      svg.append(shape("line", { class: "rule", x1: LEFT, x2: width, y1: y(step), y2: y(step) }));
      svg.append(shape("text", { class: "label", x: LEFT - 10, y: y(step) + 4, "text-anchor": "end" }, figure({ ...plot, unit: "" }, step)));
    }
    if (plot.threshold !== null && plot.threshold > bottom && plot.threshold < top) {
      const at = y(plot.threshold);
      const words = `flagged below ${plot.threshold}`;
      svg.append(shape("line", { class: "threshold", x1: LEFT, x2: width, y1: at, y2: at }));
      svg.append(shape("text", { class: "label", x: width, y: at + 15, "text-anchor": "end" }, words));
    }
    const box = Math.min(44, slot * 0.6);
    plot.values.forEach((value, at) => {
      const [p5, p25, p50, p75, p95] = value.quantiles.map(y);
      const half = box / 2;
      const label = value.label.length > most ? `${value.label.slice(0, most - 1)}…` : value.label;
      const turned = slanted ? { transform: `rotate(-40 ${x(at).toFixed(1)} ${TOP + HEIGHT + 18})`, "text-anchor": "end" } : { "text-anchor": "middle" };
      svg.append(
        shape(
          "g",
          {},
          shape("title", {}, `${value.label}: ${words(plot, value)}`),
          // What the mouse finds, also between thin lines.
          shape("rect", { class: "nothing-drawn", x: x(at) - slot / 2, y: TOP, width: slot, height: HEIGHT }),
          shape("line", { class: "whisker", x1: x(at), x2: x(at), y1: p5, y2: p95 }),
          shape("rect", { class: "box", x: x(at) - half, y: p75, width: box, height: Math.max(1, p25 - p75), rx: 2 }),
          shape("circle", { class: "mean", cx: x(at), cy: y(value.mean), r: 3.5 }),
          shape("line", { class: "median", x1: x(at) - half, x2: x(at) + half, y1: p50, y2: p50 }),
        ),
        shape("text", { class: "label", x: x(at), y: TOP + HEIGHT + 18, ...turned }, label),
      );
    });
    return svg;
  }

  const half = (plot, { quantiles }) => (quantiles[1] === quantiles[3] ? "–" : `${figure(plot, quantiles[1])} – ${figure(plot, quantiles[3])}`);

  const words = (plot, value) => `median ${figure(plot, value.quantiles[2])}, middle half ${half(plot, value)}, ${value.jobs.toLocaleString("en")} jobs`;

  function table(plot) {
    const cell = (tag, text, attributes = {}) => make(tag, attributes, text);
    const head = [axisName(plot.axis), "jobs", "median", "middle half", "mean"];
    const rows = plot.values.map((value) =>
      make(
        "tr",
        {},
        cell("th", value.label, { scope: "row", dir: "auto" }),
        ...[value.jobs.toLocaleString("en"), figure(plot, value.quantiles[2]), half(plot, value), figure(plot, value.mean)].map((text) => cell("td", text)),
      ),
    );
    return make("table", { class: "costs" }, make("thead", {}, make("tr", {}, ...head.map((text) => cell("th", text, { scope: "col" })))), make("tbody", {}, ...rows));
  }

  function render() {
    const all = about.spreads;
    article.hidden = !all.length;
    if (!all.length) return;
    // Scorers of the user's own first: what they were written for.
    const measures = distinct([...all.filter((plot) => plot.kind === "score" && plot.threshold === null), ...all].map(nameOf));
    const measure = measures.includes(state.get("measure")) ? state.get("measure") : measures[0];
    const axes = all.filter((plot) => nameOf(plot) === measure).map((plot) => plot.axis);
    const axis = axes.includes(state.get("over")) ? state.get("over") : axes[0];
    const plot = all.find((each) => nameOf(each) === measure && each.axis === axis);
    article.replaceChildren(
      make("h2", {}, "Over the sweep ", make("small", {}, "median, mean (a ring), middle half, and the range of nine jobs of ten")),
      make(
        "div",
        { class: "choices" },
        choice("Show", measures.map((name) => [name, name]), measure, (name) => state.set({ measure: name })),
        choice("over", axes.map((path) => [path, axisName(path)]), axis, (path) => state.set({ over: path })),
      ),
      chart(plot),
      make("div", { class: "wide" }, table(plot)),
    );
  }

  return { render };
})();
