"use strict";
// Filters of the gallery beside texts: the checks that flag an image, and a range of a score or another measure.

const FEW_VALUES = 12; // so many of a measure can be chosen from; more are a range

// A button that turns one value of a filter on and off; a filter without any lets everything pass.
function filterChip(name, value, sign, text, count) {
  const on = new Set(state.get(name).split(",").filter(Boolean));
  const label = [sign, `${text} `, make("small", {}, count.toLocaleString("en"))];
  const chip = make("button", { type: "button", class: "chip", "aria-pressed": on.has(value) }, ...label);
  chip.addEventListener("click", () => {
    if (!on.delete(value)) on.add(value);
    state.set({ [name]: [...on].join(",") });
  });
  return chip;
}

const flagChips = (() => {
  const counts = new Map();
  for (const job of jobs.all) for (const name of jobs.flags(job)) counts.set(name, (counts.get(name) ?? 0) + 1);
  return () =>
    about.scores
      .filter((score) => counts.has(score.name))
      .map(({ name }) => filterChip("flag", name, make("span", { class: "flag-sign", "aria-hidden": "true" }, "⚑"), name, counts.get(name)));
})();

// Whether one of the chosen checks flags the image of a job.
function flagFilter() {
  const wanted = state.get("flag").split(",").filter(Boolean);
  return (job) => !wanted.length || jobs.flags(job).some((name) => wanted.includes(name));
}

const limitFrom = (name) => (state.get(name).trim() && Number.isFinite(Number(state.get(name))) ? Number(state.get(name)) : null);

// Whether the chosen measure of a job is at least "from" and below "to".
function rangeFilter(field) {
  const [low, high] = [limitFrom("from"), limitFrom("to")];
  if (field?.unit === undefined || (low === null && high === null)) return () => true;
  return (job) => {
    const value = field.value(job);
    return value !== null && (low === null || value >= low) && (high === null || value < high);
  };
}

function isRanged(field, values) {
  if (field?.unit === undefined) return false;
  return !values || values.size > FEW_VALUES || limitFrom("from") !== null || limitFrom("to") !== null;
}

// The two ends of a range. They stay the same elements, so that what is typed into one is not lost with the other.
const rangeInputs = (() => {
  const inputs = ["from", "to"].map((name) => {
    const input = make("input", { type: "number", step: "any" });
    input.addEventListener("input", () => state.set({ [name]: input.value }));
    return [name, input];
  });
  const element = make("span", { class: "order" }, ...inputs.map(([, input]) => input));
  return {
    element,
    show(field, isShown) {
      element.hidden = !isShown;
      if (!isShown) return;
      for (const [name, input] of inputs) {
        const word = name === "to" ? "below" : "from";
        input.placeholder = field.unit ? `${word}, ${field.unit}` : word;
        input.setAttribute("aria-label", `${field.label} ${input.placeholder}`);
        const limit = limitFrom(name);
        // "0." is not changed while somebody types it.
        if ((input.value === "" ? null : Number(input.value)) !== limit) input.value = limit ?? "";
      }
    },
  };
})();
