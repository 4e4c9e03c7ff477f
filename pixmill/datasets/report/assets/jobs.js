"use strict";
// The jobs of the page, column by column, read from the text of hidden elements: what came from outside is never code.

const about = JSON.parse(document.getElementById("about").textContent);

// People call an axis by the end of its path, "strength", where no other axis ends so.
for (const axis of about.axes) {
  const end = (path) => path.split(".").findLast((part) => !/^\d+$/.test(part)) ?? path;
  const alone = about.axes.filter((other) => end(other.path) === end(axis.path)).length === 1;
  axis.name = alone ? end(axis.path) : axis.path;
}

const jobs = (() => {
  const noColumns = () => ({
    ours: new Map(),
    axes: about.axes.map(() => []),
    scores: about.scores.map(() => ({ value: [], flag: [] })),
    own: about.own.map(() => []),
    inputs: [],
    rejected: [],
  });
  let columns = noColumns();
  let count = 0;
  let middleShape; // undefined until somebody asks: to find it all jobs are sorted, and every change of a filter asks
  const listeners = [];

  // A column is a list of values, or {values, at}: distinct values and the position of each row's, -1 for none.
  function append(to, column) {
    if (Array.isArray(column)) for (const value of column) to.push(value);
    else for (const at of column.at) to.push(at < 0 ? null : column.values[at]);
  }

  function named(map, name) {
    if (!map.has(name)) map.set(name, []);
    return map.get(name);
  }

  function add(chunk) {
    count += chunk.rows;
    middleShape = undefined;
    for (const [name, column] of Object.entries(chunk.ours)) append(named(columns.ours, name), column);
    chunk.axes.forEach((column, k) => append(columns.axes[k], column));
    chunk.scores.forEach((score, k) => {
      append(columns.scores[k].value, score.value);
      append(columns.scores[k].flag, score.flag);
    });
    append(columns.rejected, chunk.rejected);
    chunk.own.forEach((column, k) => append(columns.own[k], column));
    chunk.inputs.forEach((input, k) => {
      columns.inputs[k] ??= new Map();
      for (const [name, column] of Object.entries(input)) append(named(columns.inputs[k], name), column);
    });
  }

  for (const part of document.querySelectorAll(".jobs")) {
    add(JSON.parse(part.textContent));
    part.remove(); // ten thousand jobs are megabytes of text that nobody needs twice
  }

  const get = (name, job) => columns.ours.get(name)?.[job] ?? null;
  const axis = (k, job) => columns.axes[k][job] ?? -1;
  const thumbnailOfFile = (name) => thumbnail(name.split("/")[2].split(".")[0]);
  const thumbnail = (digest) => `${about.store}thumbs/${digest.slice(0, 2)}/${digest}.webp`;

  return {
    count,
    // The same jobs as they are now, in the same order. Listeners are called with those that have changed.
    replace(chunks) {
      const before = columns;
      columns = noColumns();
      count = 0;
      chunks.forEach(add);
      const values = (columns, job) => [...columns.ours.values()].map((column) => column[job]).join("\n");
      const changed = new Set(jobs.all.filter((job) => values(before, job) !== values(columns, job)));
      if (changed.size) listeners.forEach((listener) => listener(changed));
    },
    onChange: (listener) => listeners.push(listener),
    has: (name) => columns.ours.has(name),
    all: Array.from({ length: count }, (_, job) => job),
    get,
    axis,
    own: (k, job) => columns.own[k][job],
    axisLabel: (k, job) => about.axes[k].labels[axis(k, job)] ?? null,
    axisText: (k, job) => about.axes[k].texts[axis(k, job)] ?? null,
    score: (k, job) => columns.scores[k].value[job],
    // The checks that flag the image of a job.
    flags: (job) => about.scores.filter((_, k) => columns.scores[k].flag[job]).map((score) => score.name),
    // Candidates that were drawn for a job and are not in the dataset.
    rejected: (job) =>
      (columns.rejected[job] ?? []).map(([number, reason, name, thumb]) => ({
        number,
        reason,
        file: name && about.store + name,
        thumb: thumb ? thumbnailOfFile(name) : null,
      })),
    // What a job is called across reports of the same dataset.
    id: (job) => JSON.stringify([get("row_key", job), get("point_id", job), get("replicate", job)]),
    file: (job) => (get("file", job) ? about.store + get("file", job) : null),
    thumb: (job) => (get("thumb", job) ? thumbnailOfFile(get("file", job)) : null),
    // The images behind the first one; `thumb` is null for one that is damaged or gone.
    more: (job) =>
      (get("more", job) ?? [])
        .map((name, at) => name && { name, file: about.store + name, thumb: get("more_thumbs", job)[at] ? thumbnailOfFile(name) : null })
        .filter(Boolean),
    hasSeveral: (columns.ours.get("more") ?? []).some(Boolean),
    inputs: (job) =>
      columns.inputs
        .map((input, k) => {
          const digest = input.get("thumb")[job];
          return { name: about.images[k] ?? "input", link: input.get("link")[job], thumb: digest && thumbnail(digest) };
        })
        .filter((input) => input.link),
    hasInputThumbs: columns.inputs.some((input) => input.get("thumb").some(Boolean)),
    // "scale 3 · style ink": what is special about a job.
    point: (job) =>
      [
        ...about.axes.map((axis, k) => [axis.name, jobs.axisLabel(k, job)]),
        ["replicate", jobs.replicates.length > 1 ? get("replicate", job) : null],
      ]
        .filter(([, label]) => label !== null)
        .map(([name, label]) => `${name} ${label}`)
        .join(" · "),
    // How high the pictures are for a width of 1: the middle one of them, null while there are none.
    shape: () => {
      if (middleShape === undefined) {
        const sized = jobs.all.filter((job) => get("width", job) && get("height", job));
        const shapes = sized.map((job) => get("height", job) / get("width", job)).sort((a, b) => a - b);
        middleShape = shapes[Math.floor(shapes.length / 2)] ?? null;
      }
      return middleShape;
    },
    replicates: [...new Set(columns.ours.get("replicate"))].filter((value) => value !== null).sort((a, b) => a - b),
  };
})();

