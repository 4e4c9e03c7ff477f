"use strict";
// The gallery: a card for each job, filtered and sorted; only the cards in sight exist as elements.

const gallery = (() => {
  const view = document.getElementById("gallery");
  const bar = view.querySelector(".bar");
  const wall = view.querySelector(".wall");
  const list = wall.querySelector("ul");
  const GAP = 20;
  const WORDS = jobs.replicates.length > 1 || about.axes.length ? 92 : 74; // height of the words below the image
  const FEW = 300; // values that a list of choices can hold

  const paired = jobs.hasInputThumbs;
  const counted = (name) => {
    const counts = new Map();
    for (const job of jobs.all) {
      const value = jobs.get(name, job);
      if (value !== null) counts.set(value, (counts.get(value) ?? 0) + 1);
    }
    return counts;
  };
  let statuses = counted("status");
  let codes = counted("error_code");

  function filtered() {
    const wanted = new Set(state.get("status").split(",").filter(Boolean));
    const code = state.get("code");
    const starred = state.get("stars");
    const field = fields.find((each) => each.key === state.get("column"));
    const value = state.get("value").toLowerCase();
    const exact = field && valuesOf(field);
    const isFlagged = flagFilter();
    const isInRange = rangeFilter(field);
    const matches = matcher(state.get("q"));
    return jobs.all.filter(
      (job) =>
        (!wanted.size || wanted.has(jobs.get("status", job))) &&
        (!code || jobs.get("error_code", job) === code) &&
        (!starred || stars.has(job)) &&
        isFlagged(job) &&
        isInRange(job) &&
        (!field || !value || holds(field.text(job).toLowerCase(), value, exact)) &&
        matches(job),
    );
  }

  const holds = (text, value, exact) => (exact ? text === value : text.includes(value));

  const sorted = (found) => {
    const field = fields.find((each) => each.key === state.get("sort"));
    const sign = state.get("down") ? -1 : 1;
    if (!field) return sign < 0 ? found.toReversed() : found;
    const collator = new Intl.Collator(undefined, { numeric: true });
    const compare = field.numeric ? (a, b) => a - b : (a, b) => collator.compare(a, b);
    const keyed = found.map((job) => [field.value(job), job]);
    const known = keyed.filter(([value]) => value !== null).sort((a, b) => sign * compare(a[0], b[0]) || a[1] - b[1]);
    return [...known, ...keyed.filter(([value]) => value === null)].map(([, job]) => job);
  };

  const cachedValues = new Map();

  // The distinct values of a field, or null where they are too many to choose from.
  function valuesOf(field) {
    if (!cachedValues.has(field.key)) {
      const values = new Map();
      for (const job of jobs.all) {
        const text = field.text(job);
        if (text) values.set(text, (values.get(text) ?? 0) + 1);
        if (values.size > FEW) break;
      }
      cachedValues.set(field.key, values.size > FEW ? null : values);
    }
    return cachedValues.get(field.key);
  }

  let found = jobs.all;
  let measures = null;
  let focused = 0;
  const shown = new Map();

  function render() {
    renderBar();
    update();
  }

  function update() {
    const before = found;
    found = sorted(filtered());
    if (found.length !== before.length || found.some((job, at) => job !== before[at])) wall.scrollTop = 0;
    focused = Math.min(focused, Math.max(0, found.length - 1));
    count.textContent =
      found.length === jobs.count ? `${jobs.count.toLocaleString("en")}` : `${found.length.toLocaleString("en")} of ${jobs.count.toLocaleString("en")}`;
    reset.hidden = !["q", "status", "code", "flag", "value", "from", "to", "stars"].some((name) => state.get(name));
    lay();
  }

  // Measures the wall and draws all cards anew.
  function lay() {
    // In line with the controls above, which are nearer to the edge on a phone.
    const edge = Number.parseFloat(getComputedStyle(bar).paddingLeft);
    const room = wall.clientWidth - 2 * edge;
    const least = (sizeFrom("card", 120, 520) || 220) * (paired ? 1.7 : 1);
    const columns = Math.max(1, Math.floor((room + GAP) / (least + GAP)));
    const width = Math.floor((room - GAP * (columns - 1)) / columns);
    // As high as most pictures are; whatever is much taller would push the words out of sight.
    const shape = jobs.shape();
    const height = Math.round((paired ? width / 2 : width) * Math.max(0.4, Math.min(1.5, shape ?? 1))) + WORDS;
    measures = { columns, width, height, shape, edge };
    shown.clear();
    list.replaceChildren(...(found.length ? [] : [nothing()]));
    list.style.height = `${Math.ceil(found.length / columns) * (height + GAP) + GAP}px`;
    renderCards();
  }

  function nothing() {
    const text = jobs.count ? "Nothing matches." : "There are no jobs yet.";
    return make("li", { class: "nothing" }, text);
  }

  function renderCards() {
    const { columns, height } = measures;
    if (printing.is) {
      keepOnly(shown, new Set(found.slice(0, MOST_ON_PAPER).keys()), list, card);
      return;
    }
    const first = Math.max(0, Math.floor(wall.scrollTop / (height + GAP)) - 1) * columns;
    const last = Math.min(found.length, (Math.ceil((wall.scrollTop + wall.clientHeight) / (height + GAP)) + 1) * columns);
    const wanted = new Set();
    for (let at = first; at < last; at++) wanted.add(at);
    keepOnly(shown, wanted, list, card);
  }

  function card(at) {
    const job = found[at];
    const { columns, width, height, edge } = measures;
    const open = make("button", {
      type: "button",
      class: paired ? "open pair" : "open",
      "data-job": job,
      tabindex: at === focused ? 0 : -1,
      "aria-label": described(job),
    });
    if (paired) open.append(inputOf(job));
    open.append(make("span", { class: "frame" }, thumbnailOf(job), flagMark(job)));
    open.addEventListener("focus", () => makeTabbable(at));
    const element = make("li", { class: "card", "aria-setsize": found.length, "aria-posinset": at + 1 }, open, starButton(job), words(job));
    element.style.width = `${width}px`;
    element.style.height = `${height}px`;
    element.style.left = `${edge + (at % columns) * (width + GAP)}px`;
    element.style.top = `${GAP + Math.floor(at / columns) * (height + GAP)}px`;
    return element;
  }

  function inputOf(job) {
    const [input] = jobs.inputs(job);
    const none = () => make("span", { class: "blank is-quiet" }, make("span", {}, "no input image"));
    return make("span", { class: "frame" }, input?.thumb ? picture(input.thumb, "", none) : none());
  }

  function words(job) {
    const [input] = jobs.inputs(job);
    const away = input && !input.thumb ? link(input.link, "input ↗") : null;
    const element = make(
      "div",
      { class: "words" },
      make("p", { class: "name" }, make("b", { dir: "auto" }, jobs.get("row_key", job) ?? ""), sortedBy(job), away),
      make("p", { class: "point", dir: "auto" }, jobs.point(job) || null),
      make("p", { class: "prompt", dir: "auto" }, jobs.get("prompt", job) ?? ""),
    );
    element.style.height = `${WORDS}px`;
    return element;
  }

  // What the cards are sorted by, where it is a measure.
  function sortedBy(job) {
    const field = fields.find((each) => each.key === state.get("sort"));
    const value = field?.unit === undefined ? null : field.value(job);
    return value === null ? null : make("span", { class: "measure" }, `${inThreeDigits(value)} ${field.unit}`);
  }

  function makeTabbable(at) {
    list.querySelectorAll('.open[tabindex="0"]').forEach((open) => open.setAttribute("tabindex", "-1"));
    focused = at;
    shown.get(at)?.querySelector(".open").setAttribute("tabindex", "0");
  }

  function go(at) {
    if (at < 0 || at >= found.length) return;
    const { columns, height } = measures;
    const top = Math.floor(at / columns) * (height + GAP);
    wall.scrollTop = Math.max(top + height + 2 * GAP - wall.clientHeight, Math.min(wall.scrollTop, top));
    renderCards();
    makeTabbable(at);
    shown.get(at)?.querySelector(".open").focus({ preventScroll: true });
  }

  const page = () => measures.columns * Math.max(1, Math.floor(wall.clientHeight / measures.height));
  const keys = {
    ArrowRight: () => go(focused + 1),
    ArrowLeft: () => go(focused - 1),
    ArrowDown: () => go(focused + measures.columns),
    ArrowUp: () => go(focused - measures.columns),
    PageDown: () => go(Math.min(found.length - 1, focused + page())),
    PageUp: () => go(Math.max(0, focused - page())),
    Home: () => go(0),
    End: () => go(found.length - 1),
  };
  list.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  wall.addEventListener("scroll", beforeNextFrame(() => measures && renderCards()), { passive: true });

  const search = make("input", { type: "search", placeholder: "Search", "aria-label": "Search in prompts, keys and columns" });
  search.addEventListener("input", () => state.set({ q: search.value }));
  const count = make("span", { class: "count", role: "status" });
  const reset = make("button", { type: "button", class: "plain" }, "Clear");
  reset.addEventListener("click", () => {
    search.value = "";
    state.set({ q: "", status: "", code: "", flag: "", column: "", value: "", from: "", to: "", stars: "" });
  });

  function renderBar() {
    if (search.value !== state.get("q")) search.value = state.get("q");
    const before = [...chips(), ...flagChips(), codeChoice(), ...columnChoice()].filter(Boolean);
    const tail = make("span", { class: "tail" }, reset, count, slider("card", 120, 520, sizeFrom("card", 120, 520) || 220));
    // The fields stay where they are: moved, one would lose the focus while somebody types.
    const fixed = [search, rangeInputs.element];
    for (const child of [...bar.children]) if (!fixed.includes(child)) child.remove();
    if (!search.parentNode) bar.append(...fixed);
    rangeInputs.element.before(...before);
    bar.append(sorting(), tail);
  }

  function chips() {
    if (statuses.size < 2) return [];
    return Object.keys(STATUS)
      .filter((status) => statuses.has(status))
      .map((status) => filterChip("status", status, make("span", { class: `dot is-${status}` }), STATUS[status], statuses.get(status)));
  }

  function codeChoice() {
    if (!codes.size) return null;
    const options = [["", "any"], ...[...codes].sort((a, b) => b[1] - a[1]).map(([code, number]) => [code, `${code} (${number})`])];
    return choice("Code", options, state.get("code"), (code) => state.set({ code }));
  }

  function columnChoice() {
    const options = [["", "any column"], ...fields.map((field) => [field.key, field.label])];
    const column = choice("Where", options, state.get("column"), (key) => state.set({ column: key, value: "", from: "", to: "" }));
    const field = fields.find((each) => each.key === state.get("column"));
    const values = field && valuesOf(field);
    const ranged = isRanged(field, values);
    rangeInputs.show(field, ranged);
    if (!field || ranged) return [column];
    if (values) {
      const choices = [["", "any value"], ...[...values].map(([text, number]) => [text.toLowerCase(), `${text} (${number})`])];
      return [column, choice("is", choices, state.get("value"), (value) => state.set({ value }))];
    }
    const input = make("input", { type: "search", placeholder: "contains", "aria-label": `${field.label} contains` });
    input.value = state.get("value");
    input.addEventListener("change", () => state.set({ value: input.value }));
    return [column, input];
  }

  // What the cards are sorted by and in which direction: one thing, on one line.
  function sorting() {
    const options = [["", "table order"], ...fields.map((field) => [field.key, field.label])];
    const by = choice("Sort", options, state.get("sort"), (sort) => state.set({ sort }));
    const down = Boolean(state.get("down"));
    const button = make("button", { type: "button", class: "step", "aria-label": down ? "Descending" : "Ascending" }, down ? "↓" : "↑");
    button.addEventListener("click", () => state.set({ down: down ? "" : "1" }));
    return make("span", { class: "order" }, by, button);
  }

  // Of a run under way: new pictures appear in place, and whatever somebody types or looks at stays.
  jobs.onChange((changed) => {
    statuses = counted("status");
    codes = counted("error_code");
    cachedValues.clear();
    if (view.hidden || !measures) return;
    if (!bar.contains(document.activeElement)) renderBar();
    const isFirstPicture = measures.shape === null && jobs.shape() !== null;
    if (isFirstPicture || ["q", "status", "code", "value", "stars", "flag", "sort"].some((name) => state.get(name))) {
      update();
      return;
    }
    for (const [at, element] of shown) {
      if (!changed.has(found[at])) continue;
      const focused = element.contains(document.activeElement);
      const renewed = card(at);
      element.replaceWith(renewed);
      shown.set(at, renewed);
      if (focused) renewed.querySelector(".open").focus({ preventScroll: true });
    }
  });

  return { render, resize: () => measures && lay(), order: () => found, reveal: (job) => go(found.indexOf(job)) };
})();
