"use strict";
// Small pieces of the page. Text from outside only ever becomes text: there is no markup from strings here.

// Makes an element. Children are elements or texts; attributes that are null or false are left out.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const STATUS = {
  succeeded: "succeeded",
  failed: "failed",
  refused: "refused",
  in_doubt: "in doubt",
  invalid: "invalid",
  skipped: "skipped",
};

const statusOf = (job) => (jobs.get("status", job) in STATUS ? jobs.get("status", job) : "failed");

// A link that leaves the page: to a web address or to an image file, never to anything else.
function link(address, ...children) {
  const remote = /^https?:\/\//i.test(address);
  const local = !/^[a-z][a-z0-9+.-]*:/i.test(address) && !address.startsWith("//");
  if (!remote && !local) return make("span", {}, ...children);
  return make("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, ...children);
}

// An image from disk; where it can't be shown, what stands there instead.
function picture(address, alt, instead) {
  const image = make("img", { src: address, alt, loading: "lazy", decoding: "async", draggable: "false" });
  image.addEventListener("error", () => image.replaceWith(instead()), { once: true });
  return image;
}

// What a job shows where it has no image: its code, or why there is nothing to see.
function blank(job) {
  const status = statusOf(job);
  const code = jobs.get("error_code", job);
  // While a run is under way, what it has not come to yet is no problem.
  if (about.run && code === "not_attempted") return make("span", { class: "blank is-quiet" }, make("b", {}, "waiting"));
  const quiet = status === "succeeded" && !code;
  const words = code ?? (quiet ? (jobs.get("file", job) ? "image not found" : "not downloaded") : STATUS[status]);
  const remark = quiet || status === "succeeded" ? null : STATUS[status];
  return make(
    "span",
    { class: `blank is-${status === "succeeded" ? (quiet && !jobs.get("file", job) ? "quiet" : "missing") : status}` },
    make("b", {}, breakable(words)),
    remark && remark !== words ? make("span", {}, remark) : null,
  );
}

// What a screen reader says of a job.
function described(job) {
  const code = jobs.get("error_code", job);
  const images = jobs.more(job).length + 1;
  const parts = [
    jobs.get("row_key", job),
    jobs.point(job),
    images > 1 ? `${images} images` : null,
    code ? `${STATUS[statusOf(job)]}, ${code}` : null,
    jobs.flags(job).length ? `flagged ${jobs.flags(job).join(", ")}` : null,
  ];
  return parts.filter(Boolean).join(", ") || `job ${job + 1}`;
}

// What a job shows where it is small: its image, or up to four of them and how many more there are.
function thumbnailOf(job) {
  const thumb = jobs.thumb(job);
  const first = thumb ? picture(thumb, "", () => blank(job)) : blank(job);
  const more = jobs.more(job);
  if (!more.length) return first;
  const shown = more.slice(0, MOST_IN_ONE - 1);
  const hidden = more.length - shown.length;
  const isWide = jobs.get("width", job) > jobs.get("height", job);
  return make(
    "span",
    { class: `many of-${shown.length + 1}${isWide ? " is-wide" : ""}` },
    first,
    ...shown.map((image) => (image.thumb ? picture(image.thumb, "", notFound) : notFound())),
    hidden ? make("span", { class: "hidden-count" }, `+${hidden}`) : null,
  );
}

const MOST_IN_ONE = 4;

const notFound = () => make("span", { class: "blank is-quiet" }, make("span", {}, "image not found"));

// The mark of a job whose image is flagged, with the checks that do so.
function flagMark(job) {
  const flags = jobs.flags(job).join(", ");
  return flags ? make("span", { class: "flags", title: `flagged: ${flags}` }, "⚑", make("span", {}, ` ${flags}`)) : null;
}

function starButton(job) {
  const button = make("button", { type: "button", class: "star", tabindex: "-1", "data-star": job });
  showStar(button, job);
  return button;
}

function showStar(button, job) {
  button.textContent = stars.has(job) ? "★" : "☆";
  button.setAttribute("aria-pressed", stars.has(job));
  button.setAttribute("aria-label", stars.has(job) ? "Remove the star" : "Star");
}

// For a picture that nobody wants: once a run has read the picks, its row asks for the next candidate.
function rejectButton(job) {
  const button = make("button", { type: "button", class: "plain", "data-reject": job });
  showReject(button, job);
  return button;
}

function showReject(button, job) {
  button.textContent = rejects.has(job) ? "Rejected" : "Reject";
  button.setAttribute("aria-pressed", rejects.has(job));
}

// A labelled <select>. `options` are [value, text] pairs.
function choice(label, options, value, onChange) {
  const select = make("select", {}, ...options.map(([of, text]) => make("option", { value: of }, text)));
  select.value = value;
  select.addEventListener("change", () => onChange(select.value));
  return make("label", { class: "choice" }, make("span", {}, label), select);
}

function slider(name, low, high, value) {
  const input = make("input", { type: "range", min: low, max: high, step: 10, "aria-label": "Size of the images" });
  input.value = value;
  input.addEventListener("input", () => state.set({ [name]: input.value }));
  return make("label", { class: "size", title: "Size of the images" }, input);
}

// A path or a file name, which may be broken after a dot, a slash or an underscore.
const breakable = (text) => make("span", {}, ...text.split(/(?<=[./_])/).flatMap((part) => [part, make("wbr")]));

// A size from the address, 0 where there is none.
const sizeFrom = (name, low, high) => (Number(state.get(name)) ? Math.max(low, Math.min(high, Number(state.get(name)))) : 0);

const milliseconds = (value) =>
  value === null ? null : value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(value < 10_000 ? 2 : 1)} s`;

const instant = (value) =>
  value === null ? null : new Date(value).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });

const MOST_ON_PAPER = 400; // cards of a gallery, or lines and columns of a grid

// Whether the page is being printed: then what is out of sight has to be there as well.
const printing = { is: false };

// Calls `work` once before the next frame, however often it is asked for.
function beforeNextFrame(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}

// Keeps `shown` (key to element) to exactly the keys of `wanted`, which makes what is new. What has the focus stays.
function keepOnly(shown, wanted, parent, makeOne) {
  for (const [key, element] of shown) {
    if (wanted.has(key) || element.contains(document.activeElement)) continue;
    element.remove();
    shown.delete(key);
  }
  for (const key of wanted) {
    if (shown.has(key)) continue;
    const element = makeOne(key);
    shown.set(key, element);
    parent.append(element);
  }
}
