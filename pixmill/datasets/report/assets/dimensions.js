"use strict";
// What the grid can be made of: the sweep's axes, the rows of the table, and replicates; and what was chosen of them.

const dimensions = (() => {
  const ALL = "(all)"; // in the address, where a dimension is held at no value

  const rows = [...new Set(jobs.all.filter(hasPoint).map((job) => jobs.get("row_number", job)))];
  const rowAt = new Map(rows.map((number, at) => [number, at]));
  const firstOfRow = new Map();
  for (const job of jobs.all) {
    const number = jobs.get("row_number", job);
    if (!firstOfRow.has(number)) firstOfRow.set(number, job);
  }

  const all = [
    ...about.axes.map((axis, k) => ({ key: axis.path, name: axis.name, labels: axis.labels, at: (job) => jobs.axis(k, job) })),
    {
      key: "~row",
      name: "row",
      labels: rows.map((number) => jobs.get("row_key", firstOfRow.get(number)) ?? `row ${number}`),
      at: (job) => rowAt.get(jobs.get("row_number", job)) ?? -1,
    },
  ];
  if (jobs.replicates.length > 1) {
    const labels = jobs.replicates.map(String);
    all.push({ key: "~replicate", name: "replicate", labels, at: (job) => jobs.replicates.indexOf(jobs.get("replicate", job)) });
  }

  function hasPoint(job) {
    return about.axes.every((_, k) => jobs.axis(k, job) >= 0) && jobs.get("status", job) !== "invalid";
  }

  // Whether most combinations of two dimensions occur. Axes that go in step make a diagonal, which is no grid.
  const crossings = new Map();
  function crossed(one, other) {
    const key = JSON.stringify([one.key, other.key].sort());
    if (!crossings.has(key)) {
      const pairs = new Set(jobs.all.filter(hasPoint).map((job) => one.at(job) * other.labels.length + other.at(job)));
      crossings.set(key, pairs.size * 2 > one.labels.length * other.labels.length);
    }
    return crossings.get(key);
  }

  const row = all.find((dimension) => dimension.key === "~row");
  const firstX = all.find((dimension) => dimension !== row);
  const firstY = all.find((dimension) => about.axes.some((axis) => axis.path === dimension.key) && dimension !== firstX && crossed(firstX, dimension)) ?? row;

  // The dimensions that are stacked inside the cells unless somebody holds them at a value: replicates, and what goes
  // in step with something that is chosen already and so is no choice of its own.
  function stackedBeside(x, y) {
    const chosen = [x, y];
    const stacked = new Set(["~replicate"]);
    for (const dimension of all) {
      if (chosen.includes(dimension) || stacked.has(dimension.key)) continue;
      if (chosen.every((other) => crossed(other, dimension))) chosen.push(dimension);
      else stacked.add(dimension.key);
    }
    return stacked;
  }

  const byKey = (key) => all.find((dimension) => dimension.key === key);

  // What the address says about the grid: dimensions across and down, and the value (-1: all) of each of the others.
  function chosen() {
    const x = byKey(state.get("x")) ?? firstX;
    let y = byKey(state.get("y")) ?? firstY;
    if (y === x) y = x === row ? firstX : row;
    const stacked = stackedBeside(x, y);
    const held = all
      .filter((dimension) => dimension !== x && dimension !== y)
      .map((dimension) => {
        const label = state.get(`at ${dimension.key}`);
        if (label === ALL || (!label && stacked.has(dimension.key))) return { dimension, at: -1 };
        return { dimension, at: Math.max(0, dimension.labels.indexOf(label)) };
      });
    return { x, y, held };
  }

  // The cells of what is chosen: jobs by `down * columns + across`.
  function cellsOf({ x, y, held }) {
    const cells = new Map();
    for (const job of jobs.all) {
      if (!hasPoint(job) || held.some(({ dimension, at }) => at >= 0 && dimension.at(job) !== at)) continue;
      const cell = y.at(job) * x.labels.length + x.at(job);
      if (cells.has(cell)) cells.get(cell).push(job);
      else cells.set(cell, [job]);
    }
    return cells;
  }

  return {
    all,
    row,
    chosen,
    cellsOf,
    holdAt: (dimension, value) => state.set({ [`at ${dimension.key}`]: value < 0 ? ALL : dimension.labels[value] }),
    // The first job of a row of the table, which speaks for it.
    jobOfRow: (at) => firstOfRow.get(rows[at]),
  };
})();