const inThreeDigits = (number) => number.toLocaleString("en", { maximumSignificantDigits: 3 });

// Everything that jobs can be filtered and sorted by. `text` is what people see, `value` what is compared.
const fields = (() => {
  // Where `unit` is known, even an empty one, the field is a measure: it is filtered by a range.
  const ours = (name, label, numeric, unit) => ({
    key: `~${name}`,
    label,
    numeric,
    unit,
    text: (job) => (jobs.get(name, job) === null ? "" : String(jobs.get(name, job))),
    value: (job) => jobs.get(name, job),
  });
  const axes = about.axes.map((axis, k) => ({
    key: axis.path,
    label: axis.name,
    numeric: true, // in the order of the config
    text: (job) => jobs.axisLabel(k, job) ?? "",
    value: (job) => (jobs.axis(k, job) < 0 ? null : jobs.axis(k, job)),
  }));
  const scores = about.scores.map((score, k) => ({
    key: `~score.${score.name}`,
    label: `score ${score.name}`,
    numeric: true,
    unit: "",
    text: (job) => (jobs.score(k, job) === null ? "" : inThreeDigits(jobs.score(k, job))),
    value: (job) => jobs.score(k, job),
  }));
  const own = about.own.map((name, k) => {
    const values = jobs.all.map((job) => jobs.own(k, job)).filter((text) => text !== null);
    const numeric = values.length > 0 && values.every((text) => text.trim() !== "" && Number.isFinite(Number(text)));
    const value = (job) => (jobs.own(k, job) === null ? null : numeric ? Number(jobs.own(k, job)) : jobs.own(k, job));
    return { key: `.${name}`, label: name, numeric, text: (job) => jobs.own(k, job) ?? "", value };
  });
  const rest = [
    ours("row_key", "row key", false),
    ours("point_id", "point", false),
    ours("replicate", "replicate", true),
    ...(jobs.has("accepted") ? [ours("accepted", "accepted", false), ours("candidate", "candidate", true)] : []),
    ours("prompt", "prompt", false),
    ours("status", "status", false),
    ours("error_code", "code", false),
    ours("seed", "seed", true),
    ours("attempts", "attempts", true),
    ours("latency_ms", "latency", true, "ms"),
    ours("cost", "cost", true, ""),
    ...(jobs.hasSeveral ? [ours("image_count", "images", true)] : []),
    ours("finished_at", "finished", true),
    ours("run_id", "run", false),
    ours("request_id", "request id", false),
  ];
  return [...axes, ...scores, ...own, ...rest];
})();

// Returns a function that says whether a job holds all words of a search, anywhere in its texts.
const matcher = (() => {
  // Not ids: their digits are found in any search for a number.
  const searched = ["row_key", "prompt", "error_code", "error_message", "status"];
  const cached = [];
  jobs.onChange((changed) => {
    for (const job of changed) delete cached[job];
  });
  function line(job) {
    cached[job] ??= [
      ...searched.map((name) => jobs.get(name, job) ?? ""),
      ...about.own.map((_, k) => jobs.own(k, job) ?? ""),
      jobs.point(job),
    ]
      .join("\n")
      .toLowerCase();
    return cached[job];
  }
  return (search) => {
    const words = search.toLowerCase().split(/\s+/).filter(Boolean);
    return (job) => words.every((word) => line(job).includes(word));
  };
})();
