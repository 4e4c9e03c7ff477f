"use strict";
// The X/Y grid: one dimension across, one down; each of the others is held at a value, or stacked inside the cells.
// Only the cells in sight exist as elements, so that ten thousand rows are as quick as ten.

const grid = (() => {
  const view = document.getElementById("grid");
  const bar = view.querySelector(".bar");
  const sheet = view.querySelector(".sheet");
  const HEAD = 48; // height of the column labels, as in the style sheet
  const GAP = 8;
  const MOST = 16; // images in one cell; the rest is a number

  let now = null; // what is drawn: the choice, its cells, and the measures of the sheet
  const focus = { down: 0, across: 0, slot: 0 };

  // Of a long axis only the values that occur are worth a line.
  function occurring(cells, columns, part) {
    return [...new Set([...cells.keys()].map((cell) => part(cell, columns)))].sort((a, b) => a - b);
  }

  function measured(choice) {
    const cells = dimensions.cellsOf(choice);
    const columns = choice.x.labels.length;
    const across = occurring(cells, columns, (cell) => cell % columns);
    const down = occurring(cells, columns, (cell) => Math.floor(cell / columns));
    const slots = Math.min(MOST, Math.max(1, ...[...cells.values()].map((shots) => shots.length)));
    const perLine = slots <= 3 ? slots : Math.ceil(Math.sqrt(slots));
    const lines = Math.ceil(slots / perLine);
    // On a phone the labels leave room for two pictures beside them.
    const head = Math.min(choice.y === dimensions.row ? 220 : 140, Math.round(sheet.clientWidth * 0.32));
    const room = sheet.clientWidth - head - 24;
    const fitting = Math.floor(room / Math.max(1, across.length)) - GAP;
    const size = sizeFrom("size", 80, 640) || Math.max(120, Math.min(120 + 120 * perLine, fitting));
    const width = Math.round(size);
    const height = Math.round((size / perLine) * Math.max(0.4, Math.min(2.5, jobs.shape() ?? 1)) * lines);
    // What tells the images of one cell from each other: what is held at no value.
    const open = [...choice.held.filter(({ at }) => at < 0).map(({ dimension }) => dimension)];
    return { ...choice, open, cells, columns, across, down, perLine, head, width, height, size };
  }

  const cellOf = (down, across) => now.cells.get(now.down[down] * now.columns + now.across[across]) ?? [];

  const drawn = { rows: new Map(), heads: new Map(), cells: new Map() };
  const canvas = make("div", { class: "canvas", role: "presentation" });
  const heads = make("div", { class: "heads", role: "row" });
  sheet.append(canvas);

  function render() {
    now = measured(dimensions.chosen());
    renderBar();
    focus.down = Math.min(focus.down, Math.max(0, now.down.length - 1));
    focus.across = Math.min(focus.across, Math.max(0, now.across.length - 1));
    for (const part of Object.values(drawn)) part.clear();
    const corner = make("span", { class: "corner", role: "columnheader" });
    corner.append(make("span", {}, `${now.y.name} ↓`), make("span", {}, `${now.x.name} →`));
    corner.style.width = `${now.head}px`;
    heads.replaceChildren(corner);
    canvas.replaceChildren(heads);
    canvas.style.width = `${now.head + now.across.length * (now.width + GAP) + 16}px`;
    canvas.style.height = `${HEAD + now.down.length * (now.height + GAP) + 16}px`;
    sheet.setAttribute("aria-rowcount", now.down.length + 1);
    sheet.setAttribute("aria-colcount", now.across.length + 1);
    if (!now.cells.size) canvas.append(make("p", { class: "nothing" }, "No job has these values."));
    renderCells();
  }

  function inSight(count, size, from, extent, spare) {
    if (printing.is) return { first: 0, last: Math.min(count, MOST_ON_PAPER) };
    const first = Math.max(0, Math.floor(from / size) - spare);
    const last = Math.min(count, Math.ceil((from + extent) / size) + spare);
    return { first, last };
  }

  function renderCells() {
    const wide = inSight(now.across.length, now.width + GAP, sheet.scrollLeft, sheet.clientWidth - now.head, 1);
    const high = inSight(now.down.length, now.height + GAP, sheet.scrollTop, sheet.clientHeight - HEAD, 1);
    const wantedHeads = new Set();
    const wantedRows = new Set();
    for (let across = wide.first; across < wide.last; across++) wantedHeads.add(across);
    for (let down = high.first; down < high.last; down++) wantedRows.add(down);
    keepOnly(drawn.heads, wantedHeads, heads, columnHead);
    for (const down of drawn.rows.keys()) if (!wantedRows.has(down)) drawn.cells.delete(down);
    keepOnly(drawn.rows, wantedRows, canvas, oneRow);
    for (const [down, element] of drawn.rows) {
      if (!drawn.cells.has(down)) drawn.cells.set(down, new Map());
      keepOnly(drawn.cells.get(down), wantedHeads, element, (across) => oneCell(down, across));
    }
  }

  const left = (across) => `${now.head + across * (now.width + GAP)}px`;

  function columnHead(across) {
    const text = now.x.labels[now.across[across]];
    const element = make("span", { class: "column", role: "columnheader", dir: "auto", title: text, "aria-colindex": across + 2 }, text);
    element.style.left = left(across);
    element.style.width = `${now.width}px`;
    return element;
  }

  function oneRow(down) {
    const element = make("div", { class: "line", role: "row", "aria-rowindex": down + 2 }, rowHead(down));
    element.style.top = `${HEAD + down * (now.height + GAP)}px`;
    element.style.height = `${now.height}px`;
    return element;
  }

  function rowHead(down) {
    const at = now.down[down];
    const head = make("div", { class: "row", role: "rowheader" });
    head.style.width = `${now.head}px`;
    const text = now.y.labels[at];
    head.append(make("b", { dir: "auto", title: text }, text));
    if (now.y === dimensions.row) {
      const job = dimensions.jobOfRow(at);
      const [input] = jobs.inputs(job).filter((image) => image.thumb);
      if (input) head.prepend(picture(input.thumb, "", () => ""));
      else head.append(make("span", { dir: "auto" }, sharedPrompt(now.across.flatMap((_, across) => cellOf(down, across))) ?? ""));
    }
    return head;
  }

  function oneCell(down, across) {
    const stack = cellOf(down, across);
    const cell = make("div", { class: "cell", role: "gridcell", "aria-colindex": across + 2 });
    cell.style.left = left(across);
    cell.style.width = `${now.width}px`;
    cell.style.gridTemplateColumns = `repeat(${now.perLine}, 1fr)`;
    stack.slice(0, MOST).forEach((job, slot) => cell.append(shot(job, down, across, slot, stack.length)));
    return cell;
  }

  function shot(job, down, across, slot, count) {
    const here = focus.down === down && focus.across === across && focus.slot === slot;
    const attributes = { type: "button", class: "open", "data-job": job, "aria-label": described(job), tabindex: here ? 0 : -1 };
    const open = make("button", attributes, thumbnailOf(job));
    open.addEventListener("focus", () => makeTabbable(down, across, slot));
    const more = slot === MOST - 1 && count > MOST ? make("span", { class: "more" }, `+${count - MOST}`) : null;
    const label = count > 1 && now.perLine <= 4 ? make("span", { class: "slot-label" }, insideLabel(job, down, across)) : null;
    return make("div", { class: "shot", "data-slot": slot }, open, flagMark(job), starButton(job), label, more);
  }

  // What an image is called inside its cell: the axes at "all" at which the cell has several values.
  function insideLabel(job, down, across) {
    const differing = now.open.filter((dimension) => new Set(cellOf(down, across).map(dimension.at)).size > 1);
    return differing.map((dimension) => `${dimension.name} ${dimension.labels[dimension.at(job)] ?? "–"}`).join(" · ");
  }

  function makeTabbable(down, across, slot) {
    sheet.querySelectorAll('.open[tabindex="0"]').forEach((open) => open.setAttribute("tabindex", "-1"));
    Object.assign(focus, { down, across, slot });
    find(down, across, slot)?.setAttribute("tabindex", "0");
  }

  const find = (down, across, slot) =>
    drawn.cells.get(down)?.get(across)?.querySelector(`[data-slot="${slot}"] .open`) ?? null;

  // Moves the focus to a cell, or to its nearest image, and brings it into sight first: out of sight it has no element.
  function go(down, across, slot) {
    down = Math.max(0, Math.min(now.down.length - 1, down));
    across = Math.max(0, Math.min(now.across.length - 1, across));
    const top = down * (now.height + GAP);
    const start = across * (now.width + GAP);
    const high = sheet.clientHeight - HEAD - now.height - GAP;
    const wide = sheet.clientWidth - now.head - now.width - GAP;
    sheet.scrollTop = Math.max(top - Math.max(0, high), Math.min(sheet.scrollTop, top));
    sheet.scrollLeft = Math.max(start - Math.max(0, wide), Math.min(sheet.scrollLeft, start));
    renderCells();
    Object.assign(focus, { down, across });
    const open = find(down, across, Math.min(slot, Math.max(0, cellOf(down, across).length - 1)));
    open?.focus({ preventScroll: true });
  }

  // The next place to the left or right: the next image of the cell, or of the next cell that has one.
  function sideways(by) {
    const slot = focus.slot + by;
    if (slot >= 0 && slot < Math.min(MOST, cellOf(focus.down, focus.across).length)) return go(focus.down, focus.across, slot);
    let across = focus.across + by;
    while (across >= 0 && across < now.across.length && !cellOf(focus.down, across).length) across += by;
    if (across < 0 || across >= now.across.length) return undefined;
    return go(focus.down, across, by > 0 ? 0 : Math.min(MOST, cellOf(focus.down, across).length) - 1);
  }

  function upOrDown(by) {
    let down = focus.down + by;
    while (down >= 0 && down < now.down.length && !cellOf(down, focus.across).length) down += Math.sign(by);
    if (down >= 0 && down < now.down.length) go(down, focus.across, focus.slot);
  }

  const keys = {
    ArrowRight: () => sideways(1),
    ArrowLeft: () => sideways(-1),
    ArrowDown: () => upOrDown(1),
    ArrowUp: () => upOrDown(-1),
    Home: () => go(focus.down, 0, 0),
    End: () => go(focus.down, now.across.length - 1, 0),
    PageDown: () => go(focus.down + Math.max(1, Math.floor(sheet.clientHeight / now.height) - 1), focus.across, focus.slot),
    PageUp: () => go(focus.down - Math.max(1, Math.floor(sheet.clientHeight / now.height) - 1), focus.across, focus.slot),
  };

  sheet.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  sheet.addEventListener("scroll", beforeNextFrame(() => now && renderCells()), { passive: true });

  function renderBar() {
    const across = dimensions.all.map((dimension) => [dimension.key, dimension.name]);
    // Choosing for one side what stands on the other swaps the two.
    const put = (side, other) => (key) =>
      state.set(now[other].key === key ? { [side]: key, [other]: now[side].key } : { [side]: key, [other]: now[other].key });
    const first = firstInHand();
    describeInHand(first, first === undefined ? null : sharedPrompt([...now.cells.values()].flat()));
    bar.replaceChildren(
      choice("Across", across, now.x.key, put("x", "y")),
      choice("Down", across, now.y.key, put("y", "x")),
      ...now.held.map(stepper),
      inHand,
      slider("size", 80, 640, Math.round(now.size)),
    );
  }

  // A dimension that is neither across nor down: held at one value, with steps back and forth, or all at once.
  function stepper({ dimension, at }) {
    const options = [[-1, "all"], ...dimension.labels.map((label, value) => [value, label])];
    const step = (by, sign, name) => {
      const next = at < 0 ? (by > 0 ? 0 : dimension.labels.length - 1) : at + by;
      const button = make("button", { type: "button", class: "step", "aria-label": `${name} ${dimension.name}` }, sign);
      button.disabled = next < 0 || next >= dimension.labels.length;
      button.addEventListener("click", () => dimensions.holdAt(dimension, next));
      return button;
    };
    const select = choice(dimension.name, options, at, (value) => dimensions.holdAt(dimension, Number(value)));
    return make("span", { class: "stepper" }, select, step(-1, "‹", "Previous"), step(1, "›", "Next"));
  }

  // What the image in hand is about: the one under the mouse or with the focus, and before that the first one of a row
  // that the whole grid is of.
  const inHand = make("span", { class: "push about" });
  let describedNow;

  function describeInHand(job, prompt) {
    const about = `${job} ${prompt}`;
    if (about === describedNow) return;
    describedNow = about;
    inHand.replaceChildren();
    if (job === undefined) return;
    const [input] = jobs.inputs(job);
    const small = input?.thumb ? link(input.link, picture(input.thumb, "Input image", () => "input")) : input ? link(input.link, "input ↗") : null;
    const words = [now.y === dimensions.row ? null : jobs.get("row_key", job), prompt].filter(Boolean).join(" · ");
    inHand.append(...[small].filter(Boolean), make("span", { dir: "auto", title: words }, words));
  }

  // Where points have prompts of their own, that of one says nothing of the others.
  function sharedPrompt(shown) {
    const prompts = new Set(shown.map((job) => jobs.get("prompt", job)));
    return prompts.size === 1 ? [...prompts][0] : null;
  }

  function firstInHand() {
    const held = now.held.find(({ dimension, at }) => dimension === dimensions.row && at >= 0);
    return held && dimensions.jobOfRow(held.at);
  }

  for (const kind of ["pointerover", "focusin"]) {
    sheet.addEventListener(kind, (event) => {
      const job = jobAt(event.target);
      if (job !== null) describeInHand(job, jobs.get("prompt", job));
    });
  }

  return {
    possible: dimensions.all.length > 1,
    render,
    resize: () => now && render(),
    // The jobs in the order in which the grid shows them, for the dialog to go through.
    order: () => now.down.flatMap((_, down) => now.across.flatMap((_, across) => cellOf(down, across))),
    reveal(job) {
      const down = now.down.indexOf(now.y.at(job));
      const across = now.across.indexOf(now.x.at(job));
      if (down >= 0 && across >= 0) go(down, across, cellOf(down, across).indexOf(job));
    },
  };
})();
