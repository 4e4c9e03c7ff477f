"use strict";
// What the page remembers: the view in its address, stars and the theme in the browser.

// The state of the page stands in the fragment of its address, so that a view can be bookmarked and sent.
const state = (() => {
  const read = () => new URLSearchParams(location.hash.slice(1));
  let current = read();
  const listeners = [];
  const tell = () => listeners.forEach((listener) => listener());

  addEventListener("hashchange", () => {
    current = read();
    tell();
  });

  return {
    get: (name) => current.get(name) ?? "",
    set(changes) {
      for (const [name, value] of Object.entries(changes)) {
        if (value) current.set(name, value);
        else current.delete(name);
      }
      history.replaceState(null, "", `#${current}`);
      tell();
    },
    onChange: (listener) => listeners.push(listener),
  };
})();

// A browser may refuse storage to pages from disk: then things are remembered until the page is closed.
const storage = (() => {
  const memory = new Map();
  return {
    get(key) {
      try {
        return localStorage.getItem(key) ?? memory.get(key) ?? null;
      } catch {
        return memory.get(key) ?? null;
      }
    },
    set(key, value) {
      memory.set(key, value);
      try {
        localStorage.setItem(key, value);
      } catch {
        // remembered above
      }
    },
  };
})();

// The jobs that a person marked, each known by what `idOf` says of it.
function marks(kind, idOf) {
  const key = `pixmill ${kind} ${location.pathname} ${about.name}`; // pages from disk share one storage
  const listeners = [];

  function stored() {
    try {
      const ids = JSON.parse(storage.get(key) ?? "[]");
      return new Set(Array.isArray(ids) ? ids : []);
    } catch {
      return new Set();
    }
  }

  let marked = stored();
  const tell = () => listeners.forEach((listener) => listener());

  addEventListener("storage", (event) => {
    if (event.key !== key) return;
    marked = stored();
    tell();
  });

  return {
    has: (job) => marked.has(idOf(job)),
    jobs: () => (marked.size ? jobs.all.filter((job) => marked.has(idOf(job))) : []),
    toggle(job) {
      const id = idOf(job);
      if (!marked.delete(id)) marked.add(id);
      storage.set(key, JSON.stringify([...marked]));
      tell();
    },
    onChange: (listener) => listeners.push(listener),
  };
}

const stars = marks("stars", (job) => jobs.id(job));
// The next candidate of a row is another picture, which nobody has rejected.
const rejects = marks("rejects", (job) => JSON.stringify([jobs.id(job), jobs.get("candidate", job)]));

// The marked jobs as a table that another run can read: cells are as they were, so no quoting against spreadsheets.
function picksTable() {
  const read = about.read.filter((name) => !["row_key", "point_id", ...about.axes.map((axis) => axis.path)].includes(name));
  const numbered = jobs.has("candidate"); // which one is meant, and what a person says of it
  const header = ["row_key", "point_id", ...about.axes.map((axis) => axis.path), ...read, ...(numbered ? ["candidate", "pick"] : [])];
  const picked = new Set([...stars.jobs(), ...rejects.jobs()]);
  const lines = [...picked].sort((a, b) => a - b).map((job) => [
    jobs.get("row_key", job),
    jobs.get("point_id", job),
    ...about.axes.map((_, k) => jobs.axisText(k, job)),
    ...read.map((name) => jobs.own(about.own.indexOf(name), job)),
    ...(numbered ? [jobs.get("candidate", job), rejects.has(job) ? "reject" : "star"] : []),
  ]);
  const quoted = (cell) => (/[",\r\n]|^\s|\s$/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  const texts = [header, ...lines].map((line) => line.map((cell) => quoted(String(cell ?? ""))).join(","));
  return [...new Set(texts)].map((text) => `${text}\r\n`).join(""); // replicates of one cell are one pick
}

function downloadPicks() {
  const url = URL.createObjectURL(new Blob([picksTable()], { type: "text/csv;charset=utf-8" }));
  make("a", { href: url, download: "picks.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser may still be reading
}

const theme = (() => {
  const root = document.documentElement;
  const use = (value) => (value === "light" || value === "dark" ? (root.style.colorScheme = value) : null);
  use(storage.get("pixmill theme"));
  return {
    toggle() {
      const dark = root.style.colorScheme
        ? root.style.colorScheme === "dark"
        : matchMedia("(prefers-color-scheme: dark)").matches;
      storage.set("pixmill theme", use(dark ? "light" : "dark"));
    },
  };
})();
